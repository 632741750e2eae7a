"""A backup put back: what is missing is put in its place, and nothing that is there is overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qpipe_assets.backup.manifest import BackupDamagedError, has_manifest
from qpipe_assets.backup.object_copies import put_objects_back
from qpipe_assets.backup.origin import Origin, origin_of, read_origin
from qpipe_assets.backup.part import Log, Part
from qpipe_assets.backup.record_copies import OUTBOX, put_records_back
from qpipe_assets.backup.registered_rows import registered_rows
from qpipe_assets.backup.table_metadata import restore_metadata
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.catalog_copy import restore_catalog
from qpipe_resources.errors import ServiceError
from qpipe_resources.lakehouse import Lakehouse, LostMetadataError
from qpipe_resources.object_store import ObjectStore
from qpipe_resources.opening import open_lakehouse
from qpipe_resources.settings import Settings

_SHOWN = 5


class CatalogTooOldError(ServiceError):
    """A restored catalog names files that are gone since; the message says what to do with the tables."""


class OtherWarehouseError(ValueError):
    """A catalog's tables lie where another installation may work on them; nothing was changed."""


def restore_objects(settings: Settings, store: ObjectStore, folder: Path, log: Log) -> list[Part]:
    """Put the outbox and raw objects back, as far as they are missing; what is damaged keeps nothing else back.

    Args:
        settings: of the installation.
        store: where the objects go.
        folder: of the backup.
        log: is told how far it is, and of each file that cannot be put back.

    Raises:
        BackupDamagedError: there is no backup in the folder; or some files of it are gone or not what the manifest
            says, and all others were put back.
    """
    _origin(folder)
    records = put_records_back(folder / OUTBOX, settings.outbox, log)
    if not has_manifest(folder):
        raise BackupDamagedError(f"{folder} holds no backup of raw objects: name the folder that `qpipe backup` filled")
    objects = put_objects_back(folder, store, log)
    damaged = [*records.damaged, *objects.damaged]
    if damaged:
        more = f"; and {len(damaged) - _SHOWN} more, named above" if len(damaged) > _SHOWN else ""
        raise BackupDamagedError(
            f"{len(damaged)} of {records.items + objects.items} files in {folder} were not put back, all others are: "
            f"{'; '.join(damaged[:_SHOWN])}{more}. Look for them in another backup"
        )
    return [records, objects]


def restore_tables(settings: Settings, folder: Path, log: Log) -> list[str]:
    """Put catalog and ledger back where the tables' files have survived; the next ingest takes what came since.

    Args:
        settings: of the installation; its database must be empty.
        folder: of the backup.
        log: is told what is done.

    Returns:
        Molecules whose rows the next ingest makes anew, because a batch of theirs was under way at the backup.

    Raises:
        BackupDamagedError: there is no backup in the folder.
        OtherWarehouseError: the copy's tables lie in another warehouse; nothing was changed.
        CatalogCopyError: there is no copy, or a database is there; nothing was changed.
        CatalogTooOldError: the tables have lost files that the copy names.
    """
    _refuse_other_warehouse(settings, folder)
    restore_catalog(settings, folder)
    restore_metadata(open_lakehouse(settings, schemas.NAMESPACE), folder)
    installation = open_installation(settings)
    log("catalog and ledger are back; looking for every file that they name")
    lost = {name: gone for name in schemas.names(schemas.ALL) if (gone := _lost_files(installation, name))}
    if lost:
        worst, gone = max(lost.items(), key=lambda item: len(item[1]))
        raise CatalogTooOldError(
            f"{len(lost)} tables lack files that this backup's catalog names, {worst} {len(gone)} of them (first: "
            f"{gone[0]}): they were removed since. {_way_out(installation.lakehouse)}"
        )
    return list(_withdraw_unstaged(installation))


def _origin(folder: Path) -> Origin:
    found = read_origin(folder)
    if found is None:
        raise BackupDamagedError(f"{folder} holds no backup: name the folder that `qpipe backup` filled")
    return found


def _refuse_other_warehouse(settings: Settings, folder: Path) -> None:
    """A catalog names its tables' files by whole locations: restored elsewhere, it would write into the original's."""
    found, ours = _origin(folder), origin_of(settings)
    if found.warehouse is None and found.installation != ours.installation:
        why = f"this catalog is of another installation ({found.installation}), whose tables it names"
    elif found.warehouse not in (None, ours.warehouse):
        why = f"this catalog's tables lie in {found.warehouse}, yours in {ours.warehouse}"
    else:
        return
    raise OtherWarehouseError(
        f"{why}: restore without --catalog, the next ingest makes all rows from the raw objects; or name that "
        "warehouse's QPIPE_HOME or bucket, once nobody else writes there"
    )


def _way_out(lakehouse: Lakehouse) -> str:
    """What to do with tables that lack files: made again they are, but for rows that are in no raw object."""
    unless = ""
    try:
        only_here = registered_rows(lakehouse)
    except LostMetadataError:
        only_here, unless = (
            [],
            ". Not where rows were adopted in place: put their warehouse back from a backup of its own",
        )
    if only_here:
        return (
            f"{', '.join(only_here)} hold rows that were adopted in place and are in no raw object: do not empty these "
            "tables, put their warehouse back from a backup of its own"
        )
    return (
        "Empty the catalog (delete catalog.db, or make an empty database) and the tables (features/, or the bucket): "
        f"the next ingest makes all rows again from the raw objects{unless}"
    )


def _lost_files(installation: Installation, name: str) -> list[str]:
    from qpipe_resources.stored_files import needed_files, path_of, stored_files

    try:
        table = installation.lakehouse.load(name)
    except LostMetadataError as error:
        return [str(error)]
    here = path_of(table.location()).rstrip("/") + "/"
    stored = {file.path for file in stored_files(installation.lakehouse, table)}
    try:
        needed = needed_files(table).content
    except FileNotFoundError as error:
        return [str(error)]
    return sorted(path for path in needed if path.startswith(here) and path not in stored)


def _withdraw_unstaged(installation: Installation) -> Iterator[str]:
    """Ask for a rebuild of each molecule whose open batch has been finished, and its staging file deleted, since."""
    from qpipe_assets.tables.staging import Staging

    staging = Staging(installation.store)
    for molecule in sorted(installation.ledger.pending_molecules(schemas.ML_NAMES[-1])):
        if any(not staging.parts(batch.batch_id) for batch in installation.ledger.open_batches(molecule)):
            installation.ledger.request_rebuild(molecule)
            yield molecule
