"""What a restore refuses, and what it puts back of a backup that is not whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qpipe_assets.backup.restore import OtherWarehouseError, restore_tables
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.settings import Settings
from tests.backup.losses import back_up, ingest, lose_the_catalog, silent
from tests.cli.conftest import qpipe
from tests.tables.protocol import land


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def another(tmp_path: Path) -> Settings:
    """A home that does not exist yet."""
    return Settings(home=tmp_path / "another", dagster_home=tmp_path / "another-dagster")


def test_a_catalog_is_not_restored_where_its_tables_are_not(
    installation: Installation, folder: Path, another: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(installation, [0])
    ingest(installation, "H2")
    back_up(installation, folder)
    theirs, ours = f"file://{installation.settings.warehouse}", f"file://{another.warehouse}"
    with pytest.raises(OtherWarehouseError, match=f"tables lie in {theirs}, yours in {ours}: .*without --catalog"):
        restore_tables(another, folder, silent)
    assert not another.catalog_database.exists()
    monkeypatch.setenv("QPIPE_HOME", str(another.home))
    refused = qpipe("restore", str(folder), "--catalog")
    assert (refused.exit_code, "without --catalog" in refused.stderr) == (2, True)
    trial = qpipe("restore", str(folder))
    assert trial.exit_code == 0, trial.output
    tried = open_installation(another)
    ingest(tried, "H2")
    assert tried.lakehouse.load("vqe_results").location().startswith(ours)


def test_a_backup_that_does_not_say_where_its_tables_lie_gives_its_catalog_to_its_own_installation_only(
    installation: Installation, folder: Path, another: Settings
) -> None:
    land(installation, [0])
    ingest(installation, "H2")
    back_up(installation, folder)
    said = json.loads((folder / "backup.json").read_text())
    del said["warehouse"]
    (folder / "backup.json").write_text(json.dumps(said))
    with pytest.raises(OtherWarehouseError, match=rf"folder {installation.settings.home}.*without --catalog"):
        restore_tables(another, folder, silent)
    lose_the_catalog(installation.settings)
    assert restore_tables(installation.settings, folder, silent) == []


def test_what_is_no_backup_is_told_so(
    installation: Installation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QPIPE_HOME", str(installation.settings.home))
    folder.mkdir()
    for said, reason in ((None, "holds no backup"), ("[]", "cannot be understood")):
        if said is not None:
            (folder / "backup.json").write_text(said)
        for options in ([], ["--catalog"]):
            refused = qpipe("restore", str(folder), *options)
            assert (refused.exit_code, reason in refused.stderr) == (2, True), refused.output
