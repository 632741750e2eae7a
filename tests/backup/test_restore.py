"""What a restore refuses, and what it puts back of a backup that is not whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from qpipe_assets.backup.manifest import BackupDamagedError
from qpipe_assets.backup.restore import OtherWarehouseError, restore_objects, restore_tables
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.settings import Settings
from tests.backup.losses import back_up, ingest, lose_the_catalog, silent, waiting_record
from tests.cli.conftest import qpipe
from tests.tables.protocol import land


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def another(tmp_path: Path) -> Settings:
    """A home that does not exist yet."""
    return Settings(home=tmp_path / "another", dagster_home=tmp_path / "another-dagster")


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


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


def test_what_is_damaged_is_named_and_all_else_is_put_back(
    installation: Installation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = waiting_record(installation.settings)
    land(installation, range(4))
    back_up(installation, folder)
    flipped, missing, *_ = copies = sorted((folder / "raw-results").rglob("*.json"))
    flip_a_byte(flipped)
    missing.unlink()
    installation.lakehouse.engine.dispose()
    shutil.rmtree(installation.settings.home)
    fresh = open_installation(installation.settings)
    told: list[str] = []
    with pytest.raises(BackupDamagedError, match=r"2 of 5 files .*not put back, all others are: .*run-0.*; .*run-1"):
        restore_objects(fresh.settings, fresh.store, folder, told.append)
    assert waiting.read_text() == "{}"
    back = [info.key for info in fresh.store.list_objects("experiments/")]
    assert [key.rpartition("/")[2] for key in back] == [copy.name for copy in copies[2:]]
    assert [line for line in told if "run-0" in line and "not what its manifest says" in line]
    assert [line for line in told if "run-1" in line and "missing" in line]
    monkeypatch.setenv("QPIPE_HOME", str(fresh.settings.home))
    refused = qpipe("restore", str(folder))
    assert (refused.exit_code, "2 of 5 files" in refused.stderr) == (2, True)


def test_verified_copies_that_are_damaged_are_taken_again(installation: Installation, folder: Path) -> None:
    land(installation, range(3))
    back_up(installation, folder)
    flipped, missing, _ = sorted((folder / "raw-results").rglob("*.json"))
    whole = flipped.read_bytes()
    flip_a_byte(flipped)
    missing.unlink()
    assert back_up(installation, folder)["raw objects"].new == 1, "what is missing is noticed at once"
    told: list[str] = []
    assert back_up(installation, folder, told.append, verify=True)["raw objects"].new == 1
    assert [line for line in told if "run-0" in line and "damaged" in line]
    assert flipped.read_bytes() == whole
    assert back_up(installation, folder, verify=True)["raw objects"].new == 0


def test_the_command_verifies(installation: Installation, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QPIPE_HOME", str(installation.settings.home))
    land(installation, [0])
    assert qpipe("backup", str(folder)).exit_code == 0
    (copy,) = (folder / "raw-results").rglob("*.json")
    flip_a_byte(copy)
    for options, new in (([], 0), (["--verify"], 1), (["--verify"], 0)):
        done = qpipe("backup", str(folder), "--format", "json", *options)
        assert done.exit_code == 0, done.output
        assert {row["part"]: row["new"] for row in json.loads(done.stdout)}["raw objects"] == new


def test_a_manifest_with_a_damaged_line_gives_back_what_the_others_name(
    installation: Installation, folder: Path
) -> None:
    land(installation, range(3))
    back_up(installation, folder)
    manifest = folder / "objects.jsonl"
    first, *others = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join([b"\xff" + first[1:], *others]))
    with pytest.raises(BackupDamagedError, match="line 1 of"):
        back_up(installation, folder)
    shutil.rmtree(installation.settings.raw_results)
    with pytest.raises(BackupDamagedError, match=r"1 of 3 files .*line 1 of"):
        restore_objects(installation.settings, installation.store, folder, silent)
    assert len(list(installation.store.list_objects("experiments/"))) == 2
