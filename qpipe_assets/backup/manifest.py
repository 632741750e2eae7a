"""What a backup says of its raw objects: which versions it holds, each with its length and digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from qpipe_assets.backup.durable_files import write_lines

NAME = "objects.jsonl"


class BackupDamagedError(ValueError):
    """A backup is not what it says of itself, or there is none."""


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


def sha256(data: bytes) -> str:
    """Digest of an object."""
    return hashlib.sha256(data).hexdigest()


def has_manifest(folder: Path) -> bool:
    """Whether raw objects were ever backed up into this folder; there may have been none."""
    return (folder / NAME).is_file()


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
    write_lines(folder / NAME, (json.dumps(asdict(entries[key])) for key in sorted(entries)))
