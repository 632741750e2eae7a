"""What changed in a table between two versions, at the cost of the data files that differ.

A file that both versions list holds the same rows in both and is not opened, nor is a manifest that both list. Where
one side has no file of its own, the other's row counts say it all. Else the rows of the differing files are compared:
those that are equal in every column cancel out, as often as they occur (a compaction leaves nothing), and what is left
is paired by the key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from qpipe_resources.table_version import names_mean_fields

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from pyiceberg.manifest import DataFile, ManifestFile

    from qpipe_resources.table_version import TableVersion


@dataclass(frozen=True)
class Change:
    """How many rows changed, and in which columns.

    Attributes:
        added: rows whose key only the later version has.
        removed: rows whose key only the earlier version has.
        changed: rows of one key whose values differ.
        reprocessed: rows of one key that differ in the columns of their provenance alone: written again.
        columns: of the changed rows, how many differ in each column.
        files_read: data files that were opened to tell.
    """

    added: int
    removed: int
    changed: int
    reprocessed: int
    columns: dict[str, int]
    files_read: int


@dataclass(frozen=True)
class TableDiff:
    """Two versions of a table, compared when asked.

    Attributes:
        before: the earlier version, or whichever the difference starts from.
        after: the other.
        key: columns that name a row.
        provenance: columns that only tell who wrote a row and when.
    """

    before: TableVersion
    after: TableVersion
    key: tuple[str, ...]
    provenance: tuple[str, ...] = ()

    def change(self) -> Change:
        """Count the differences."""
        if self._comparable_by_file:
            before, after = self._own_files
            if not before or not after:
                return Change(_rows_in(after), _rows_in(before), 0, 0, {}, 0)
        with self._compared() as connection:
            counts = ", ".join(f"count(*) filter ({_differ(column)})" for column in self._values) or "0"
            kinds = connection.execute("select change, count(*) from compared group by all").fetchall()
            [differing] = connection.execute(f"select {counts} from compared where change = 'changed'").fetchall()
        of = Counter(dict(kinds))
        columns = {column: count for column, count in zip(self._values, differing, strict=False) if count}
        files_read = sum(len(files) for files in self._files_to_read)
        return Change(of["added"], of["removed"], of["changed"], of["reprocessed"], columns, files_read)

    def rows(self, limit: int | None = None) -> pa.Table:
        """The differences one by one: `change`, the key, and for each differing column its text before and after.

        Args:
            limit: at most so many; all when None.
        """
        key = ", ".join(f"coalesce(b.{_quoted(name)}, a.{_quoted(name)}) as {_quoted(name)}" for name in self.key)
        whole = f"select change, {key}, null as field, null::varchar as before, null::varchar as after from compared"
        parts = [f"{whole} where change <> 'changed'"]
        parts += [
            f"select change, {key}, '{name}', b.{_quoted(name)}::varchar, a.{_quoted(name)}::varchar "
            f"from compared where change = 'changed' and {_differ(name)}"
            for name in self._values
        ]
        order = ", ".join(_quoted(name) for name in self.key)
        listed = f"from ({' union all '.join(parts)}) order by change, {order}, field"
        with self._compared() as connection:
            rows = connection.sql(f"{listed} limit {limit}" if limit is not None else listed).to_arrow_table()
        return rows.rename_columns(["change", *self.key, "column", "before", "after"])

    @contextmanager
    def _compared(self) -> Iterator[DuckDBPyConnection]:
        """A connection with a table `compared`: `change`, and the rows `b` before and `a` after."""
        import duckdb

        sides = (("before", self.before), ("after", self.after))
        key = ", ".join(_quoted(name) for name in self.key)
        joined = " and ".join(f"b.{_quoted(name)} is not distinct from a.{_quoted(name)}" for name in self.key)
        changed = " or ".join(_differ(name) for name in self._values) or "false"
        # Where rows share a key, the nth of one side is paired with the nth of the other.
        place = f"row_number() over (partition by _more > 0, {key}) as place"
        with TemporaryDirectory() as spilled, duckdb.connect(config={"temp_directory": spilled}) as connection:
            for position, (side, version) in enumerate(sides):
                connection.register(f"{side}_files", self._dataset(position, version))
                present = set(version.arrow_schema.names)
                select = ", ".join(
                    _quoted(name) if name in present else f"null as {_quoted(name)}" for name in self._columns
                )
                connection.execute(f"create view {side} as select {select} from {side}_files")
            connection.execute(
                f"""
                create temp table compared as
                with
                    signed as (select *, 1 as _sign from after union all select *, -1 as _sign from before),
                    uneven as (
                        select * exclude (_sign), sum(_sign) as _more from signed group by all having _more <> 0
                    ),
                    single as (select *, unnest(range(abs(_more)::bigint)) as _copy from uneven),
                    placed as (select *, {place} from single),
                    b as (from placed where _more < 0),
                    a as (from placed where _more > 0)
                select
                    case
                        when b.place is null then 'added'
                        when a.place is null then 'removed'
                        when {changed} then 'changed'
                        else 'reprocessed'
                    end as change,
                    case when b.place is not null then {{{_struct("b", self._columns)}}} end as b,
                    case when a.place is not null then {{{_struct("a", self._columns)}}} end as a
                from b full outer join a on {joined} and b.place = a.place
                """
            )
            yield connection

    def _dataset(self, position: int, version: TableVersion) -> Any:
        if not self._comparable_by_file:
            return version.dataset(())
        return version.dataset_of(self._own_files[position], version.schema, ())

    @property
    def _files_to_read(self) -> tuple[list[DataFile], list[DataFile]]:
        return self._own_files if self._comparable_by_file else (self.before.files, self.after.files)

    @cached_property
    def _columns(self) -> list[str]:
        return list(dict.fromkeys([*self.after.arrow_schema.names, *self.before.arrow_schema.names]))

    @cached_property
    def _values(self) -> list[str]:
        return [column for column in self._columns if column not in {*self.key, *self.provenance}]

    @cached_property
    def _comparable_by_file(self) -> bool:
        from pyiceberg.manifest import ManifestContent

        manifests = _manifests(self.before) | _manifests(self.after)
        marked = any(manifest.content == ManifestContent.DELETES for manifest in manifests)
        return not marked and names_mean_fields(self.after.table)

    @cached_property
    def _own_files(self) -> tuple[list[DataFile], list[DataFile]]:
        """The data files that only `before` has, and those that only `after` has."""
        manifests = _manifests(self.before), _manifests(self.after)
        before = _live_files(self.before, manifests[0] - manifests[1])
        after = _live_files(self.after, manifests[1] - manifests[0])
        return (
            [file for path, file in before.items() if path not in after],
            [file for path, file in after.items() if path not in before],
        )


def _manifests(version: TableVersion) -> set[ManifestFile]:
    # A manifest equals another by its path.
    return set(version.snapshot.manifests(version.table.io)) if version.snapshot else set()


def _live_files(version: TableVersion, manifests: set[ManifestFile]) -> dict[str, DataFile]:
    entries = [entry for manifest in manifests for entry in manifest.fetch_manifest_entry(version.table.io)]
    return {entry.data_file.file_path: entry.data_file for entry in entries}


def _rows_in(files: list[DataFile]) -> int:
    return sum(file.record_count for file in files)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _struct(side: str, columns: list[str]) -> str:
    return ", ".join(f"{_quoted(name)}: {side}.{_quoted(name)}" for name in columns)


def _differ(column: str) -> str:
    return f"b.{_quoted(column)} is distinct from a.{_quoted(column)}"
