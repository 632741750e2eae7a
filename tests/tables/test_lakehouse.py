"""The lakehouse when its catalog or its files are not as they should be."""

from __future__ import annotations

import shutil
import time
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa

from qpipe_assets.tables.installation import Installation
from qpipe_resources import catalog_database
from qpipe_resources.catalog_database import (
    Attempts,
    CatalogRefusedError,
    CatalogUnavailableError,
    LakehouseBusyError,
    lock_across_processes,
    postgresql_url,
)
from qpipe_resources.lakehouse import LostMetadataError
from tests.tables.protocol import content, h2, land, undisturbed


def failure(original: BaseException, *, invalidated: bool = False) -> sa.exc.DBAPIError:
    kind = sa.exc.OperationalError if isinstance(original, psycopg2.OperationalError) else sa.exc.DBAPIError
    return kind("select 1", {}, original, connection_invalidated=invalidated)


def test_a_warehouse_that_was_emptied_is_told_at_once(installation: Installation) -> None:
    shutil.rmtree(installation.settings.warehouse)
    land(installation, [0])
    with pytest.raises(LostMetadataError, match=r"restore the warehouse"):
        installation.ingest().run("H2")


def test_metadata_that_others_replace_while_it_is_looked_up_is_a_lost_race(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = installation.lakehouse.catalog
    original = catalog.load_table
    lost = 0

    def loses_every_third(identifier: Any) -> Any:
        nonlocal lost
        lost += 1
        if lost % 3 == 0:
            raise FileNotFoundError(f"/warehouse/0000{lost}-x.metadata.json")
        return original(identifier)

    monkeypatch.setattr(catalog, "load_table", loses_every_third)
    land(installation, [0, 1])
    installation.ingest().run("H2")
    assert content(installation) == undisturbed(h2(0, 1))


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql+psycopg2://qpipe:s3cret@host:port/db",
        "postgresql+psycopg2://qpipe:s3@cret@host:5432/db",
        "no uri, but s3cret",
    ],
)
def test_an_address_that_cannot_be_understood_is_refused_without_being_repeated(uri: str) -> None:
    with pytest.raises(CatalogRefusedError, match="QPIPE_CATALOG_URI cannot be understood") as caught:
        postgresql_url(uri)
    assert "cret" not in str(caught.value) and caught.value.__context__ is None


def test_what_the_address_says_wins_over_our_timeouts() -> None:
    url = postgresql_url("postgresql+psycopg2://qpipe@host/db?connect_timeout=60")
    assert url.query["connect_timeout"] == "60" and url.query["application_name"] == "qpipe"


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03"])
def test_a_race_that_was_lost_is_tried_again(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_database, "back_off", lambda attempt: None)
    lost = failure(type("LostError", (psycopg2.OperationalError,), {"pgcode": code})("lost"))
    attempts = Attempts("the ledger")
    for _ in range(catalog_database.MAX_ATTEMPTS - 1):
        attempts.failed(lost)
    with pytest.raises(LakehouseBusyError, match="run again"):
        attempts.failed(lost)


def test_waiting_for_a_lock_is_told_each_minute_by_its_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [0.0]
    monkeypatch.setattr(catalog_database, "back_off", lambda attempt: None)
    monkeypatch.setattr(catalog_database.time, "monotonic", lambda: clock[0])
    timeout = type("LostError", (psycopg2.OperationalError,), {"pgcode": "55P03"})("canceling statement")
    attempts = Attempts("the ledger")
    for _ in range(13):
        clock[0] += 10
        attempts.failed(sa.exc.OperationalError("select", {"lock": "qpipe molecule H2"}, timeout))
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and all("the ledger" in line and "'qpipe molecule H2'" in line for line in told)
    assert "6 attempts" in told[0] and "in 60 s" in told[0]


@pytest.fixture
def answers() -> list[sa.exc.DBAPIError]:
    """Failures with which a database answers the next requests for a lock."""
    return []


@pytest.fixture
def locking(answers: list[sa.exc.DBAPIError], monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    """A database whose advisory locks fail as it is told; nothing waits between attempts."""
    monkeypatch.setattr(catalog_database, "back_off", lambda attempt: None)
    monkeypatch.setattr(catalog_database.time, "sleep", lambda seconds: None)
    engine = sa.create_engine("sqlite://")

    @sa.event.listens_for(engine, "connect")
    def _functions(connection: Any, _record: Any) -> None:
        connection.create_function("pg_advisory_lock", 1, lambda key: None)
        connection.create_function("hashtextextended", 2, lambda name, seed: 0)

    @sa.event.listens_for(engine, "before_cursor_execute")
    def _answer(*_arguments: Any) -> None:
        if answers:
            raise answers.pop(0)

    return engine


def lock_timeout() -> sa.exc.DBAPIError:
    kind = type("LostError", (psycopg2.OperationalError,), {"pgcode": "55P03"})
    return failure(kind("canceling statement due to lock timeout"))


def test_a_lock_that_another_holds_for_longer_than_the_server_waits_is_asked_for_again(
    locking: sa.Engine, answers: list[sa.exc.DBAPIError]
) -> None:
    broken = failure(psycopg2.OperationalError("server closed the connection unexpectedly"), invalidated=True)
    answers += [lock_timeout(), broken, lock_timeout()]
    entered = False
    with lock_across_processes(locking, "qpipe export x", None):
        entered = True
    assert entered and not answers


def test_a_lock_that_is_never_given_is_told_by_its_name(locking: sa.Engine, answers: list[sa.exc.DBAPIError]) -> None:
    answers += [lock_timeout() for _ in range(catalog_database.MAX_ATTEMPTS)]
    with pytest.raises(LakehouseBusyError, match=r"qpipe export x: .*run again"):
        with lock_across_processes(locking, "qpipe export x", None):
            pytest.fail("it was not given")


def test_an_error_of_what_is_done_under_a_lock_is_not_repeated(locking: sa.Engine) -> None:
    done = []
    with pytest.raises(sa.exc.DBAPIError, match="lock timeout"):
        with lock_across_processes(locking, "qpipe export x", None):
            done.append(1)
            raise lock_timeout()
    assert done == [1]


def test_a_broken_connection_is_waited_for_and_then_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_database, "PATIENCE", 0.3)
    attempts = Attempts("the ledger")
    broken = failure(psycopg2.OperationalError("server closed the connection unexpectedly"), invalidated=True)
    began = time.monotonic()
    with pytest.raises(CatalogUnavailableError, match=r"the ledger: .*server closed.*\); start PostgreSQL"):
        while True:
            attempts.failed(broken)
    assert 0.3 <= time.monotonic() - began < 5


def test_an_error_that_no_attempt_mends_is_itself() -> None:
    wrong = failure(psycopg2.ProgrammingError("no such column"))
    with pytest.raises(sa.exc.DBAPIError, match="no such column"):
        Attempts("the ledger").failed(wrong)
