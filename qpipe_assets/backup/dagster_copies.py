"""Dagster's part of a backup: its runs and events, where they are in SQLite."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from qpipe_assets.backup.failures import Failures
from qpipe_assets.backup.part import Part
from qpipe_resources.catalog_copy import CatalogCopyError, copy_sqlite, is_sqlite

DAGSTER = "dagster"


def copy_databases(home: Path, copies: Path, failures: Failures) -> Part:
    """Copy each database below DAGSTER_HOME that has changed since its copy; there is one for each run.

    Args:
        home: DAGSTER_HOME.
        copies: folder of the copies.
        failures: gathers those that cannot be copied.
    """
    part = Part("Dagster's history")
    for path in sorted(home.rglob("*.db")):
        copy = copies / path.relative_to(home)
        with failures.gathered(str(path)):
            try:
                if is_sqlite(path):
                    part.new += _copy(path, copy)
                    part.items += 1
                    part.bytes += copy.stat().st_size
            except FileNotFoundError:
                if path.exists():
                    raise
                # The run was deleted meanwhile.
    return part


def _copy(path: Path, copy: Path) -> bool:
    """Copy a database unless its copy has the same age; returns whether it was copied."""
    changed = _changed(path)
    if copy.exists() and copy.stat().st_mtime_ns == changed:
        return False
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        copy_sqlite(path, copy)
    except CatalogCopyError:
        path.stat()  # raises where it was deleted
        raise
    # The age of before: what is written during the copy is newer.
    os.utime(copy, ns=(changed, changed))
    return True


def _changed(database: Path) -> int:
    """When a database was last written, in nanoseconds: itself, or the log that is not in it yet."""
    times = [database.stat().st_mtime_ns]
    with suppress(FileNotFoundError):
        log = database.with_name(f"{database.name}-wal").stat()
        # Who only reads leaves an empty one.
        times += [log.st_mtime_ns] if log.st_size else []
    return max(times)
