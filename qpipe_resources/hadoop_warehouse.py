"""A warehouse of Iceberg's Hadoop catalog: its only catalog are folders, `<table>/metadata/v<n>.metadata.json`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe_resources.locations import without_scheme
from qpipe_resources.object_store import FolderObjectStore, ObjectStore

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem
    from pyiceberg.table import Table as IcebergTable

    from qpipe_resources.s3_files import S3Files
    from qpipe_resources.settings import Settings

_METADATA = re.compile(r"v(\d+)(\.\w+)?\.metadata\.json")
_BUCKET = re.compile(r"s3[an]?://([^/]+)/*(.*?)/*")


class NoWarehouseError(ValueError):
    """Nothing that could be a warehouse lies where one was said to be."""


@dataclass(frozen=True)
class HadoopWarehouse:
    """Where a warehouse lies, and how it is read.

    Attributes:
        location: of the folder that holds the namespaces.
        files: who serves it; this machine when None.
    """

    location: str
    files: S3Files | None
    _store: ObjectStore
    _prefix: str

    @classmethod
    def at(cls, location: str, settings: Settings) -> HadoopWarehouse:
        """The warehouse in a folder, or at `s3://bucket/prefix` (s3a:// too) of the configured store.

        Raises:
            NoWarehouseError: there is no such folder.
        """
        from qpipe_resources.s3_files import S3Files
        from qpipe_resources.s3_store import S3ObjectStore

        bucket = _BUCKET.fullmatch(location)
        if bucket is not None:
            store = S3ObjectStore(settings.s3_endpoint, settings.s3_region, bucket[1])
            prefix = f"{bucket[2]}/" if bucket[2] else ""
            files = S3Files(settings.s3_endpoint, settings.s3_region)
            return cls(f"s3://{bucket[1]}/{prefix}", files, store, prefix)
        folder = Path(location.removeprefix("file://")).expanduser().absolute()
        if not folder.is_dir():
            raise NoWarehouseError(f"{location!r} is no folder; expected a folder or s3://bucket/prefix")
        return cls(f"file://{folder}/", None, FolderObjectStore(folder), "")

    @property
    def data_files(self) -> FileSystem:
        """Where the data files lie, by their location without its scheme."""
        from pyarrow.fs import LocalFileSystem

        return self.files.arrow if self.files else LocalFileSystem()

    def contains(self, location: str) -> bool:
        """Whether a file or folder lies in the warehouse."""
        return without_scheme(location).startswith(without_scheme(self.location))

    def tables(self, namespace: str, names: Sequence[str]) -> dict[str, IcebergTable]:
        """Those of the named tables that are there, as they are now.

        Raises:
            NoWarehouseError: none is there.
            StoreUnavailableError: the store does not answer.
            StoreRefusedError: it refuses.
        """
        from pyiceberg.table import StaticTable

        found: dict[str, IcebergTable] = {}
        for name in names:
            newest = self._newest_metadata(f"{self._prefix}{namespace}/{name}/metadata/")
            if newest is not None:
                found[name] = StaticTable.from_metadata(newest, self.files.properties if self.files else {})
        if not found:
            raise NoWarehouseError(
                f"no table in {self.location}: expected {namespace}/{names[0]}/metadata/v1.metadata.json and the like; "
                f"name the folder that holds {namespace}/"
            )
        return found

    def _newest_metadata(self, folder: str) -> str | None:
        # Not what version-hint.text says: it is written after the commit, and a killed writer leaves it behind.
        versions = {
            int(match[1]): info.key
            for info in self._store.list_objects(folder, recursive=False)
            if (match := _METADATA.fullmatch(info.key.removeprefix(folder)))
        }
        return self._located(versions[max(versions)]) if versions else None

    def _located(self, key: str) -> str:
        return self.location + key.removeprefix(self._prefix)
