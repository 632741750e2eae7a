"""A backup of folder and SQLite, and what is lost afterwards: every row is there again, once."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from qpipe_assets.backup.manifest import BackupDamagedError, read_manifest
from qpipe_assets.backup.restore import CatalogTooOldError, restore_objects, restore_tables
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_assets.tables.ledger_tables import Candidate
from qpipe_resources.catalog_copy import CatalogCopyError, copy_sqlite
from qpipe_resources.settings import Settings
from tests.backup.losses import (
    assert_fits_after_many_commits,
    back_up,
    expected,
    ingest,
    lose_the_catalog,
    rows,
    silent,
    waiting_record,
    worked_on,
)
from tests.cli.conftest import qpipe
from tests.cli.conftest import rows as printed
from tests.tables.protocol import assert_at_rest, land


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def test_an_older_catalog_and_newer_objects_end_with_every_row_once(installation: Installation, folder: Path) -> None:
    worked_on(installation, folder)
    lose_the_catalog(installation.settings)
    assert restore_tables(installation.settings, folder, silent) == []
    again = open_installation(installation.settings)
    assert len(again.lakehouse.arrow("vqe_results")) == 2, "the tables are as they were at the backup"
    ingest(again)
    assert rows(again) == expected()
    assert_at_rest(again, ("H2", "LiH"))


def test_a_catalog_fits_though_its_tables_have_moved_on_by_many_commits(
    installation: Installation, folder: Path
) -> None:
    assert_fits_after_many_commits(installation, folder, lambda: lose_the_catalog(installation.settings))


def test_a_database_that_nobody_has_open_is_copied_whole(tmp_path: Path) -> None:
    live = sqlite3.connect(tmp_path / "live.db")
    live.execute("PRAGMA journal_mode=WAL")
    live.execute("CREATE TABLE t AS SELECT 7 AS x")
    live.commit()
    live.close()
    copy_sqlite(tmp_path / "live.db", tmp_path / "copy.db")
    copy = sqlite3.connect(tmp_path / "copy.db")
    assert copy.execute("SELECT x FROM t").fetchall() == [(7,)]
    copy.close()
    (tmp_path / "torn.db").write_bytes(b"SQLite format 3\0" + b"x" * 4096)
    with pytest.raises(CatalogCopyError, match=r"torn\.db"):
        copy_sqlite(tmp_path / "torn.db", tmp_path / "copy-of-torn.db")
    assert not (tmp_path / "copy-of-torn.db").exists()


def test_without_a_catalog_all_rows_are_made_again_beside_old_files(installation: Installation, folder: Path) -> None:
    worked_on(installation, folder)
    lose_the_catalog(installation.settings)
    again = open_installation(installation.settings)
    ingest(again)
    assert rows(again) == expected()
    assert_at_rest(again, ("H2", "LiH"))


def test_a_lost_machine_has_all_of_the_backup(installation: Installation, folder: Path, tmp_path: Path) -> None:
    worked_on(installation, folder)
    back_up(installation, folder)
    shutil.rmtree(installation.settings.home)
    another = Settings(home=tmp_path / "another", dagster_home=tmp_path / "another-dagster")
    fresh = open_installation(another)
    restored = restore_objects(another, fresh.store, folder, silent)
    assert [(part.part, part.items, part.new) for part in restored] == [("outbox", 0, 0), ("raw objects", 4, 4)]
    ingest(fresh)
    assert rows(fresh) == expected()


def test_a_batch_that_was_open_at_the_backup_and_ended_since_is_made_anew(
    installation: Installation, folder: Path
) -> None:
    land(installation, [0])
    (info,) = installation.store.list_objects("experiments/")
    # Claimed, and killed: the tables have nothing of it, and its staging file is deleted when it ends elsewhere.
    claim = installation.ledger.claim("H2", "b" * 32, [Candidate("e" * 64, info.key, info.etag, "digest")])
    assert claim.batch is not None
    back_up(installation, folder)
    lose_the_catalog(installation.settings)
    assert restore_tables(installation.settings, folder, silent) == ["H2"]
    again = open_installation(installation.settings)
    ingest(again, "H2")
    assert len(again.lakehouse.arrow("vqe_results")) == 1
    assert_at_rest(again)


def test_a_catalog_whose_files_are_gone_is_refused_with_the_way_out(installation: Installation, folder: Path) -> None:
    worked_on(installation, folder)
    lose_the_catalog(installation.settings)
    for path in (installation.settings.warehouse / "quantum_features" / "vqe_iterations" / "data").rglob("*.parquet"):
        path.unlink()
    with pytest.raises(CatalogTooOldError, match=r"vqe_iterations 2 of them.*raw objects"):
        restore_tables(installation.settings, folder, silent)
    lose_the_catalog(installation.settings)
    shutil.rmtree(installation.settings.home / "features")
    again = open_installation(installation.settings)
    ingest(again)
    assert rows(again) == expected()


def test_a_catalog_that_is_there_is_never_overwritten(installation: Installation, folder: Path) -> None:
    worked_on(installation, folder)
    with pytest.raises(CatalogCopyError, match=r"catalog\.db.* is there, and nothing is overwritten"):
        restore_tables(installation.settings, folder, silent)
    assert rows(installation) == expected()


def test_the_copy_of_the_catalog_is_complete_while_a_writer_has_it_open(
    installation: Installation, folder: Path
) -> None:
    land(installation, [0])
    ingest(installation, "H2")
    assert (installation.settings.home / "catalog.db-wal").stat().st_size > 0
    writer = sqlite3.connect(installation.settings.catalog_database, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM qpipe_experiments")
    back_up(installation, folder)
    writer.execute("ROLLBACK")
    writer.close()
    assert sorted(path.name for path in folder.glob("catalog*")) == ["catalog.db"]
    copy = sqlite3.connect(folder / "catalog.db")
    assert copy.execute("SELECT count(*) FROM qpipe_experiments").fetchone() == (1,)
    copy.close()


def test_a_second_backup_takes_what_is_new_and_forgets_what_is_gone(installation: Installation, folder: Path) -> None:
    land(installation, [0, 1])
    assert back_up(installation, folder)["raw objects"].new == 2
    land(installation, [2])
    keys = [info.key for info in installation.store.list_objects("experiments/")]
    installation.store.delete(keys[0])
    installation.store.put(keys[1], b"repaired")
    second = back_up(installation, folder)["raw objects"]
    assert (second.items, second.new) == (2, 2)
    assert sorted(read_manifest(folder)) == keys[1:]
    assert back_up(installation, folder)["raw objects"].new == 0


def test_records_that_have_not_left_are_in_the_backup(installation: Installation, folder: Path) -> None:
    waiting = waiting_record(installation.settings)
    land(installation, [0])
    back_up(installation, folder)
    shutil.rmtree(installation.settings.outbox)
    restore_objects(installation.settings, installation.store, folder, silent)
    assert waiting.read_text() == "{}"


def test_a_folder_that_is_no_backup_of_this_installation_is_left_alone(
    installation: Installation, folder: Path, tmp_path: Path
) -> None:
    land(installation, [0])
    other = open_installation(Settings(home=tmp_path / "other", dagster_home=tmp_path / "other-dagster"))
    waiting = waiting_record(other.settings)
    with pytest.raises(ValueError, match="is no backup, and not empty"):
        back_up(installation, other.settings.home)
    assert waiting.exists(), "another home was taken for a backup"
    back_up(installation, folder)
    with pytest.raises(ValueError, match=r"another installation \(folder .*home\)"):
        back_up(other, folder)
    assert json.loads((folder / "backup.json").read_text())["complete"] is not None


def test_two_backups_at_once_do_not_mix(installation: Installation, folder: Path) -> None:
    from qpipe_assets.backup.origin import origin_of, taken_for

    back_up(installation, folder)
    with taken_for(folder, origin_of(installation.settings)), pytest.raises(ValueError, match="under way"):
        back_up(installation, folder)
    assert json.loads((folder / "backup.json").read_text())["complete"] is not None


def test_a_damaged_backup_is_noticed_before_it_lands(installation: Installation, folder: Path) -> None:
    land(installation, [0])
    back_up(installation, folder)
    (copy,) = (folder / "raw-results").rglob("*.json")
    copy.write_bytes(b"x" * copy.stat().st_size)
    (info,) = list(installation.store.list_objects("experiments/"))
    installation.store.delete(info.key)
    with pytest.raises(BackupDamagedError, match="not what its manifest says"):
        restore_objects(installation.settings, installation.store, folder, silent)
    assert list(installation.store.list_objects("experiments/")) == []


def test_what_is_there_with_other_content_stays_and_is_told(installation: Installation, folder: Path) -> None:
    land(installation, [0])
    back_up(installation, folder)
    (info,) = installation.store.list_objects("experiments/")
    installation.store.put(info.key, b"newer")
    _, objects = restore_objects(installation.settings, installation.store, folder, silent)
    assert (objects.new, len(objects.left_out)) == (0, 1)
    assert installation.store.get(info.key).data == b"newer"


def test_the_command_backs_up_and_restores(
    installation: Installation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QPIPE_HOME", str(installation.settings.home))
    land(installation, [0])
    ingest(installation, "H2")
    done = qpipe("backup", str(folder), "--format", "json")
    assert done.exit_code == 0, done.output
    assert {row["part"]: row["new"] for row in json.loads(done.stdout)} == {
        "catalog and ledger": 1,
        "outbox": 0,
        "raw objects": 1,
        "Dagster's history": 0,
    }
    refused = qpipe("backup", str(installation.settings.home / "backup"))
    assert refused.exit_code == 2
    assert "lies inside" in refused.stderr
    lose_the_catalog(installation.settings)
    back = qpipe("restore", str(folder), "--catalog")
    assert back.exit_code == 0, back.output
    assert printed(qpipe("sql", "select count(*) n from vqe_results", "--format", "json")) == [{"n": 1}]
    assert qpipe("restore", str(folder / "nowhere")).exit_code == 2
