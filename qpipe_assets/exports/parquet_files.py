"""Rows of a source file as Parquet files of the export: one for each molecule, all with the version's columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from qpipe_assets.exports.iceberg_metadata import ExportedTable
from qpipe_assets.exports.manifest import DATA, DataFileEntry
from qpipe_assets.exports.memory_files import MemoryFiles
from qpipe_assets.exports.selection import ChosenTable, Source

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.manifest import DataFile

_UNNAMED = "unnamed"
_DIGITS = 32


@dataclass(frozen=True)
class MadeFile:
    """A Parquet file that is not written yet; `facts` is what Iceberg knows of it, its path aside."""

    entry: DataFileEntry
    content: bytes
    facts: DataFile


def made_files(table: ChosenTable, source: Source, exported: ExportedTable) -> list[MadeFile]:
    """The Parquet files of the exported rows of a source, in memory; none where all are left out."""
    from qpipe_resources.data_files import write_data_files

    files = MemoryFiles()
    written = write_data_files(exported.empty(files), _pieces(table, source))
    return [_made(table.name, file, files.contents[file.file_path]) for file in written.files]


def _pieces(table: ChosenTable, source: Source) -> Iterator[pa.Table]:
    import pyarrow as pa

    nullable = {field.name: not field.required for field in table.version.schema.fields}
    for batch in table.rows_in(source).to_batches(filter=table.exported(source)):
        schema = pa.schema([field.with_nullable(nullable[field.name]) for field in batch.schema])
        yield pa.table(batch.columns, schema=schema)


def _made(table: str, file: DataFile, content: bytes) -> MadeFile:
    digest = sha256(content).hexdigest()
    molecule = file.partition[0]
    entry = DataFileEntry(
        path=f"{DATA}{table}/{molecule or _UNNAMED}-{digest[:_DIGITS]}.parquet",
        bytes=len(content),
        sha256=digest,
        rows=file.record_count,
        molecule=molecule,
    )
    return MadeFile(entry, content, file)


def moved(file: DataFile, location: str) -> DataFile:
    """What Iceberg knows of a file, for one that lies elsewhere."""
    from pyiceberg.manifest import DATA_FILE_TYPE, DEFAULT_READ_VERSION, DataFile

    names = [field.name for field in DATA_FILE_TYPE[DEFAULT_READ_VERSION].fields]
    values = {name: file[position] for position, name in enumerate(names) if position < len(file)}
    return DataFile.from_args(**values | {"file_path": location})
