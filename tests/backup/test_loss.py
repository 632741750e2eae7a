"""A backup that is taken after a loss changes nothing: what it holds is all that there is left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from qpipe_assets.backup.loss import LossError
from qpipe_assets.backup.restore import restore_objects
from qpipe_assets.tables.installation import Installation, open_installation
from tests.backup.losses import back_up, silent, waiting_record
from tests.cli.conftest import qpipe
from tests.tables.protocol import land


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def keys(installation: Installation) -> list[str]:
    return [info.key for info in installation.store.list_objects("experiments/")]


def lose_home(installation: Installation) -> Installation:
    """The same home, new and empty."""
    installation.lakehouse.engine.dispose()
    shutil.rmtree(installation.settings.home)
    return open_installation(installation.settings)


def test_the_nightly_backup_of_a_lost_home_changes_nothing(
    installation: Installation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = waiting_record(installation.settings)
    land(installation, [0, 1, 2])
    back_up(installation, folder)
    before = everything(folder)
    fresh = lose_home(installation)
    with pytest.raises(LossError, match=r"3 of 3 objects .* are not in the store any more: restore them, or name a n"):
        back_up(fresh, folder)
    monkeypatch.setenv("QPIPE_HOME", str(fresh.settings.home))
    assert qpipe("backup", str(folder)).exit_code == 2
    assert everything(folder) == before
    restore_objects(fresh.settings, fresh.store, folder, silent)
    assert (len(keys(fresh)), waiting.read_text()) == (3, "{}")
    assert back_up(fresh, folder)["raw objects"].items == 3


def test_a_home_that_had_nothing_but_an_outbox_is_missed_too(installation: Installation, folder: Path) -> None:
    waiting = waiting_record(installation.settings)
    back_up(installation, folder)
    fresh = lose_home(installation)
    (fresh.settings.outbox / "kafka" / "undelivered").mkdir(parents=True)
    with pytest.raises(LossError, match=r"1 records .* neither in .*outbox nor in the store: restore them, or name"):
        back_up(fresh, folder)
    restored = restore_objects(fresh.settings, fresh.store, folder, silent)
    assert [(part.part, part.new) for part in restored] == [("outbox", 1), ("raw objects", 0)]
    assert waiting.read_text() == "{}"


def test_an_outbox_that_is_not_there_at_all_is_missed_whatever_the_store_holds(
    installation: Installation, folder: Path
) -> None:
    waiting_record(installation.settings)
    land(installation, [0])
    back_up(installation, folder)
    shutil.rmtree(installation.settings.outbox)
    with pytest.raises(LossError, match=r"outbox is gone, .*1 records"):
        back_up(installation, folder)


def test_a_few_deletions_and_an_outbox_that_was_delivered_are_no_loss(installation: Installation, folder: Path) -> None:
    waiting = waiting_record(installation.settings)
    land(installation, range(4))
    back_up(installation, folder)
    waiting.unlink()
    first, second, third, _ = keys(installation)
    installation.store.delete(first)
    installation.store.delete(second)
    parts = back_up(installation, folder)
    assert (parts["raw objects"].items, parts["outbox"].items) == (2, 0)
    assert not list((folder / "outbox").rglob("*.json"))
    installation.store.delete(third)
    assert back_up(installation, folder)["raw objects"].items == 1
