"""The metadata files that a copied catalog names: tables delete theirs after 20 commits, so a backup keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from qpipe_resources.catalog_copy import CatalogCopyError
from qpipe_resources.durable_files import write_bytes
from qpipe_resources.locations import without_scheme

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable

    from qpipe_resources.lakehouse import Lakehouse

METADATA = "metadata"
"""Folder of the metadata files in a backup."""
_TABLES = sa.table("iceberg_tables", *map(sa.column, ("table_namespace", "table_name", "metadata_location")))


def named_metadata(lakehouse: Lakehouse) -> dict[str, str]:
    """The metadata file that the catalog names for each table now; none where there is no catalog yet.

    Raises:
        CatalogCopyError: the database does not answer, or is damaged.
    """
    query = sa.select(_TABLES).where(_TABLES.c.table_namespace == lakehouse.namespace)
    try:
        # Read only: else it would wait for whoever writes into SQLite.
        with lakehouse.engine.execution_options(readonly=True).connect() as connection:
            if not sa.inspect(connection).has_table(_TABLES.name):
                return {}
            return {row.table_name: row.metadata_location for row in connection.execute(query)}
    except sa.exc.DBAPIError as error:
        raise CatalogCopyError(f"the catalog's database cannot be read: {str(error.orig).strip()}") from error


def keep_metadata(lakehouse: Lakehouse, since: Mapping[str, str], folder: Path) -> int:
    """Keep every metadata file that a copy of the catalog can name which was taken between then and now.

    Args:
        lakehouse: of the tables.
        since: what the catalog named before the copy was taken.
        folder: where the copy is; holds no metadata yet.

    Returns:
        How many there are.

    Raises:
        LostMetadataError: the warehouse has lost a file that the catalog names.
        CatalogCopyError: a file cannot be read.
    """
    from pyiceberg.exceptions import ValidationError

    count = 0
    for name in named_metadata(lakehouse):
        try:
            files = _named_files(lakehouse.load(name), since.get(name))
        except (OSError, ValidationError) as error:
            raise CatalogCopyError(
                f"table {name}: its metadata in {lakehouse.warehouse} cannot be read ({error}): restore the warehouse"
            ) from error
        (folder / METADATA / name).mkdir(parents=True)
        for file, data in files.items():
            write_bytes(folder / METADATA / name / file, data)
        count += len(files)
    return count


def _named_files(table: IcebergTable, since: str | None) -> dict[str, bytes]:
    earlier = [entry.metadata_file for entry in table.metadata.metadata_log]
    kept = earlier[earlier.index(since) :] if since in earlier else []
    files = {}
    for location in (*kept, table.metadata_location):
        with table.io.new_input(location).open() as file:
            files[location.rpartition("/")[2]] = file.read()
    return files


def restore_metadata(lakehouse: Lakehouse, folder: Path) -> int:
    """Put back the metadata files that the catalog names and that are gone; returns how many."""
    from pyarrow.fs import FileType

    count = 0
    for name, location in named_metadata(lakehouse).items():
        path = without_scheme(location)
        copy = folder / METADATA / name / location.rpartition("/")[2]
        if copy.is_file() and lakehouse.data_files.get_file_info(path).type == FileType.NotFound:
            with lakehouse.data_files.open_output_stream(path) as stream:
                stream.write(copy.read_bytes())
            count += 1
    return count
