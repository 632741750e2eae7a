"""Orphans: files under a table's location that no retained version of it needs.

They are left by commits that lost a race or were killed, and by compaction once the snapshots before it have expired.
A file is left alone that is younger than a safe age, or than the oldest batch that is still open: it may belong to a
commit in flight. So are files of kinds that tables do not consist of.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpipe_resources.errors import ServiceError

if TYPE_CHECKING:
    from qpipe_assets.tables.ledger import Ledger
    from qpipe_resources.lakehouse import Lakehouse
    from qpipe_resources.stored_files import StoredFile

_OF_TABLES = re.compile(r"\.(parquet|orc|avro|puffin|stats|metadata\.json(\.gz)?)$")


class LostFilesError(ServiceError):
    """A table needs files that are not under its location, or that this machine names otherwise."""


@dataclass(frozen=True)
class Sweep:
    """Files and bytes under a table's location before a sweep, and those of them that are orphans."""

    files: int
    bytes: int
    orphans: tuple[StoredFile, ...]

    @property
    def orphan_bytes(self) -> int:
        """Bytes of the orphans."""
        return sum(file.size for file in self.orphans)


def sweep_orphans(
    lakehouse: Lakehouse, ledger: Ledger, name: str, written_before: dt.datetime, *, dry_run: bool = False
) -> Sweep:
    """Remove the orphans of one table that were written before a moment; `dry_run` only finds them.

    Args:
        lakehouse: of the table.
        ledger: tells since when a batch is open.
        name: of the table.
        written_before: files of this moment and later stay; days ago, longer than any commit or query takes.
        dry_run: remove nothing.

    Raises:
        LostFilesError: files that the table needs were not found; nothing was removed.
    """
    from qpipe_resources.stored_files import needed_files, path_of, remove, stored_files

    oldest_open = ledger.oldest_open_claim()
    written_before = min(written_before, oldest_open) if oldest_open else written_before
    # Looked at before and after the listing: what is needed both times must be in it, else names do not match.
    before = needed_files(lakehouse.load(name))
    stored = stored_files(lakehouse, lakehouse.load(name))
    table = lakehouse.load(name)
    needed = needed_files(table)
    paths = {file.path for file in stored}
    here = path_of(table.location()).rstrip("/") + "/"
    lost = sorted(path for path in before.content & needed.content if path.startswith(here) and path not in paths)
    if lost:
        raise LostFilesError(
            f"table {name}: {len(lost)} files that it needs are not under {table.location()} (first: {lost[0]}); "
            "no orphan was removed; restore them, or rebuild the molecules"
        )
    kept = needed.content | needed.metadata
    orphans = tuple(file for file in stored if _is_orphan(file, kept, written_before))
    if not dry_run:
        for file in orphans:
            remove(lakehouse, table, file)
    return Sweep(len(stored), sum(file.size for file in stored), orphans)


def _is_orphan(file: StoredFile, kept: frozenset[str], written_before: dt.datetime) -> bool:
    folder, _, name = file.path.rpartition("/")
    if name.startswith(".") and name.endswith(".crc"):
        # Hadoop's checksum beside a file of this name.
        name = name[1:-4]
    known = _OF_TABLES.search(name) is not None
    return known and f"{folder}/{name}" not in kept and file.modified < written_before
