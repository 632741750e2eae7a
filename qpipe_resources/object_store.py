"""Object stores: S3's verbs (list with etags, get, put, copy, delete), and a folder that speaks them."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from qpipe_resources.errors import ServiceError

_KEY = re.compile(r"[A-Za-z0-9_.+=@-]+(/[A-Za-z0-9_.+=@-]+)*")
_TEMPORARY_PREFIX = ".tmp-"


class InvalidKeyError(ValueError):
    """An object key that must not be used: it could leave the store or break tools downstream."""


class ObjectChangedError(RuntimeError):
    """The object was written while it was read; it is not settled yet and will be read the next time."""


class ObjectMissingError(KeyError):
    """There is no object under this key."""


class StoreUnavailableError(ServiceError):
    """The store does not answer, or fails on its side: what was asked may be asked again, whoever is patient."""


class StoreRefusedError(ServiceError):
    """The store answered and refuses: the bucket is missing or the key is wrong; asking again does not help."""


def validate_key(key: str) -> str:
    """Return `key` when it is safe.

    Raises:
        InvalidKeyError: it is empty, absolute, has a `..` or `.` segment, or a character outside
            `A-Za-z0-9_.+=@-` and `/`.
    """
    if not _KEY.fullmatch(key) or any(set(part) == {"."} for part in key.split("/")):
        raise InvalidKeyError(
            f"object key {key!r} is refused: expected segments of A-Za-z0-9_.+=@- separated by '/', "
            "none of them '..'; rename the object"
        )
    return key


@dataclass(frozen=True)
class ObjectInfo:
    """One listed object: its key, etag, size in bytes and time of last modification (UTC)."""

    key: str
    etag: str
    size: int
    modified: dt.datetime


@dataclass(frozen=True)
class StoredObject:
    """An object's content together with the etag that belongs to exactly this content."""

    data: bytes
    etag: str


class ObjectStore(Protocol):
    """What the platform needs of a store; keys are relative to it and use '/'.

    Every verb may raise StoreUnavailableError and StoreRefusedError where the store is a service.
    """

    def list_objects(self, prefix: str, *, recursive: bool = True, after: str = "") -> Iterator[ObjectInfo]:
        """Objects whose key starts with the folder `prefix` (ends with '/') and sorts after `after`, in key order.

        What lies below a name that starts with '.' is invisible.
        """

    def folders(self, prefix: str) -> list[str]:
        """Common prefixes directly below the folder `prefix`, each ending with '/', in order."""

    def get(self, key: str) -> StoredObject:
        """Read one object; raises ObjectMissingError, ObjectChangedError."""

    def size(self, key: str) -> int | None:
        """Bytes of one object, None where there is none."""

    def put(self, key: str, data: bytes) -> str:
        """Write one object atomically and durably; returns its etag."""

    def copy(self, source: str, target: str) -> None:
        """Copy one object inside the store without holding it in memory."""

    def delete(self, key: str) -> None:
        """Remove one object; a missing one is no error."""


class FolderObjectStore:
    """A folder as an object store. The etag is `size-mtime_ns`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list_objects(self, prefix: str, *, recursive: bool = True, after: str = "") -> Iterator[ObjectInfo]:
        """See ObjectStore. A file that vanishes while it is listed is left out."""
        return (info for info in self._walk(self.root / prefix, prefix, recursive, after) if info.key > after)

    def _walk(self, folder: Path, prefix: str, recursive: bool, after: str) -> Iterator[ObjectInfo]:
        for entry in self._entries(folder):
            if entry.is_dir(follow_symlinks=False):
                deeper = f"{prefix}{entry.name}/"
                if recursive and (deeper > after or after.startswith(deeper)):
                    yield from self._walk(folder / entry.name, deeper, recursive, after)
            elif entry.is_file():
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue
                modified = dt.datetime.fromtimestamp(status.st_mtime, dt.UTC)
                yield ObjectInfo(prefix + _utf8(entry.name), _etag(status), status.st_size, modified)

    def folders(self, prefix: str) -> list[str]:
        """See ObjectStore."""
        entries = self._entries(self.root / prefix)
        return [f"{prefix}{entry.name}/" for entry in entries if entry.is_dir(follow_symlinks=False)]

    @staticmethod
    def _entries(folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as found:
                return sorted((e for e in found if not e.name.startswith(".")), key=_sort_key)
        except FileNotFoundError:
            return []

    def get(self, key: str) -> StoredObject:
        """See ObjectStore."""
        try:
            with open(self.root / validate_key(key), "rb") as file:
                before = _etag(os.fstat(file.fileno()))
                data = file.read()
                after = _etag(os.fstat(file.fileno()))
        except FileNotFoundError as error:
            raise ObjectMissingError(f"no object {key!r} in {self.root}") from error
        if before != after:
            raise ObjectChangedError(f"object {key!r} was being written while it was read ({before} became {after})")
        return StoredObject(data, after)

    def size(self, key: str) -> int | None:
        """See ObjectStore."""
        path = self.root / validate_key(key)
        return path.stat().st_size if path.is_file() else None

    def put(self, key: str, data: bytes) -> str:
        """See ObjectStore: written beside the target, synced, renamed, and the folder synced, as new folders are."""
        target = self.root / validate_key(key)
        make_durable_folder(target.parent)
        temporary = target.parent / f"{_TEMPORARY_PREFIX}{uuid.uuid4().hex}"
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                etag = _etag(os.fstat(file.fileno()))
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)
        return etag

    def copy(self, source: str, target: str) -> None:
        """See ObjectStore."""
        path = self.root / validate_key(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f"{_TEMPORARY_PREFIX}{uuid.uuid4().hex}"
        try:
            shutil.copyfile(self.root / validate_key(source), temporary)
            os.replace(temporary, path)
        except FileNotFoundError as error:
            raise ObjectMissingError(f"no object {source!r} in {self.root}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        (self.root / validate_key(key)).unlink(missing_ok=True)


def _sort_key(entry: os.DirEntry[str]) -> str:
    # Keys of what lies in a folder continue with '/', which sorts after '-' and '.'.
    return f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name


def _utf8(name: str) -> str:
    """A file's name as text that can be stored anywhere; bytes that are no UTF-8 are written out as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _etag(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def make_durable_folder(folder: Path) -> None:
    """Make a folder and those above it, each of which survives a power failure."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for made in reversed(missing):
        made.mkdir(exist_ok=True)
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
