"""A backup of an installation in a folder, taken while everything works on; the same folder again takes what is new.

    <folder>/backup.json                whose backup it is, and when it was last brought up to date
    <folder>/catalog.db, catalog.dump   catalog and ledger at one moment
    <folder>/metadata/                  the tables' metadata files that the catalog names
    <folder>/outbox/                    records that were computed here and are in no table yet
    <folder>/raw-results/               the raw objects, under their keys
    <folder>/objects.jsonl              which versions of them (manifest.py)
    <folder>/dagster/                   Dagster's runs and events, where they are in SQLite

In this order: an object that the copied ledger knows was there before, and a record leaves the outbox for the objects,
so whatever moves meanwhile is found at its later place. The tables are not in it: they are made again from the objects.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qpipe_assets.backup.manifest import Entry, read_manifest, sha256, taken_for, write_manifest
from qpipe_assets.backup.table_metadata import keep_metadata, named_metadata
from qpipe_assets.tables import schemas
from qpipe_resources.catalog_copy import copy_catalog, copy_sqlite, is_sqlite
from qpipe_resources.object_layout import DEAD_LETTERS, EXPERIMENTS, QUARANTINE
from qpipe_resources.object_store import (
    FolderObjectStore,
    InvalidKeyError,
    ObjectChangedError,
    ObjectMissingError,
    ObjectStore,
)
from qpipe_resources.opening import open_lakehouse
from qpipe_resources.settings import Settings

KEPT = (EXPERIMENTS, DEAD_LETTERS, QUARANTINE)
"""Folders of the raw object store that are backed up."""
OBJECTS, OUTBOX, DAGSTER = "raw-results", "outbox", "dagster"
_TELL_EVERY = 500

Log = Callable[[str], None]


@dataclass
class Part:
    """What became of one part of a backup."""

    part: str
    items: int = 0
    new: int = 0
    bytes: int = 0
    left_out: list[str] = field(default_factory=list)


def take_backup(settings: Settings, store: ObjectStore, folder: Path, log: Log) -> list[Part]:
    """Bring the backup in this folder up to now.

    Args:
        settings: of the installation.
        store: its raw objects.
        folder: of the backup, on another disk.
        log: is told how far it is.

    Raises:
        ValueError: the folder lies inside what is backed up, holds something else, or another backup is under way.
        CatalogCopyError: the database cannot be copied.
    """
    _refuse_inside(settings, folder)
    with taken_for(folder, _installation(settings)):
        return _take(settings, store, folder, log)


def _take(settings: Settings, store: ObjectStore, folder: Path, log: Log) -> list[Part]:
    known = read_manifest(folder)
    catalog = _copy_catalog(settings, folder)
    log(f"catalog and ledger: {catalog.bytes} bytes")
    outbox = _copy_files(settings.outbox, folder / OUTBOX, "outbox")
    objects = _copy_objects(store, folder, known, log)
    dagster = _copy_databases(settings.dagster_home, folder / DAGSTER)
    return [catalog, outbox, objects, dagster]


def _copy_catalog(settings: Settings, folder: Path) -> Part:
    part = Part("catalog and ledger")
    if settings.env == "local" and not settings.catalog_database.exists():
        return part
    lakehouse = open_lakehouse(settings, schemas.NAMESPACE)
    before = named_metadata(lakehouse)
    copy = copy_catalog(settings, folder)
    keep_metadata(lakehouse, before, folder)
    part.items = part.new = 1
    part.bytes = copy.stat().st_size
    return part


def _refuse_inside(settings: Settings, folder: Path) -> None:
    for place in (settings.home, settings.dagster_home):
        if folder.resolve().is_relative_to(place.resolve()):
            raise ValueError(f"the backup's folder {folder} lies inside {place}, which it is to outlive: name another")


def _installation(settings: Settings) -> str:
    """What tells this installation from others; holds no secret."""
    if settings.env == "local":
        return f"folder {settings.home}"
    from qpipe_resources.catalog_database import postgresql_url

    url = postgresql_url(settings.catalog_uri.get_secret_value())
    return (
        f"bucket {settings.s3_raw_bucket} at {settings.s3_endpoint}, database {url.database} at {url.host}:{url.port}"
    )


def _copy_objects(store: ObjectStore, folder: Path, known: dict[str, Entry], log: Log) -> Part:
    """Copy the object versions that the manifest does not have; then the manifest says what there is now."""
    part, target = Part("raw objects"), FolderObjectStore(folder / OBJECTS)
    entries: dict[str, Entry] = {}
    for prefix in KEPT:
        for info in store.list_objects(prefix):
            entry = known.get(info.key)
            if entry is None or entry.etag != info.etag or target.size(info.key) != entry.size:
                try:
                    stored = store.get(info.key)
                    target.put(info.key, stored.data)
                except (InvalidKeyError, ObjectChangedError, ObjectMissingError) as error:
                    part.left_out.append(str(error))
                    continue
                entry = Entry(info.key, stored.etag, len(stored.data), sha256(stored.data))
                part.new += 1
            entries[info.key] = entry
            part.items += 1
            part.bytes += entry.size
            if part.items % _TELL_EVERY == 0:
                log(f"raw objects: {part.items}, {part.new} of them new, {part.bytes} bytes")
    write_manifest(folder, entries)
    return part


def _copy_files(source: Path, target: Path, name: str) -> Part:
    """Make the folder `target` hold the files of `source`, and no others."""
    part, there = Part(name), set()
    for path in _files(source):
        copy = target / path.relative_to(source)
        try:
            status = path.stat()
            there.add(copy)
            if not _is_copy(copy, status):
                copy.parent.mkdir(parents=True, exist_ok=True)
                temporary = copy.with_name(f".tmp-{copy.name}")
                shutil.copy2(path, temporary)
                os.replace(temporary, copy)
                part.new += 1
        except FileNotFoundError:
            # It has left for the objects, which are copied after this.
            there.discard(copy)
            continue
        part.items += 1
        part.bytes += status.st_size
    for copy in _files(target):
        if copy not in there:
            copy.unlink()
    return part


def _is_copy(copy: Path, of: os.stat_result) -> bool:
    if not copy.exists():
        return False
    status = copy.stat()
    return (status.st_size, status.st_mtime_ns) == (of.st_size, of.st_mtime_ns)


def _copy_databases(source: Path, target: Path) -> Part:
    part = Part("Dagster's history")
    for path in _files(source):
        if path.suffix == ".db" and is_sqlite(path):
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy_sqlite(path, copy)
            part.items += 1
            part.new += 1
            part.bytes += copy.stat().st_size
    return part


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
