"""Dagster's part of a backup: its runs and events, where they are in SQLite."""

from __future__ import annotations

from pathlib import Path

from qpipe_assets.backup.part import Part
from qpipe_resources.catalog_copy import copy_sqlite, is_sqlite

DAGSTER = "dagster"


def copy_databases(home: Path, copies: Path) -> Part:
    """Copy each database below DAGSTER_HOME."""
    part = Part("Dagster's history")
    for path in sorted(home.rglob("*.db")):
        if path.is_file() and is_sqlite(path):
            copy = copies / path.relative_to(home)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy_sqlite(path, copy)
            part.items += 1
            part.new += 1
            part.bytes += copy.stat().st_size
    return part
