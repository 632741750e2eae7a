"""Data files of a table, written before the commit that adds them, here or by other processes.

A file that no commit ever adds is an orphan, which maintenance removes; so a writer may be killed, repeated or raced.
"""

from __future__ import annotations

import contextlib
import functools
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile
    from pyiceberg.partitioning import PartitionKey
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.metadata import TableMetadata


@dataclass(frozen=True)
class Written:
    """Rows in data files that belong to one table as it was partitioned then."""

    rows: int
    files: tuple[DataFile, ...]
    made_for: tuple[str, int]

    def __add__(self, other: Written) -> Written:
        if self.made_for != other.made_for:
            raise ValueError(f"files made for {self.made_for} and {other.made_for} cannot be added in one commit")
        return Written(self.rows + other.rows, self.files + other.files, self.made_for)

    def fits(self, metadata: TableMetadata) -> bool:
        """Whether the files can be added to the table as it is now; a column that came meanwhile does no harm."""
        return self.made_for == _made_for(metadata)


@dataclass(frozen=True)
class WriteTarget:
    """A table to write files for, as text: what a process without the catalog needs. Holds no secret."""

    metadata: str
    file_io: Mapping[str, str]

    def write(self, pieces: Iterable[pa.Table]) -> Written:
        """As `write_data_files`."""
        from pyiceberg.io import load_file_io
        from pyiceberg.table.metadata import TableMetadataUtil

        metadata = TableMetadataUtil.parse_raw(self.metadata)
        return _write(metadata, load_file_io(dict(self.file_io), metadata.location), pieces)


def write_data_files(table: IcebergTable, pieces: Iterable[pa.Table]) -> Written:
    """Write rows in the table's Arrow schema as data files of the table, one for each partition.

    Args:
        table: as it was loaded.
        pieces: the rows, of which one piece at a time is in memory. Texts may be dictionaries, in every piece the same
            columns; they are written as such and read as plain texts.

    Raises:
        ValueError: a column or its type is not the table's.
    """
    return _write(table.metadata, table.io, pieces)


def no_files(table: IcebergTable) -> Written:
    """Nothing, for the table."""
    return Written(0, (), _made_for(table.metadata))


def _write(metadata: TableMetadata, file_io: FileIO, pieces: Iterable[pa.Table]) -> Written:
    # Not pyiceberg's way to make data files: it holds all rows at once, filters and copies them for each partition, of
    # which a batch mostly has one, and would let every reader see dictionaries.
    rows = 0
    files: dict[tuple[Any, ...], _OpenFile] = {}
    with contextlib.ExitStack() as stack:
        for piece in pieces:
            _check(metadata, piece.schema)
            rows += len(piece)
            for key, part in _partitions(metadata, piece) if len(piece) else ():
                values = tuple(field.value for field in key.field_values) if key else ()
                if values not in files:
                    files[values] = _OpenFile(metadata, file_io, key, part, stack)
                files[values].write(part)
    return Written(rows, tuple(file.written() for file in files.values()), _made_for(metadata))


_compatible: set[tuple[uuid.UUID, int, pa.Schema]] = set()
"""Schemas that were found to be those of tables: to compare them costs milliseconds for each of a batch's tables."""


def _check(metadata: TableMetadata, given: pa.Schema) -> None:
    case = metadata.table_uuid, metadata.current_schema_id, given
    if case not in _compatible:
        _check_schema(metadata, given)
        _compatible.add(case)


def _check_schema(metadata: TableMetadata, given: pa.Schema) -> None:
    import pyarrow as pa
    from pyiceberg.io.pyarrow import _check_pyarrow_schema_compatible

    plain = [field.with_type(_plain(field.type)) for field in given]
    _check_pyarrow_schema_compatible(metadata.schema(), pa.schema(plain), format_version=metadata.format_version)


