"""The outbox's part of a backup: records that were computed here and are in no table yet, copied and put back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from qpipe_assets.backup.durable_files import copy_file
from qpipe_assets.backup.part import Log, Part

OUTBOX = "outbox"


def records(folder: Path) -> Iterator[Path]:
    """The records' files in an outbox, or in its copy."""
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))


def copy_records(outbox: Path, copies: Path) -> Part:
    """Make the folder `copies` hold the files of the outbox, and no others."""
    part, there = Part("outbox"), set()
    for path in records(outbox):
        copy = copies / path.relative_to(outbox)
        try:
            status = path.stat()
            there.add(copy)
            if not _is_copy(copy, status):
                copy_file(path, copy)
                part.new += 1
        except FileNotFoundError:
            # It has left for the objects, which are copied after this.
            there.discard(copy)
            continue
        part.items += 1
        part.bytes += status.st_size
    for copy in records(copies):
        if copy not in there:
            copy.unlink()
    return part


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
