"""One version of a table: its data files as its manifests list them, and datasets that skip files by their bounds."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qpipe_resources.lakehouse_versions import NOW, Version, find_snapshot
from qpipe_resources.locations import without_scheme

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileSystem
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import FileScanTask
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.types import NestedField


@dataclass(frozen=True)
class TableVersion:
    """A table as of one snapshot.

    Attributes:
        name: of the table.
        table: the table as it was loaded.
        snapshot: None when the table had no rows then.
        schema: the snapshot's own, as Iceberg has it for time travel; for now, the table's.
        filesystem: where the data files lie, by their location without its scheme.
    """

    name: str
    table: IcebergTable
    snapshot: Snapshot | None
    schema: Schema
    filesystem: FileSystem

    @cached_property
    def _tasks(self) -> list[FileScanTask]:
        if self.snapshot is None:
            return []
        return list(self.table.scan(snapshot_id=self.snapshot.snapshot_id).plan_files())

    @property
    def files(self) -> list[DataFile]:
        """The live data files."""
        return [task.file for task in self._tasks]

    @property
    def deletes_rows(self) -> bool:
        """Whether rows of data files are marked as deleted beside them (merge on read)."""
        return any(task.delete_files for task in self._tasks)

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """The columns; nullable, because files of before a column was added lack it."""
        return arrow_schema(self.schema)

    def dataset(self, bounded: Collection[str] | None = None, *, finite: bool = False) -> Any:
        """The rows as an Arrow dataset, read when they are asked for.

        A file is not opened where the manifests already say that it has no row for a filter.

        Args:
            bounded: columns, beside those of the partition, whose bounds may rule a file out; all when None.
            finite: whether doubles are never NaN even where no manifest says so.
        """
        import pyarrow.dataset as ds

        if self.deletes_rows or not names_mean_fields(self.table):
            return ds.dataset(self._merged().cast(self.arrow_schema))
        return self.dataset_of(self.files, self.schema, bounded, finite)

    def dataset_of(
        self, files: Iterable[DataFile], schema: Schema, bounded: Collection[str] | None = None, finite: bool = False
    ) -> Any:
        """These data files of the table as a dataset in the given schema; see `dataset`."""
        import pyarrow.dataset as ds

        parquet = ds.ParquetFileFormat()
        columns = arrow_schema(schema)
        wanted = [f for f in schema.fields if f.field_type.is_primitive and (bounded is None or f.name in bounded)]
        fragments = [
            parquet.make_fragment(
                without_scheme(file.file_path),
                self.filesystem,
                partition_expression=self._guarantee(file, wanted, columns, finite),
                file_size=file.file_size_in_bytes,
            )
            for file in files
        ]
        return ds.FileSystemDataset(fragments, columns, parquet, self.filesystem)

    def identity_partition(self, file: DataFile) -> dict[int, Any]:
        """Field id -> value of what all rows of a file have in common by the table's partition."""
        from pyiceberg.transforms import IdentityTransform

        spec = self.table.specs()[file.spec_id]
        return {
            field.source_id: file.partition[position]
            for position, field in enumerate(spec.fields)
            if isinstance(field.transform, IdentityTransform)
        }

    def _merged(self) -> pa.Table:
        """All rows, as pyiceberg reads them: columns by their ids, without those that are marked as deleted."""
        from pyiceberg.expressions import AlwaysTrue
        from pyiceberg.io.pyarrow import ArrowScan

        return ArrowScan(self.table.metadata, self.table.io, self.schema, AlwaysTrue()).to_table(self._tasks)

    def _guarantee(self, file: DataFile, bounded: list[NestedField], columns: pa.Schema, finite: bool) -> Any:
        """What holds for every row of a file, as an expression that Arrow compares with a scan's filter."""
        import pyarrow.compute as pc

        partition = self.identity_partition(file)
        names = {field.field_id: field.name for field in self.schema.fields}
        terms = [_equals(names[i], value, columns) for i, value in partition.items() if names.get(i) in columns.names]
        for field in bounded:
            if field.field_id not in partition and (finite or not may_be_nan(file, field)):
                terms.extend(_within(file, field, columns.field(field.name).type))
        expression = pc.scalar(True)
        for term in terms:
            expression = expression & term
        return expression


def version_of(table: IcebergTable, name: str, filesystem: FileSystem, version: Version = None) -> TableVersion:
    """The table as of a tag (or batch id), a snapshot id, a moment, or now.

    Raises:
        UnknownVersionError: no such version, or it has expired.
    """
    snapshot = find_snapshot(table, name, version)
    schema = table.schema()
    if version not in (None, NOW) and snapshot is not None and snapshot.schema_id is not None:
        schema = table.schemas()[snapshot.schema_id]
    return TableVersion(name, table, snapshot, schema, filesystem)


def arrow_schema(schema: Schema) -> pa.Schema:
    """Arrow's form of an Iceberg schema, all columns nullable, with the types that Parquet files are read as."""
    import pyarrow as pa
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    found = schema_to_pyarrow(schema, include_field_ids=False)
    return pa.schema([pa.field(field.name, _of_32_bits(field.type)) for field in found])


def _of_32_bits(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(_of_32_bits(kind.value_type))
    return kind


def names_mean_fields(table: IcebergTable) -> bool:
    """Whether a column's name has meant one field of one type ever since, so that files can be read by name."""
    meaning: dict[str, tuple[int, str]] = {}
    names: dict[int, str] = {}
    return all(
        meaning.setdefault(field.name, (field.field_id, str(field.field_type)))
        == (field.field_id, str(field.field_type))
        and names.setdefault(field.field_id, field.name) == field.name
        for schema in table.schemas().values()
        for field in schema.fields
    )


def bound(bounds: dict[int, bytes] | None, field: NestedField) -> Any:
    """One of a file's bounds in Iceberg's own unit (days, microseconds), None where the manifest has none."""
    from pyiceberg.conversions import from_bytes
    from pyiceberg.types import PrimitiveType

    content = (bounds or {}).get(field.field_id)
    assert isinstance(field.field_type, PrimitiveType)
    return None if content is None else from_bytes(field.field_type, content)


def may_be_nan(file: DataFile, field: NestedField) -> bool:
    """Whether a file may hold NaN in a column: bounds leave them out, and pyiceberg does not count them."""
    from pyiceberg.types import DoubleType, FloatType

    is_float = isinstance(field.field_type, DoubleType | FloatType)
    return is_float and (file.nan_value_counts or {}).get(field.field_id) != 0


def _equals(name: str, value: Any, columns: pa.Schema) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = pc.field(name)
    return column.is_null() if value is None else column == pa.scalar(value, columns.field(name).type)


def _within(file: DataFile, field: NestedField, kind: pa.DataType) -> list[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = pc.field(field.name)
    lower, upper = bound(file.lower_bounds, field), bound(file.upper_bounds, field)
    has_nulls = (file.null_value_counts or {}).get(field.field_id) != 0
    if lower is not None and lower == upper and not has_nulls and not isinstance(lower, float):
        # The one value of all rows; of mere bounds Arrow does not see what IN needs.
        return [column == pa.scalar(lower, kind)]
    bounds = [] if lower is None else [column >= pa.scalar(lower, kind)]
    bounds += [] if upper is None else [column <= pa.scalar(upper, kind)]
    # Each with its own "or null": that is the form in which Arrow understands it.
    return [each | column.is_null() if has_nulls else each for each in bounds]
