"""Compaction: the small files of each closed partition become one, as often as there are any.

A partition is CLOSED when no batch will write to it any more. Tables are partitioned by the day of the batch's claim
(processing_date) first, so a day decides: it is over, no batch of it is open, and each batch of it that is done has
its commit in the table. The ledger knows all of it; a day on which it knows no batch (rows that another program wrote)
is closed when it is over. In the audit table, which has no partitions, the days that a file's statistics span decide.
All this spares work, it is not what makes compaction safe: file_rewrites.py is.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import FileScanTask
    from pyiceberg.table import Table as IcebergTable

    from qpipe_assets.tables.ledger import Ledger
    from qpipe_resources.file_rewrites import Group, Rewritten
    from qpipe_resources.lakehouse import Lakehouse

FILE_BYTES = 128 * 1024 * 1024
"""A file of this size is large enough."""
FILE_ROWS = 500_000
"""So is one of so many rows: while they are written they are in memory, with up to 800 bytes each at the peak."""
_COMMIT_GROUPS = 64
"""Files that one commit replaces others by: a kill loses the work of one commit."""
_SMALL = 0.75
_MIDNIGHT_PASSED = dt.timedelta(hours=1)
"""A claim near midnight may still come with yesterday's date, and clocks differ."""
_EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True)
class ClosedDays:
    """Which days are closed: those before `today` without those that are pending."""

    today: dt.date
    pending: frozenset[dt.date]

    def hold(self, first: dt.date, last: dt.date) -> bool:
        """Whether all days from `first` to `last` are closed."""
        return last < self.today and not any(first <= day <= last for day in self.pending)


def closed_days(ledger: Ledger, table: str, now: dt.datetime) -> ClosedDays:
    """The days that are closed for the table, as the ledger tells it at this moment."""
    return ClosedDays((now - _MIDNIGHT_PASSED).date(), frozenset(ledger.days_pending(table)))


def small_files(table: IcebergTable, closed: ClosedDays) -> list[Group]:
    """Groups of at least two small files of one closed partition, each to become one file of a good size."""
    partitions: dict[tuple[object, ...], list[FileScanTask]] = defaultdict(list)
    spec, day = table.spec(), table.schema().find_field("processing_date").field_id
    for task in table.scan().plan_files():
        file = task.file
        # Files of a spec that the table had before stay as they are.
        if file.spec_id == spec.spec_id and _is_small(file) and closed.hold(*_days(file, day)):
            partitions[tuple(file.partition[i] for i in range(len(spec.fields)))].append(task)
    packed = (group for partition in sorted(partitions, key=repr) for group in _packed(partitions[partition]))
    return [group for group in packed if len(group) > 1]


def compact(lakehouse: Lakehouse, ledger: Ledger, name: str, now: dt.datetime) -> Rewritten:
    """Compact the closed partitions of a table, one atomic commit for each few files, until nothing is left to do.

    Safe beside appends, rebuilds and other compactions: what they change meanwhile is left for the next time.

    Raises:
        LakehouseBusyError: other writers kept winning; what was committed stands.
    """
    from qpipe_resources.file_rewrites import Rewritten, rewrite

    closed = closed_days(ledger, name, now)
    total = Rewritten()
    while True:
        done = rewrite(lakehouse, name, lambda table: small_files(table, closed)[:_COMMIT_GROUPS], "molecule")
        total += done
        if not done.files_before:
            return total


def planned(lakehouse: Lakehouse, ledger: Ledger, name: str, now: dt.datetime) -> Rewritten:
    """What `compact` would replace; the bytes after it are not known before, those of now stand for them."""
    from qpipe_resources.file_rewrites import Rewritten

    groups = small_files(lakehouse.load(name), closed_days(ledger, name, now))
    size = sum(task.file.file_size_in_bytes for group in groups for task in group)
    return Rewritten(sum(len(group) for group in groups), size, len(groups), size)


def _is_small(file: DataFile) -> bool:
    return file.file_size_in_bytes < _SMALL * FILE_BYTES and file.record_count < _SMALL * FILE_ROWS


def _days(file: DataFile, column: int) -> tuple[dt.date, dt.date]:
    """The days from the first to the last that a file's statistics tell; never closed ones where they tell none."""
    lower, upper = (file.lower_bounds or {}).get(column), (file.upper_bounds or {}).get(column)
    return (_day(lower) if lower else dt.date.min, _day(upper) if upper else dt.date.max)


def _day(bound: bytes) -> dt.date:
    # Iceberg writes a date as days since 1970, four bytes, little-endian.
    return _EPOCH + dt.timedelta(days=int.from_bytes(bound, "little", signed=True))


def _packed(tasks: list[FileScanTask]) -> Iterator[list[FileScanTask]]:
    """The files in groups of at most FILE_BYTES and FILE_ROWS, the smallest first."""
    group: list[FileScanTask] = []
    size = rows = 0
    for task in sorted(tasks, key=lambda t: (t.file.file_size_in_bytes, t.file.file_path)):
        size, rows = size + task.file.file_size_in_bytes, rows + task.file.record_count
        if group and (size > FILE_BYTES or rows > FILE_ROWS):
            yield group
            group, size, rows = [], task.file.file_size_in_bytes, task.file.record_count
        group.append(task)
    if group:
        yield group
