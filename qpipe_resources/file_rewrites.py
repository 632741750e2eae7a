"""Data files written anew as fewer, without changing a row: Iceberg's `replace`, for whichever engine wrote them.

pyiceberg's overwrite requires that the table's newest snapshot is the one it was planned on, so a commit that comes
between makes it fail and is never lost. The slow part, writing the new files, comes before the commit and is not
repeated: each attempt replaces the files that are all still there, and leaves those that others have changed.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _OverwriteFiles

from qpipe_resources.commits import Commit, tag_new_snapshots, tag_times
from qpipe_resources.lakehouse import Lakehouse

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import FileScanTask
    from pyiceberg.table import Table as IcebergTable

Group = Sequence["FileScanTask"]
"""Data files of one partition that become one file."""


class ReplaceFiles(_OverwriteFiles):
    """An overwrite that says of itself that it changes no row, so that readers of changes may skip it."""

    def _summary(self, snapshot_properties: dict[str, str] | None = None) -> Summary:
        # pyiceberg counts for appends, overwrites and deletes only.
        counted = super()._summary(snapshot_properties or {})
        return Summary(Operation.REPLACE, **counted.additional_properties)


@dataclass(frozen=True)
class Rewritten:
    """Data files and their bytes, before and after."""

    files_before: int = 0
    bytes_before: int = 0
    files_after: int = 0
    bytes_after: int = 0

    def __add__(self, other: Rewritten) -> Rewritten:
        return Rewritten(
            self.files_before + other.files_before,
            self.bytes_before + other.bytes_before,
            self.files_after + other.files_after,
            self.bytes_after + other.bytes_after,
        )


def rewrite(
    lakehouse: Lakehouse, name: str, choose: Callable[[IcebergTable], list[Group]], cluster_by: str
) -> Rewritten:
    """Write each group that `choose` finds in the table as one file, and replace them all in one tagged commit.

    Killed before the commit it leaves files that nothing references, and has changed nothing.

    Args:
        lakehouse: of the table.
        name: of the table.
        choose: groups of data files of its newest snapshot, all under its current partition spec.
        cluster_by: column by which a file's rows are ordered, so that readers can skip parts of it.

    Returns:
        What was replaced; nothing where others have changed all of it meanwhile.

    Raises:
        LakehouseBusyError: other writers kept winning.
    """
    table = lakehouse.load(name)
    written = [(group, _write(table, group, cluster_by)) for group in choose(table)]
    if not written:
        return Rewritten()
    rewrite_id = uuid.uuid4().hex
    tag = f"v_compaction_{rewrite_id}"
    replaced: list[tuple[Group, DataFile]] = []

    def commit(table: IcebergTable) -> Commit | None:
        from qpipe_resources.iceberg_transaction import CachedTransaction

        unchanged = _unchanged(table)
        replaced[:] = [(group, file) for group, file in written if unchanged(group)]
        if not replaced:
            return None
        properties = {"qpipe.compaction-id": rewrite_id}
        with CachedTransaction(table) as transaction:
            files = ReplaceFiles(Operation.OVERWRITE, transaction, table.io, snapshot_properties=properties)
            for group, file in replaced:
                files.append_data_file(file)
                for task in group:
                    files.delete_data_file(task.file)
            files.commit()
            snapshot_id = tag_new_snapshots(transaction, table, tag)
        return Commit(name, tag, snapshot_id, True, tag_times(table))

    # Where this raises nobody knows whether the commit was done: then the files stay, in use or orphans.
    lakehouse.commit_once(name, (tag,), lambda: True, commit)
    after = [file for _, file in replaced]
    for _, file in written:
        if file not in after:
            table.io.delete(file.file_path)
    before = [task.file for group, _ in replaced for task in group]
    return Rewritten(len(before), _bytes(before), len(after), _bytes(after))


def _unchanged(table: IcebergTable) -> Callable[[Group], bool]:
    """Whether a group is still what the table holds: all its data files, with the same deletes, under the same spec."""
    live = {task.file.file_path: (task.delete_files, task.file.spec_id) for task in table.scan().plan_files()}
    spec = table.spec().spec_id
    return lambda group: all(live.get(task.file.file_path) == (task.delete_files, spec) for task in group)


def _bytes(files: Sequence[DataFile]) -> int:
    return sum(file.file_size_in_bytes for file in files)


def _write(table: IcebergTable, group: Group, cluster_by: str) -> DataFile:
    from pyiceberg.expressions import AlwaysTrue
    from pyiceberg.io.pyarrow import ArrowScan

    from qpipe_resources.data_files import write_data_files

    rows = ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue()).to_table(group)
    # A group lies in one partition, so it becomes one file.
    (written,) = write_data_files(table, [rows.sort_by(cluster_by)]).files
    return written
