"""Files that are on the disk when they have their name, whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from qpipe_resources.object_store import make_durable_folder, sync_folder


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, in the place of one that is there."""
    with put_in_place(path) as part:
        part.write_bytes(data)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a file of lines, in the place of one that is there."""
    with put_in_place(path) as part, open(part, "x", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file with its time of modification, in the place of one that is there; folders are made."""
    make_durable_folder(target.parent)
    with put_in_place(target) as part:
        shutil.copy2(source, part)


@contextmanager
def put_in_place(path: Path) -> Iterator[Path]:
    """A name beside `path` for what is to be there; it is moved when it is on the disk."""
    part = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)
