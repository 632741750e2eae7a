"""The raw objects' part of a backup: copies under the same keys, and the manifest that knows their digests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qpipe_assets.backup.manifest import Entry, sha256, write_manifest
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


def kept_objects(store: ObjectStore) -> Iterator[ObjectInfo]:
    """The objects that a backup holds."""
    for prefix in KEPT:
        yield from store.list_objects(prefix)


def copy_objects(store: ObjectStore, folder: Path, known: dict[str, Entry], log: Log) -> Part:
    """Copy the object versions that the manifest does not have; then the manifest says what there is now.

    Args:
        store: of the raw objects.
        folder: of the backup.
        known: its manifest.
        log: is told how far it is.
    """
    part, target = Part("raw objects"), FolderObjectStore(folder / OBJECTS)
    entries: dict[str, Entry] = {}
    for info in kept_objects(store):
        entry = known.get(info.key)
        if entry is None or entry.etag != info.etag or target.size(info.key) != entry.size:
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
    write_manifest(folder, entries)
    return part


def _copied(store: ObjectStore, target: FolderObjectStore, key: str) -> Entry:
    stored = store.get(key)
    target.put(key, stored.data)
    return Entry(key, stored.etag, len(stored.data), sha256(stored.data))
