"""Where an export goes: a folder or a prefix of a bucket, written one whole file at a time and read back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from qpipe_assets.exports.manifest import StoredFile
from qpipe_assets.exports.request import ExportRefusedError
from qpipe_assets.tables import schemas
from qpipe_resources.errors import ServiceError
from qpipe_resources.export_settings import VARIABLES, ExportSettings
from qpipe_resources.object_store import FolderObjectStore, ObjectMissingError, ObjectStore
from qpipe_resources.settings import Settings

DATASET = schemas.NAMESPACE
"""Name of a dataset that nobody named."""
_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9_.+=@-]+(/[A-Za-z0-9_.+=@-]+)*")


class TargetFailedError(ServiceError):
    """A file could not be written, or reads otherwise than it was written; the former version is whole."""


@dataclass(frozen=True)
class ExportTarget:
    """The folder of one dataset; paths are relative to it.

    Attributes:
        dataset: its name.
        store: that it lies in.
        prefix: of its keys in the store, empty or ending with '/'.
        url: where it is, without a slash at the end.
    """

    dataset: str
    store: ObjectStore
    prefix: str
    url: str

    def write(self, path: str, data: bytes) -> StoredFile:
        """Write one file and read it back.

        Raises:
            TargetFailedError: it cannot be written, or reads otherwise.
        """
        digest = sha256(data).hexdigest()
        try:
            self.store.put(self.prefix + path, data)
        except OSError as error:
            raise TargetFailedError(
                f"{self.url}/{path} cannot be written ({error.strerror or error}); mend that and export again: what "
                "was there before is whole"
            ) from error
        if sha256(self.read(path)).hexdigest() != digest:
            raise TargetFailedError(
                f"{self.url}/{path} reads otherwise than it was written; look at the target's disk or log, and export "
                "again: what was there before is whole"
            )
        return StoredFile(path=path, bytes=len(data), sha256=digest)

    def read(self, path: str) -> bytes:
        """One file; raises ObjectMissingError."""
        return self.store.get(self.prefix + path).data

    def find(self, path: str) -> bytes | None:
        """One file, None where there is none."""
        try:
            return self.read(path)
        except ObjectMissingError:
            return None

    def delete(self, path: str) -> None:
        """Remove one file; a missing one is no error."""
        self.store.delete(self.prefix + path)

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of the files below a folder, which ends with '/'."""
        found = self.store.list_objects(self.prefix + folder)
        return {info.key.removeprefix(self.prefix): info.size for info in found}

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly below one, which ends with '/'."""
        whole = self.prefix + folder
        return [found.removeprefix(whole).rstrip("/") for found in self.store.folders(whole)]


def open_target(place: str, dataset: str, settings: Settings, export: ExportSettings) -> ExportTarget:
    """The dataset's folder at a target that is a folder, or `s3://bucket/prefix`.

    Raises:
        ExportRefusedError: the target cannot be one; where it would lie among the installation's own data.
    """
    if not _DATASET.fullmatch(dataset):
        raise ExportRefusedError(f"dataset {dataset!r}: expected letters, digits, and '_', '.', '-' inside")
    if not place:
        raise ExportRefusedError(f"no target: name a folder or s3://bucket/prefix, or set {VARIABLES['target']}")
    if "://" not in place:
        return _in_folder(Path(place).expanduser().absolute(), dataset, settings)
    if not place.startswith("s3://"):
        raise ExportRefusedError(f"target {place!r}: expected a folder, or s3://bucket/prefix")
    return _in_bucket(place, dataset, settings, export)


def _in_folder(folder: Path, dataset: str, settings: Settings) -> ExportTarget:
    if found := sorted(set("#?%") & set(str(folder))):
        raise ExportRefusedError(f"target {str(folder)!r}: expected a path without {' '.join(found)}")
    if any(above.is_file() for above in (folder / dataset, folder, *folder.parents)):
        raise ExportRefusedError(f"target {str(folder)!r}: a part of it is a file, expected folders: name another")
    for ours in (settings.raw_results, settings.home / "features"):
        if (folder / dataset).resolve().is_relative_to(ours.resolve()):
            raise ExportRefusedError(
                f"target {str(folder / dataset)!r} lies in {ours}, which is this installation's own: name another"
            )
    return ExportTarget(dataset, FolderObjectStore(folder), f"{dataset}/", f"file://{folder}/{dataset}")


def _in_bucket(place: str, dataset: str, settings: Settings, export: ExportSettings) -> ExportTarget:
    from qpipe_resources.s3_store import S3ObjectStore

    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    prefix = prefix.rstrip("/")
    if not _BUCKET.fullmatch(bucket) or (prefix and not _PREFIX.fullmatch(prefix)):
        raise ExportRefusedError(f"target {place!r}: expected s3://bucket/prefix of letters, digits and ._+=@-")
    endpoint = export.s3_endpoint or settings.s3_endpoint
    ours = {settings.s3_raw_bucket: "", settings.s3_features_bucket: "warehouse/"}
    same_store = settings.env != "local" and urlsplit(endpoint).netloc == urlsplit(settings.s3_endpoint).netloc
    folder = f"{prefix}/{dataset}" if prefix else dataset
    if same_store and bucket in ours and f"{folder}/".startswith(ours[bucket]):
        raise ExportRefusedError(f"target {place!r} lies among this installation's own data: name another bucket")
    store = S3ObjectStore(endpoint, export.s3_region or settings.s3_region, bucket, access=export.access)
    return ExportTarget(dataset, store, f"{folder}/", f"s3://{bucket}/{folder}")
