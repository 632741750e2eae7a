"""Reading the lakehouse: which snapshot a version means, data files as Arrow datasets, SQL over them."""

from __future__ import annotations

import datetime as dt
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileSystem
    from pyiceberg.table import Table as IcebergTable

CATALOG = "quantum_catalog"


class UnknownVersionError(LookupError):
    """The table has no such tag, snapshot or moment."""


def batch_tags(batch_id: str) -> tuple[str, str]:
    """The two names a batch's tag can have: on a table's first snapshot, and on any later one."""
    return f"v_{batch_id}", f"v_incr_{batch_id}"


class LakehouseReads(ABC):
    """Reads of the tables of one namespace."""

    namespace: str

    @property
    @abstractmethod
    def data_files(self) -> FileSystem:
        """Where the data files lie, by their location without its scheme."""

    @abstractmethod
    def load(self, name: str) -> IcebergTable:
        """The table's current state."""

    def resolve(self, name: str, as_of: str | int | dt.datetime | None) -> tuple[IcebergTable, int | None]:
        """The table and the snapshot that `as_of` means: a tag (or batch id), a snapshot id, or a moment.

        Returns:
            Table and snapshot id; the id is None when the table had no rows then.

        Raises:
            UnknownVersionError: no such tag or snapshot; names those that are retained.
        """
        table = self.load(name)
        if as_of is None:
            current = table.current_snapshot()
            return table, current.snapshot_id if current else None
        references = table.refs()
        text = str(as_of)
        for tag in (text, *batch_tags(text.removeprefix("v_incr_").removeprefix("v_"))):
            if tag in references:
                return table, references[tag].snapshot_id
        if text.isdigit() and table.snapshot_by_id(int(text)) is not None:
            return table, int(text)
        moment = _parse_moment(as_of)
        if moment is None:
            tags = ", ".join(sorted(t for t in references if t != "main")) or "none"
            raise UnknownVersionError(
                f"table {name} has no tag, snapshot or moment {text!r}; a moment is ISO 8601; retained tags: {tags}"
            )
        snapshot = table.snapshot_as_of_timestamp(int(moment.timestamp() * 1000))
        return table, snapshot.snapshot_id if snapshot else None

    def dataset(self, name: str, as_of: str | int | dt.datetime | None = None) -> Any:
        """The table's data files as a lazily read Arrow dataset (columns and filters are pushed down)."""
        import pyarrow as pa
        import pyarrow.dataset as ds
        from pyiceberg.io.pyarrow import schema_to_pyarrow

        table, snapshot_id = self.resolve(name, as_of)
        schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
        files = []
        for task in table.scan(snapshot_id=snapshot_id).plan_files() if snapshot_id is not None else ():
            if task.delete_files:
                return ds.dataset(table.scan(snapshot_id=snapshot_id).to_arrow())
            files.append(task.file.file_path.partition("://")[2])
        if not files:
            return ds.dataset(pa.table({f.name: pa.array([], f.type) for f in schema}))
        nullable = pa.schema([f.with_nullable(True) for f in schema])
        return ds.dataset(files, format="parquet", schema=nullable, filesystem=self.data_files)

    def added_by(self, name: str, snapshot_id: int) -> pa.Table | None:
        """The rows that one snapshot added, at the cost of these rows alone; None when it is not retained."""
        import pyarrow.dataset as ds
        from pyiceberg.io.pyarrow import schema_to_pyarrow
        from pyiceberg.manifest import ManifestEntryStatus

        table = self.load(name)
        snapshot = table.snapshot_by_id(snapshot_id)
        if snapshot is None:
            return None
        files = [
            entry.data_file.file_path
            for manifest in snapshot.manifests(table.io)
            if manifest.added_snapshot_id == snapshot_id
            for entry in manifest.fetch_manifest_entry(table.io)
            if entry.status == ManifestEntryStatus.ADDED and entry.snapshot_id == snapshot_id
        ]
        # Read whole: they are a batch's, and each range of a file would be a request.
        parquet = ds.ParquetFileFormat()
        fragments = [parquet.make_fragment(_content(table, file)) for file in files]
        schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
        return ds.FileSystemDataset(fragments, schema, parquet).to_table()

    def arrow(self, name: str, as_of: str | int | dt.datetime | None = None) -> pa.Table:
        """The whole table as Arrow."""
        return self.dataset(name, as_of).to_table()

    def sql(self, query: str, tables: Iterable[str], as_of: str | int | dt.datetime | None = None) -> pa.Table:
        """Run one query with DuckDB over those of `tables` that it names, each read lazily from its data files.

        Tables answer to their plain name and to `quantum_catalog.<namespace>.<name>`.
        """
        import duckdb

        with duckdb.connect() as connection:
            connection.execute(f"attach ':memory:' as {CATALOG}; create schema {CATALOG}.{self.namespace}")
            for name in tables:
                if re.search(rf"\b{name}\b", query):
                    connection.register(f"_{name}", self.dataset(name, as_of))
                    connection.execute(f"create view {CATALOG}.{self.namespace}.{name} as select * from _{name}")
            connection.execute(f"use {CATALOG}.{self.namespace}")
            return connection.sql(query).to_arrow_table()


def _content(table: IcebergTable, location: str) -> pa.BufferReader:
    import pyarrow as pa

    with table.io.new_input(location).open() as file:
        return pa.BufferReader(file.read())


def _parse_moment(value: str | int | dt.datetime) -> dt.datetime | None:
    if isinstance(value, dt.datetime):
        return value if value.tzinfo else value.replace(tzinfo=dt.UTC)
    try:
        moment = dt.datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
