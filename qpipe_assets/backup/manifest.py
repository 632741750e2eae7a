"""What a backup says of itself: whose it is, and which object versions it holds, each with its length and digest."""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from qpipe_resources.object_store import make_durable_folder, sync_folder

NAME, OWNER = "objects.jsonl", "backup.json"


class BackupDamagedError(ValueError):
    """A backup is not what its manifest says."""


@dataclass(frozen=True)
class Entry:
    """One object version: its key, its etag in the store, its bytes and their SHA-256."""

    key: str
    etag: str
    size: int
    sha256: str

    def agrees(self, data: bytes) -> bool:
        """Whether these are the object's bytes."""
        return len(data) == self.size and sha256(data) == self.sha256


@contextmanager
def taken_for(folder: Path, installation: str) -> Iterator[None]:
    """Keep a folder for the backup of one installation, and others from it meanwhile; afterwards it says when that was.

    Raises:
        ValueError: it holds something else, another installation's backup, or one is under way; nothing was changed.
    """
    _refuse_others(folder, installation)
    make_durable_folder(folder)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another backup into {folder} is under way: wait for it") from None
        _write(folder / OWNER, [json.dumps({"installation": installation, "complete": None})])
        yield
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        _write(folder / OWNER, [json.dumps({"installation": installation, "complete": now})])


def _refuse_others(folder: Path, installation: str) -> None:
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))["installation"]
    except FileNotFoundError:
        if folder.exists() and not all(path.name.startswith((".lock", ".tmp-")) for path in folder.iterdir()):
            raise ValueError(f"{folder} is no backup, and not empty: name an empty folder, or one to make") from None
        return
    except NotADirectoryError:
        raise ValueError(f"{folder} is a file: name a folder") from None
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / OWNER} cannot be understood ({error}): name another folder") from error
    if owner != installation:
        raise ValueError(f"{folder} is the backup of another installation ({owner}): name another folder")


def sha256(data: bytes) -> str:
    """Digest of an object."""
    return hashlib.sha256(data).hexdigest()


def read_manifest(folder: Path) -> dict[str, Entry]:
    """What the backup in this folder holds, by key; empty where there is none yet.

    Raises:
        BackupDamagedError: a line is no entry.
    """
    path = folder / NAME
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    try:
        entries = [Entry(**json.loads(line)) for line in lines]
    except (TypeError, ValueError) as error:
        raise BackupDamagedError(f"{path} is no manifest ({error}): name another folder") from error
    return {entry.key: entry for entry in entries}


def write_manifest(folder: Path, entries: dict[str, Entry]) -> None:
    """Write the manifest durably, at once or not at all."""
    _write(folder / NAME, (json.dumps(asdict(entries[key])) for key in sorted(entries)))


def _write(path: Path, lines: Iterable[str]) -> None:
    part = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        with open(part, "x", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)
