"""The raw objects' part of a backup: copies under the same keys, and the manifest that knows their digests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qpipe_assets.backup.manifest import Entry, read_manifest, sha256, write_manifest
from qpipe_assets.backup.part import TELL_EVERY, Log, Part
from qpipe_resources.object_layout import DEAD_LETTERS, EXPERIMENTS, QUARANTINE
from qpipe_resources.object_store import (
    FolderObjectStore,
    InvalidKeyError,
    ObjectChangedError,
    ObjectInfo,
    ObjectMissingError,
    ObjectStore,
)

KEPT = (EXPERIMENTS, DEAD_LETTERS, QUARANTINE)
"""Folders of the raw object store that are backed up."""
OBJECTS = "raw-results"
_SHARE = 10
"""A manifest is written when a tenth of it is new: what that costs an object does not depend on how many there are."""


class DamagedCopyError(ValueError):
    """The copy of an object is gone, cannot be read, or holds other bytes than the manifest says."""


def kept_objects(store: ObjectStore) -> Iterator[ObjectInfo]:
    """The objects that a backup holds."""
    for prefix in KEPT:
        yield from store.list_objects(prefix)


def copy_objects(store: ObjectStore, folder: Path, known: dict[str, Entry], log: Log, *, verify: bool = False) -> Part:
    """Copy the object versions that the manifest does not have; then the manifest says what there is now.

    Until then, and where it ends early, it says what was known and what has come since: the next one goes on from it.

    Args:
        store: of the raw objects.
        folder: of the backup.
        known: its manifest.
        log: is told how far it is.
        verify: compare the copies that are there with their digests, not their lengths alone.
    """
    part, target = Part("raw objects"), FolderObjectStore(folder / OBJECTS)
    entries: dict[str, Entry] = {}
    written = 0
    try:
        for info in kept_objects(store):
            entry = known.get(info.key)
            if entry is None or entry.etag != info.etag or not _is_whole(target, entry, verify, log):
                try:
                    entry = _copied(store, target, info.key)
                except (InvalidKeyError, ObjectChangedError, ObjectMissingError) as error:
                    part.left_out.append(str(error))
                    continue
                part.new += 1
            entries[info.key] = entry
            part.items += 1
            part.bytes += entry.size
            if part.items % TELL_EVERY == 0:
                log(f"raw objects: {part.items}, {part.new} of them new, {part.bytes} bytes")
            if part.new - written >= max(TELL_EVERY, len(known) // _SHARE, len(entries) // _SHARE):
                written = part.new
                write_manifest(folder, known | entries)
    except BaseException:
        write_manifest(folder, known | entries)
        raise
    write_manifest(folder, entries)
    return part


def put_objects_back(folder: Path, store: ObjectStore, log: Log) -> Part:
    """Put the objects of the manifest back that the store lacks.

    Args:
        folder: of the backup.
        store: where they go.
        log: is told how far it is, and of each object that cannot be put back.
    """
    part, source = Part("raw objects"), FolderObjectStore(folder / OBJECTS)

    def damaged(reason: str) -> None:
        part.damaged.append(reason)
        log(reason)

    entries = read_manifest(folder, damaged)
    part.items = len(entries) + len(part.damaged)
    for number, entry in enumerate(entries.values(), 1):
        part.bytes += entry.size
        try:
            there = store.size(entry.key)
            data = _read(source, entry) if there is None else None
        except (DamagedCopyError, InvalidKeyError) as error:
            damaged(str(error))
            continue
        if data is not None:
            store.put(entry.key, data)
            part.new += 1
        elif there != entry.size:
            part.left_out.append(f"{entry.key} is there with other content, and stays")
        if number % TELL_EVERY == 0:
            log(f"raw objects: {number} of {len(entries)}, {part.new} of them put back")
    return part


def _copied(store: ObjectStore, target: FolderObjectStore, key: str) -> Entry:
    stored = store.get(key)
    target.put(key, stored.data)
    return Entry(key, stored.etag, len(stored.data), sha256(stored.data))


def _is_whole(target: FolderObjectStore, entry: Entry, verify: bool, log: Log) -> bool:
    try:
        if verify:
            _read(target, entry)
        elif target.size(entry.key) != entry.size:
            raise DamagedCopyError(f"{entry.key} is missing or cut off")
    except DamagedCopyError as error:
        log(f"a damaged copy is made again: {error}")
        return False
    return True


def _read(copies: FolderObjectStore, entry: Entry) -> bytes:
    """The bytes of a copy, which are those that the manifest knows."""
    try:
        data = copies.get(entry.key).data
    except ObjectMissingError:
        raise DamagedCopyError(f"{entry.key} is missing") from None
    except OSError as error:
        raise DamagedCopyError(f"{entry.key} cannot be read ({error})") from error
    if not entry.agrees(data):
        raise DamagedCopyError(f"{entry.key} is not what its manifest says")
    return data
