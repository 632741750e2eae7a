"""Reading the lakehouse: a table at any version as an Arrow dataset, SQL over tables, what changed between versions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from qpipe_resources.lakehouse_versions import Version

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds
    from pyarrow.fs import FileSystem
    from pyiceberg.table import Table as IcebergTable

    from qpipe_resources.lakehouse_diff import TableDiff
    from qpipe_resources.table_version import TableVersion

CATALOG = "quantum_catalog"


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

    def version(self, name: str, as_of: Version = None) -> TableVersion:
        """The table as of a tag (or batch id), a snapshot id, a moment, or now.

        Raises:
            UnknownVersionError: no such version; names those that are retained.
        """
        from qpipe_resources.table_version import version_of

        return version_of(self.load(name), name, self.data_files, as_of)

    def dataset(self, name: str, as_of: Version = None) -> Any:
        """The table's data files as a lazily read Arrow dataset (columns and filters are pushed down)."""
        return self.version(name, as_of).dataset()

    def added_by(self, name: str, snapshot_id: int) -> ds.Dataset | None:
        """The rows that one snapshot added, at the cost of these rows alone; None when it is not retained.

        The files are in memory; their columns are decoded when they are asked for.
        """
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
        return ds.FileSystemDataset(fragments, schema, parquet)

    def arrow(self, name: str, as_of: Version = None) -> pa.Table:
        """The whole table as Arrow."""
        return self.version(name, as_of).dataset(()).to_table()

    def sql(
        self, query: str, tables: Collection[str], as_of: Version = None, *, finite: Collection[str] = ()
    ) -> pa.Table:
        """Run one query with DuckDB over those of `tables` that it names, each read lazily from its data files.

        Tables answer to their plain name and to `quantum_catalog.<namespace>.<name>`.

        Args:
            query: may say a version itself: `t AT (VERSION => 'tag')`, `t AT (TIMESTAMP => '2026-11-21')`.
            tables: that it may name.
            as_of: version of the tables for which it says none.
            finite: of them, those whose doubles are never NaN: their maxima are known without reading.
        """
        from qpipe_resources import lakehouse_sql

        space = lakehouse_sql.TableSpace(CATALOG, self.namespace, tables, finite)
        return lakehouse_sql.run(query, space, self.version, as_of)

    def diff(
        self, name: str, before: Version, after: Version, key: Sequence[str], provenance: Collection[str] = ()
    ) -> TableDiff:
        """What changed in a table between two versions; see TableDiff."""
        from qpipe_resources.lakehouse_diff import TableDiff
        from qpipe_resources.table_version import version_of

        table = self.load(name)
        earlier, later = (version_of(table, name, self.data_files, version) for version in (before, after))
        return TableDiff(earlier, later, tuple(key), tuple(provenance))


def _content(table: IcebergTable, location: str) -> pa.BufferReader:
    import pyarrow as pa

    with table.io.new_input(location).open() as file:
        return pa.BufferReader(file.read())
