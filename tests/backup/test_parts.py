"""Outbox and Dagster's history, copied while others work on them: nothing slips past, and only what is new costs."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from qpipe_assets.backup import dagster_copies, record_copies
from qpipe_assets.backup.dagster_copies import copy_databases
from qpipe_assets.backup.failures import Failures
from qpipe_assets.backup.record_copies import copy_records, forget_other_records, put_records_back
from qpipe_resources.catalog_copy import CatalogCopyError, copy_sqlite
from qpipe_resources.durable_files import copy_file
from tests.backup.losses import silent


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    """Two records that wait."""
    for name in "ab":
        path = tmp_path / "outbox" / "kafka" / "undelivered" / "H2" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (tmp_path / "outbox" / "kafka" / "sent" / "H2").mkdir(parents=True)
    (tmp_path / "outbox" / "kafka" / "locks").mkdir()
    (tmp_path / "outbox" / "kafka" / "locks" / "aa").touch()
    return tmp_path / "outbox"


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_record_that_is_delivered_meanwhile_is_copied_where_it_is_by_then(
    outbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = outbox / "kafka" / "undelivered" / "H2" / "b.json"

    def deliver_another_then_copy(source: Path, target: Path) -> None:
        if waiting.exists():
            waiting.replace(outbox / "kafka" / "sent" / "H2" / "b.json")
        copy_file(source, target)

    monkeypatch.setattr(record_copies, "copy_file", deliver_another_then_copy)
    found = copy_records(outbox, tmp_path / "copies")
    assert names(tmp_path / "copies") == ["kafka/sent/H2/b.json", "kafka/undelivered/H2/a.json"]
    assert (found.part.items, found.part.new) == (2, 2)


def test_copies_are_forgotten_when_the_record_has_left_and_put_back_with_their_age(
    outbox: Path, tmp_path: Path
) -> None:
    copies = tmp_path / "copies"
    copy_records(outbox, copies)
    assert copy_records(outbox, copies).part.new == 0
    (outbox / "kafka" / "undelivered" / "H2" / "b.json").unlink()
    found = copy_records(outbox, copies)
    assert len(names(copies)) == 2
    forget_other_records(copies, found.copies)
    assert names(copies) == ["kafka/undelivered/H2/a.json"]
    shutil.rmtree(outbox)
    assert put_records_back(copies, outbox, silent).new == 1
    assert (outbox / "kafka" / "undelivered" / "H2" / "a.json").stat().st_mtime == 1_000_000_000


def test_a_backup_disk_that_is_gone_is_no_record_that_has_left(outbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(source: Path, target: Path) -> None:
        raise FileNotFoundError(target)

    monkeypatch.setattr(record_copies, "copy_file", gone)
    with pytest.raises(FileNotFoundError, match="copies"):
        copy_records(outbox, outbox.parent / "copies")


# Dagster's history


def make(path: Path, rows: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE events (x)")
        database.executemany("INSERT INTO events VALUES (?)", [(row,) for row in range(rows)])
        database.commit()
    return path


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT count(*) FROM events").fetchone()[0]


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Two runs."""
    for name in ("one", "two"):
        make(tmp_path / "dagster" / "history" / "runs" / f"{name}.db")
    return tmp_path / "dagster"


def test_a_history_that_has_not_changed_is_not_copied_again(history: Path, tmp_path: Path) -> None:
    copies, failures = tmp_path / "copies", Failures(silent)
    assert copy_databases(history, copies, failures).new == 2
    again = copy_databases(history, copies, failures)
    assert (again.items, again.new) == (2, 0)


def test_a_history_whose_changes_are_in_its_log_alone_is_copied_again(history: Path, tmp_path: Path) -> None:
    copies, failures = tmp_path / "copies", Failures(silent)
    copy_databases(history, copies, failures)
    one = history / "history" / "runs" / "one.db"
    before = one.stat().st_mtime_ns
    with closing(sqlite3.connect(one)) as writer:
        writer.execute("INSERT INTO events VALUES (7)")
        writer.commit()
        assert one.stat().st_mtime_ns == before
        assert copy_databases(history, copies, failures).new == 1
        assert count(copies / "history" / "runs" / "one.db") == 2
        assert copy_databases(history, copies, failures).new == 0


def test_a_change_during_the_copy_is_found_by_the_next(
    history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies, failures = tmp_path / "copies", Failures(silent)

    def copy_then_change(source: Path, target: Path) -> None:
        copy_sqlite(source, target)
        later = source.stat().st_mtime_ns + 1_000_000_000
        os.utime(source, ns=(later, later))

    monkeypatch.setattr(dagster_copies, "copy_sqlite", copy_then_change)
    copy_databases(history, copies, failures)
    monkeypatch.undo()
    assert copy_databases(history, copies, failures).new == 2


def test_a_run_that_is_deleted_meanwhile_is_no_error(
    history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = Failures(silent)

    def delete_then_copy(source: Path, target: Path) -> None:
        source.unlink()
        copy_sqlite(source, target)

    monkeypatch.setattr(dagster_copies, "copy_sqlite", delete_then_copy)
    assert copy_databases(history, tmp_path / "copies", failures).items == 0
    assert failures.found == []


def test_a_damaged_history_keeps_no_other_from_being_copied(history: Path, tmp_path: Path) -> None:
    (history / "history" / "runs" / "one.db").write_bytes(b"SQLite format 3\0" + b"x" * 4096)
    failures = Failures(silent)
    assert copy_databases(history, tmp_path / "copies", failures).items == 1
    assert count(tmp_path / "copies" / "history" / "runs" / "two.db") == 1
    with pytest.raises(CatalogCopyError, match=r"one\.db"):
        failures.raise_first()
