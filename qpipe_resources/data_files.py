"""Data files of a table, written before the commit that adds them, here or by other processes.

A file that no commit ever adds is an orphan, which maintenance removes; so a writer may be killed, repeated or raced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile
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

    def write(self, data: pa.Table) -> Written:
        """Write rows in the table's Arrow schema as data files."""
        from pyiceberg.io import load_file_io
        from pyiceberg.table.metadata import TableMetadataUtil

        metadata = TableMetadataUtil.parse_raw(self.metadata)
        return _write(metadata, load_file_io(dict(self.file_io), metadata.location), data)


def write_data_files(table: IcebergTable, data: pa.Table) -> Written:
    """Write rows in the table's Arrow schema as data files of the table.

    Raises:
        ValueError: a column or its type is not the table's.
    """
    return _write(table.metadata, table.io, data)


def no_files(table: IcebergTable) -> Written:
    """Nothing, for the table."""
    return Written(0, (), _made_for(table.metadata))


def _write(metadata: TableMetadata, file_io: FileIO, data: pa.Table) -> Written:
    # What pyiceberg's own append does, in two steps; it has no public name for the first one.
    from pyiceberg.io.pyarrow import _check_pyarrow_schema_compatible, _dataframe_to_data_files

    _check_pyarrow_schema_compatible(metadata.schema(), data.schema, format_version=metadata.format_version)
    files = tuple(_dataframe_to_data_files(metadata, data, file_io)) if data.num_rows else ()
    return Written(data.num_rows, files, _made_for(metadata))


def _made_for(metadata: TableMetadata) -> tuple[str, int]:
    return str(metadata.table_uuid), metadata.default_spec_id
