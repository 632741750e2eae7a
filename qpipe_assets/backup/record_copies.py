"""The outbox's part of a backup: records that were computed here and are in no table yet, copied and put back."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qpipe_assets.backup.part import Log, Part
from qpipe_resources.durable_files import copy_file
from qpipe_resources.outbox import SENT, UNDELIVERED

OUTBOX = "outbox"


@dataclass
class Records:
    """What became of an outbox's records, and where their copies lie."""

    part: Part = field(default_factory=lambda: Part("outbox"))
    copies: set[Path] = field(default_factory=set)


def records(outbox: Path) -> Iterator[Path]:
    """The records' files in an outbox, or in its copy, in the direction in which they move.

    What has moved from `undelivered` to `sent` meanwhile comes at its later place: `sent` is listed when all that was
    found in `undelivered` has been dealt with.
    """
    for folder in (UNDELIVERED, SENT):
        for way in sorted(outbox.glob(f"*/{folder}")):
            yield from (path for path in sorted(way.rglob("*")) if path.is_file() and not path.name.startswith("."))


def copy_records(outbox: Path, copies: Path) -> Records:
    """Copy the records that are not in `copies` yet; none is removed there."""
    found = Records()
    for path in records(outbox):
        copy = copies / path.relative_to(outbox)
        try:
            status = path.stat()
            if not _is_copy(copy, status):
                copy_file(path, copy)
                found.part.new += 1
        except FileNotFoundError:
            if path.exists():
                raise
            # It has left for `sent`, or for the objects, which are copied after this.
            continue
        found.copies.add(copy)
        found.part.items += 1
        found.part.bytes += status.st_size
    return found


def forget_other_records(copies: Path, kept: Container[Path]) -> None:
    """Remove the copies of records that have left the outbox, once what they have become is copied."""
    for copy in sorted(copies.rglob("*")):
        if copy.is_file() and copy not in kept:
            copy.unlink()


def put_records_back(copies: Path, outbox: Path, log: Log) -> Part:
    """Copy the files back that the outbox lacks; `log` is told of each that cannot be."""
    part = Part("outbox")
    for copy in records(copies):
        part.items += 1
        path = outbox / copy.relative_to(copies)
        try:
            part.bytes += copy.stat().st_size
            if not path.exists():
                copy_file(copy, path)
                part.new += 1
        except OSError as error:
            part.damaged.append(f"{copy.relative_to(copies.parent)}: {error}")
            log(part.damaged[-1])
    return part


def _is_copy(copy: Path, of: os.stat_result) -> bool:
    if not copy.exists():
        return False
    status = copy.stat()
    return (status.st_size, status.st_mtime_ns) == (of.st_size, of.st_mtime_ns)
