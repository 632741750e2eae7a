"""Which files lie under a table's location, and which of them any retained version of the table needs.

Paths are compared without scheme and leading slashes: engines write `file:/x` and `file:///x`, `s3a://b` and `s3://b`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpipe_resources.locations import without_scheme

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable

    from qpipe_resources.lakehouse import Lakehouse


@dataclass(frozen=True)
class StoredFile:
    """One file: path without scheme, bytes, and when it was written."""

    path: str
    size: int
    modified: dt.datetime


@dataclass(frozen=True)
class NeededFiles:
    """Paths that the retained versions need: data and manifests, which never change, and the table's metadata files."""

    content: frozenset[str]
    metadata: frozenset[str]


def path_of(location: str) -> str:
    """A location without scheme and leading slashes."""
    return without_scheme(location).lstrip("/")


def stored_files(lakehouse: Lakehouse, table: IcebergTable) -> list[StoredFile]:
    """Everything that lies under the table's location."""
    from pyarrow.fs import FileSelector, FileType

    folder = without_scheme(table.location())
    found = lakehouse.data_files.get_file_info(FileSelector(folder, allow_not_found=True, recursive=True))
    return [StoredFile(path_of(info.path), info.size, info.mtime) for info in found if info.type == FileType.File]


def needed_files(table: IcebergTable) -> NeededFiles:
    """What the table's snapshots, all of them, and its metadata log refer to."""
    content: set[str] = set()
    for snapshot in table.snapshots():
        content.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path not in content:
                content.add(manifest.manifest_path)
                content.update(entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io))
    content.update(statistics.statistics_path for statistics in table.metadata.statistics)
    content.update(statistics.statistics_path for statistics in table.metadata.partition_statistics)
    metadata = [table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)]
    return NeededFiles(frozenset(map(path_of, content)), frozenset(map(path_of, metadata)))


def remove(lakehouse: Lakehouse, table: IcebergTable, file: StoredFile) -> None:
    """Delete a file; one that is gone is no error."""
    scheme = lakehouse.warehouse.partition("://")[0]
    try:
        table.io.delete(f"{scheme}://{'/' if scheme == 'file' else ''}{file.path}")
    except FileNotFoundError:
        pass