def _plain(arrow_type: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return arrow_type.value_type if pa.types.is_dictionary(arrow_type) else arrow_type


def _partitions(metadata: TableMetadata, data: pa.Table) -> Iterator[tuple[PartitionKey | None, pa.Table]]:
    """The rows of each partition with its key; None where the table has no partitions."""
    import pyarrow as pa
    from pyiceberg.partitioning import PartitionFieldValue, PartitionKey

    spec, schema = metadata.spec(), metadata.schema()
    if spec.is_unpartitioned():
        yield None, data
        return
    sources = [schema.find_field(field.source_id) for field in spec.fields]
    columns = [
        field.transform.pyarrow_transform(source.field_type)(data.column(source.name))
        for field, source in zip(spec.fields, sources, strict=True)
    ]
    names = [field.name for field in spec.fields]
    keyed = pa.table(columns, names)
    found = keyed.group_by(names).aggregate([]).select(names).to_pylist()
    for key in found:
        values = [PartitionFieldValue(field, key[field.name]) for field in spec.fields]
        rows = data if len(found) == 1 else data.filter(_matching(keyed, key))
        yield PartitionKey(values, spec, schema), rows


def _matching(keyed: pa.Table, key: dict[str, Any]) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    columns = [
        keyed.column(name).is_null() if value is None else pc.equal(keyed.column(name), value)
        for name, value in key.items()
    ]
    return functools.reduce(pc.and_kleene, columns)


class _OpenFile:
    """A data file that is being written; whole once `stack` is closed."""

    def __init__(
        self,
        metadata: TableMetadata,
        file_io: FileIO,
        key: PartitionKey | None,
        first: pa.Table,
        stack: contextlib.ExitStack,
    ) -> None:
        import pyarrow.parquet as pq
        from pyiceberg.io.pyarrow import schema_to_pyarrow
        from pyiceberg.table import TableProperties
        from pyiceberg.table.locations import load_location_provider

        self._metadata = metadata
        self._key = key
        self._fields = schema_to_pyarrow(metadata.schema())
        locations = load_location_provider(metadata.location, metadata.properties)
        self._output = file_io.new_output(locations.new_data_location(f"00000-0-{uuid.uuid4()}.parquet", key))
        self._footers: list[Any] = []
        codec = TableProperties.PARQUET_COMPRESSION, TableProperties.PARQUET_COMPRESSION_DEFAULT
        self._writer = stack.enter_context(
            pq.ParquetWriter(
                stack.enter_context(self._output.create(overwrite=True)),
                _columns_of_file(self._fields, first).schema,
                compression=metadata.properties.get(*codec),
                # Without Arrow's own schema a dictionary is for every reader what it is: a way to store texts.
                store_schema=False,
                metadata_collector=self._footers,
            )
        )

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(_columns_of_file(self._fields, rows))

    def written(self) -> DataFile:
        from pyiceberg.io.pyarrow import (
            compute_statistics_plan,
            data_file_statistics_from_parquet_metadata,
            parquet_path_to_id_mapping,
        )
        from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
        from pyiceberg.typedef import Record

        schema = self._metadata.schema()
        statistics = data_file_statistics_from_parquet_metadata(
            self._footers[0],
            compute_statistics_plan(schema, self._metadata.properties),
            parquet_path_to_id_mapping(schema),
        )
        return DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=self._output.location,
            file_format=FileFormat.PARQUET,
            partition=self._key.partition if self._key else Record(),
            file_size_in_bytes=len(self._output),
            spec_id=self._metadata.default_spec_id,
            sort_order_id=None,
            equality_ids=None,
            key_metadata=None,
            **statistics.to_serialized_dict(),
        )


def _columns_of_file(declared: pa.Schema, rows: pa.Table) -> pa.Table:
    """The columns of the table in its order, with its field ids; null where the rows lack one that came later."""
    import pyarrow as pa

    fields, columns = [], []
    for field in declared:
        column = rows.column(field.name) if field.name in rows.column_names else pa.nulls(len(rows), field.type)
        fields.append(field.with_type(column.type) if pa.types.is_dictionary(column.type) else field)
        columns.append(column.cast(fields[-1].type))
    return pa.table(columns, schema=pa.schema(fields))


def _made_for(metadata: TableMetadata) -> tuple[str, int]:
    return str(metadata.table_uuid), metadata.default_spec_id
