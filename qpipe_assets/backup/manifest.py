"""What a backup says of its raw objects: which versions it holds, each with its length and digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from qpipe_resources.durable_files import write_lines

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


def _refuse(reason: str) -> None:
    raise BackupDamagedError(f"{reason}: name another folder")


def read_manifest(folder: Path, damaged: Callable[[str], None] = _refuse) -> dict[str, Entry]:
    """What the backup in this folder holds, by key; empty where there is none yet.

    Args:
        folder: of the backup.
        damaged: is told of each line that is no entry.

    Raises:
        BackupDamagedError: a line is no entry, and nobody else is told.
    """
    path = folder / NAME
    entries: dict[str, Entry] = {}
    for number, line in enumerate(path.read_bytes().splitlines() if has_manifest(folder) else (), 1):
        try:
            entry = Entry(**json.loads(line))
        except (TypeError, ValueError) as error:
            damaged(f"line {number} of {path} is no entry ({error})")
        else:
            entries[entry.key] = entry
    return entries


def write_manifest(folder: Path, entries: dict[str, Entry]) -> None:
    """Write the manifest durably, at once or not at all."""
    write_lines(folder / NAME, (json.dumps(asdict(entries[key])) for key in sorted(entries)))
