"""A backup of an installation in a folder, taken while everything works on; the same folder again takes what is new.

    <folder>/backup.json                whose backup it is, and when it was last brought up to date
    <folder>/catalog.db, catalog.dump   catalog and ledger at one moment
    <folder>/metadata/                  the tables' metadata files that the catalog names
    <folder>/outbox/                    records that were computed here and are in no table yet
    <folder>/raw-results/               the raw objects, under their keys
    <folder>/objects.jsonl              which versions of them (manifest.py)
    <folder>/dagster/                   Dagster's runs and events, where they are in SQLite

In this order: an object that the copied ledger knows was there before, and a record leaves the outbox for the objects,
so whatever moves meanwhile is found at its later place. The tables are not in it: they are made again from the objects,
all but rows that were adopted in place (registered_rows.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qpipe_assets.backup.dagster_copies import DAGSTER, copy_databases
from qpipe_assets.backup.failures import Failures
from qpipe_assets.backup.loss import refuse_loss
from qpipe_assets.backup.manifest import Entry, read_manifest
from qpipe_assets.backup.object_copies import copy_objects
from qpipe_assets.backup.origin import brought_up_to_date, origin_of, taken_for
from qpipe_assets.backup.part import Log, Part
from qpipe_assets.backup.record_copies import OUTBOX, copy_records, forget_other_records
from qpipe_assets.backup.registered_rows import registered_rows
from qpipe_assets.backup.table_metadata import METADATA, keep_metadata, named_metadata
from qpipe_assets.tables import schemas
from qpipe_resources.catalog_copy import copy_catalog
from qpipe_resources.object_store import ObjectStore, sync_folder
from qpipe_resources.opening import open_lakehouse
from qpipe_resources.settings import Settings


def take_backup(settings: Settings, store: ObjectStore, folder: Path, log: Log, *, verify: bool = False) -> list[Part]:
    """Bring the backup in this folder up to now.

    Args:
        settings: of the installation.
        store: its raw objects.
        folder: of the backup, on another disk.
        log: is told how far it is.
        verify: read the copies of raw objects that are there, and make those again that are damaged.

    Raises:
        ValueError: the folder lies inside what is backed up, holds something else, or another backup is under way.
        LossError: most of what the folder holds is not there any more.
        ServiceError: a part could not be copied; the others were.
    """
    _refuse_inside(settings, folder)
    origin = origin_of(settings)
    failures = Failures(log)
    with taken_for(folder, origin):
        known = read_manifest(folder)
        with failures.gathered("raw objects"):
            refuse_loss(settings, store, folder, known)
        with brought_up_to_date(folder, origin):
            parts = list(_parts(settings, store, folder, known, failures, log, verify=verify))
            failures.raise_first()
    return parts


def _parts(
    settings: Settings,
    store: ObjectStore,
    folder: Path,
    known: dict[str, Entry],
    failures: Failures,
    log: Log,
    *,
    verify: bool,
) -> Iterator[Part]:
    store_answers = not failures.found
    with failures.gathered("catalog and ledger"):
        catalog = _copy_catalog(settings, folder, log)
        log(f"catalog and ledger: {catalog.bytes} bytes")
        yield catalog
    records = copy_records(settings.outbox, folder / OUTBOX)
    yield records.part
    if store_answers:
        with failures.gathered("raw objects"):
            yield copy_objects(store, folder, known, log, verify=verify)
            forget_other_records(folder / OUTBOX, records.copies)
    yield copy_databases(settings.dagster_home, folder / DAGSTER, failures)


def _copy_catalog(settings: Settings, folder: Path, log: Log) -> Part:
    part = Part("catalog and ledger")
    if settings.env == "local" and not settings.catalog_database.exists():
        return part
    lakehouse = open_lakehouse(settings, schemas.NAMESPACE)
    with _both_or_none(folder) as made:
        before = named_metadata(lakehouse)
        copy = copy_catalog(settings, made)
        keep_metadata(lakehouse, before, made)
        part.bytes = copy.stat().st_size
    part.items = part.new = 1
    if names := registered_rows(lakehouse):
        log(
            f"NOT in this backup: rows of {', '.join(names)} that were adopted in place and are in no raw object; back "
            "their warehouse up too, or make raw objects of them: qpipe adopt WAREHOUSE --rewrite"
        )
    return part


@contextmanager
def _both_or_none(folder: Path) -> Iterator[Path]:
    """A folder for a catalog and its metadata, which take the place of the earlier ones when both are made."""
    made = folder / ".tmp-catalog"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    try:
        yield made
        shutil.rmtree(folder / METADATA, ignore_errors=True)
        for path in made.iterdir():
            path.replace(folder / path.name)
        sync_folder(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _refuse_inside(settings: Settings, folder: Path) -> None:
    for place in (settings.home, settings.dagster_home):
        if folder.resolve().is_relative_to(place.resolve()):
            raise ValueError(f"the backup's folder {folder} lies inside {place}, which it is to outlive: name another")
