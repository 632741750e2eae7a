"""A backup of which a part fails, or which is ended early: the others are in it, and the next one goes on from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpipe_assets.backup.backup import take_backup
from qpipe_assets.backup.manifest import read_manifest
from qpipe_assets.tables.installation import Installation
from qpipe_resources.catalog_copy import CatalogCopyError
from qpipe_resources.lakehouse import LostMetadataError
from qpipe_resources.object_store import FolderObjectStore, ObjectInfo, StoredObject, StoreUnavailableError
from tests.backup.losses import back_up, ingest, lose_the_catalog, silent, waiting_record
from tests.cli.conftest import qpipe
from tests.tables.protocol import land


class Dies(FolderObjectStore):
    """A store whose process is ended when an object is read, after some that were."""

    def __init__(self, root: Path, after: int) -> None:
        super().__init__(root)
        self.left = after

    def get(self, key: str) -> StoredObject:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().get(key)


class Away(FolderObjectStore):
    """A store that does not answer."""

    def list_objects(self, prefix: str, *, recursive: bool = True, after: str = "") -> Iterator[ObjectInfo]:
        raise StoreUnavailableError("the store is away")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def is_complete(folder: Path) -> bool:
    return json.loads((folder / "backup.json").read_text())["complete"] is not None


def test_what_is_computed_is_backed_up_though_the_warehouse_is_damaged(
    installation: Installation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(installation, [0])
    ingest(installation, "H2")
    back_up(installation, folder)
    catalog = {path: path.read_bytes() for path in (folder / "catalog.db", *(folder / "metadata").rglob("*.json"))}
    assert len(catalog) > 1
    land(installation, [1])
    waiting_record(installation.settings)
    shutil.rmtree(installation.settings.home / "features")
    told: list[str] = []
    with pytest.raises(LostMetadataError):
        back_up(installation, folder, told.append)
    assert [line for line in told if line.startswith("catalog and ledger could not be copied")]
    assert (len(read_manifest(folder)), len(list((folder / "outbox").rglob("run.json")))) == (2, 1)
    assert not is_complete(folder)
    assert {path: path.read_bytes() for path in catalog} == catalog, "the earlier copy and its metadata fit each other"
    monkeypatch.setenv("QPIPE_HOME", str(installation.settings.home))
    assert qpipe("backup", str(folder)).exit_code == 1


def test_what_is_computed_is_backed_up_though_a_tables_metadata_is_cut_off(
    installation: Installation, folder: Path
) -> None:
    land(installation, [0])
    path = Path(installation.lakehouse.load("vqe_results").metadata_location.removeprefix("file://"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CatalogCopyError, match=r"table vqe_results: its metadata in .*features/warehouse cannot be r"):
        back_up(installation, folder)
    assert (len(read_manifest(folder)), is_complete(folder)) == (1, False)


def test_what_is_computed_is_backed_up_though_the_catalog_cannot_be_read(
    installation: Installation, folder: Path
) -> None:
    land(installation, [0])
    installation.lakehouse.engine.dispose()
    lose_the_catalog(installation.settings)
    installation.settings.catalog_database.write_bytes(b"SQLite format 3\0" + b"x" * 4096)
    with pytest.raises(CatalogCopyError, match=r"catalog"):
        back_up(installation, folder)
    assert (len(read_manifest(folder)), is_complete(folder)) == (1, False)


def test_records_that_wait_for_a_store_that_is_away_are_backed_up(installation: Installation, folder: Path) -> None:
    land(installation, [0])
    back_up(installation, folder)
    waiting_record(installation.settings)
    with pytest.raises(StoreUnavailableError, match="away"):
        take_backup(installation.settings, Away(installation.settings.raw_results), folder, silent)
    assert (len(list((folder / "outbox").rglob("run.json"))), len(read_manifest(folder))) == (1, 1)
    assert not is_complete(folder)


def test_a_copy_of_a_record_stays_until_the_objects_are_copied(installation: Installation, folder: Path) -> None:
    waiting = waiting_record(installation.settings)
    back_up(installation, folder)
    waiting.unlink()
    land(installation, [0])
    (copy,) = (folder / "outbox").rglob("run.json")
    with pytest.raises(KeyboardInterrupt):
        take_backup(installation.settings, Dies(installation.settings.raw_results, 0), folder, silent)
    assert copy.exists(), "it has become an object, which is not in the backup yet"
    back_up(installation, folder)
    assert not copy.exists()


def test_a_backup_that_was_ended_early_is_gone_on_with(installation: Installation, folder: Path) -> None:
    land(installation, range(5))
    with pytest.raises(KeyboardInterrupt):
        take_backup(installation.settings, Dies(installation.settings.raw_results, 3), folder, silent)
    assert len(read_manifest(folder)) == 3
    objects = back_up(installation, folder)["raw objects"]
    assert (objects.items, objects.new) == (5, 2)


def test_a_killed_backup_is_gone_on_with_too(
    installation: Installation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qpipe_assets.backup import object_copies

    monkeypatch.setattr(object_copies, "TELL_EVERY", 2)
    land(installation, range(5))
    known_at: list[int] = []

    class Watched(FolderObjectStore):
        def get(self, key: str) -> StoredObject:
            known_at.append(len(read_manifest(folder)))
            return super().get(key)

    take_backup(installation.settings, Watched(installation.settings.raw_results), folder, silent)
    assert known_at == [0, 0, 2, 2, 4], "what a kill at each object would leave"


def test_an_early_end_forgets_nothing_that_was_known(installation: Installation, folder: Path) -> None:
    land(installation, range(4))
    back_up(installation, folder)
    land(installation, [4], name="a")
    with pytest.raises(KeyboardInterrupt):
        take_backup(installation.settings, Dies(installation.settings.raw_results, 0), folder, silent)
    assert len(read_manifest(folder)) == 4
