"""Commits of the lakehouse: what one is, and the tag that makes it known."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table import Transaction


@dataclass(frozen=True)
class Commit:
    """One snapshot of one table: written by this call, or found because it had been written before.

    `tags` are those that the table has now, with their snapshots' times, `rows` is the number of rows that an append
    added. An append of no rows makes no snapshot.
    """

    table: str
    tag: str | None
    snapshot_id: int | None
    written: bool
    tags: Mapping[str, dt.datetime]
    rows: int = 0


def tag_times(table: IcebergTable) -> dict[str, dt.datetime]:
    """The table's tags with the times of their snapshots (UTC)."""
    times = {s.snapshot_id: dt.datetime.fromtimestamp(s.timestamp_ms / 1000, dt.UTC) for s in table.snapshots()}
    return {tag: times[r.snapshot_id] for tag, r in table.refs().items() if r.snapshot_ref_type == "tag"}


def tag_new_snapshots(transaction: Transaction, table: IcebergTable, tag: str) -> int:
    """Tag every snapshot the transaction has staged: the last with `tag`, those before it with `tag`.1, .2, ..."""
    from pyiceberg.table.update.snapshot import ManageSnapshots

    before = {snapshot.snapshot_id for snapshot in table.snapshots()}
    staged = [s.snapshot_id for s in transaction.table_metadata.snapshots if s.snapshot_id not in before]
    with ManageSnapshots(transaction) as manage:
        for position, snapshot_id in enumerate(staged[:-1], start=1):
            manage.create_tag(snapshot_id, f"{tag}.{position}")
        manage.create_tag(staged[-1], tag)
    return staged[-1]


def rows_added(table: IcebergTable, snapshot_id: int) -> int:
    """Rows that an append added, as its snapshot says; 0 of a snapshot that is not retained."""
    snapshot = table.snapshot_by_id(snapshot_id)
    return int(snapshot.summary["added-records"] or 0) if snapshot and snapshot.summary else 0
