"""Tables on Garage and PostgreSQL: the ingest protocol under kills, races and lost answers, as in a folder."""

from __future__ import annotations

import random
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from jobs.pending import recently_pending_work
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_assets.tables.ledger_tables import Candidate
from qpipe_resources import catalog_database
from qpipe_resources.catalog_database import CatalogRefusedError, CatalogUnavailableError
from qpipe_resources.lakehouse import Lakehouse, LostMetadataError
from qpipe_resources.object_store import StoreRefusedError
from qpipe_resources.s3_store import S3ObjectStore
from qpipe_resources.settings import Settings, load_settings
from tests import crash_worker
from tests.crash_worker import Worker
from tests.integration.conftest import Sandbox
from tests.tables.protocol import assert_at_rest, content, h2, land, record_bytes, run_trials, undisturbed
from tests.tables.test_kills import Kills, work_and_kill

MOLECULES = ("H2", "HeH+", "LiH", "N2")
Fresh = Callable[[random.Random], Settings]


@pytest.fixture
def fresh(sandbox: Sandbox) -> Iterator[Fresh]:
    """Settings of installations that are all empty: a database and a bucket for each, gone with the test."""
    made: list[Settings] = []
    server = sa.create_engine(load_settings().catalog_uri.get_secret_value(), isolation_level="AUTOCOMMIT")

    def make(chance: random.Random) -> Settings:
        name = f"test-{uuid.uuid4().hex[:12]}"
        with server.connect() as connection:
            connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
        sandbox.s3().create_bucket(Bucket=name)
        uri = sa.make_url(_uri()).set(database=name).render_as_string(hide_password=False)
        retained, every, days = chance.choice([(20, 32, 90), (1, 1, 0), (2, 1, 1)])
        settings = load_settings().model_copy(
            update={
                "catalog_uri": SecretStr(uri),
                "s3_raw_bucket": name,
                "s3_features_bucket": name,
                "batch_bytes": chance.choice([1, 16 * 1024 * 1024]),
                "retained_batches": retained,
                "expire_every": every,
                "retained_days": days,
            }
        )
        made.append(settings)
        return settings

    yield make
    s3 = sandbox.s3()
    for settings in made:
        name = settings.s3_raw_bucket
        with server.connect() as connection:
            connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
            s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": e["Key"]} for e in page.get("Contents", ())]})
        s3.delete_bucket(Bucket=name)
    server.dispose()


def _uri() -> str:
    return load_settings().catalog_uri.get_secret_value()


def store_of(settings: Settings) -> S3ObjectStore:
    return S3ObjectStore(settings.s3_endpoint, settings.s3_region, settings.s3_raw_bucket)


@pytest.fixture
def settings(fresh: Fresh) -> Settings:
    return fresh(random.Random(0)).model_copy(update={"batch_bytes": 16 * 1024 * 1024, "retained_batches": 20})


@pytest.fixture
def installation(settings: Settings) -> Installation:
    return open_installation(settings)


@pytest.fixture
def seconds(fresh: Fresh) -> float:
    """How long an undisturbed ingest of three objects takes here."""
    settings = fresh(random.Random(0))
    land(store_of(settings), range(3))
    return crash_worker.run(settings, ("ingest", "H2"))


# The same as in a folder


def test_tables_in_a_bucket_equal_those_in_a_folder(installation: Installation) -> None:
    land(installation, [0, 1])
    land(installation, [0], "HeH+")
    for molecule in ("H2", "HeH+"):
        installation.ingest().run(molecule)
    land(installation, [2])
    land(installation, [1], name="redelivered")
    installation.ingest().run("H2")
    for molecule in ("H2", "HeH+"):
        installation.ml_features().run(molecule)
    expected = undisturbed(h2(0, 1, 2) | {("HeH+", 0)}, ml=True)
    assert content(installation, expected) == expected
    assert_at_rest(installation, ("H2", "HeH+"))


def test_every_way_of_reading_works_on_a_bucket(installation: Installation) -> None:
    lakehouse = installation.lakehouse
    assert lakehouse.arrow("molecules").num_rows == 0
    land(installation, [0])
    installation.ingest().run("H2")
    first = installation.ledger.latest_commits("vqe_results", "H2")
    land(installation, [1])
    installation.ingest().run("H2")
    assert first is not None and first.snapshot_id is not None
    assert lakehouse.arrow("vqe_results").num_rows == 2
    assert lakehouse.arrow("vqe_results", as_of=first.tag).num_rows == 1
    added = lakehouse.added_by("vqe_results", first.snapshot_id)
    assert added is not None and added.count_rows() == 1
    query = "select count(*) n from vqe_results r join molecules m using (experiment_id)"
    counted = lakehouse.sql(query, schemas.names(schemas.ALL))
    assert counted.to_pylist() == [{"n": 2}]
    assert lakehouse.load("vqe_results").scan().to_arrow().num_rows == 2


def test_a_rebuild_on_a_bucket_replaces_the_molecule_s_rows_and_no_others(installation: Installation) -> None:
    land(installation, [0, 1])
    land(installation, [0], "LiH")
    for molecule in ("H2", "LiH"):
        installation.ingest().run(molecule)
        installation.ml_features().run(molecule)
    installation.store.delete(next(installation.store.list_objects("experiments/")).key)
    installation.ingest().run("H2", rebuild=True)
    installation.ml_features().run("H2")
    expected = undisturbed(frozenset({("H2", 1), ("LiH", 0)}), ml=True)
    assert content(installation, expected) == expected
    assert_at_rest(installation, ("H2", "LiH"))


# Several processes, and SIGKILL


def test_an_ingest_killed_at_any_moment_ends_as_the_undisturbed_one(fresh: Fresh, seconds: float) -> None:
    kills = Kills(seconds)

    def trial(_: Path, chance: random.Random) -> None:
        settings = fresh(chance)
        store = store_of(settings)
        land(store, range(3))
        kills.strike(Worker(settings, [("ingest", "H2")]), chance, 2.5 if settings.batch_bytes == 1 else 1.0)
        land(store, [chance.randrange(3)], name="redelivered")
        land(store, [3])
        crash_worker.run(settings, ("ingest", "H2"))
        installation = open_installation(settings)
        assert content(installation) == undisturbed(h2(*range(4)))
        assert_at_rest(installation)

    run_trials(trial, 6, first_seed=21_000, enough=lambda: kills.hits >= 3)
    assert kills.hits >= 3, f"only {kills}"


@pytest.mark.parametrize("killed", [False, True], ids=["undisturbed", "killed"])
def test_two_ingesters_of_one_molecule_write_every_row_once(fresh: Fresh, seconds: float, killed: bool) -> None:
    def trial(_: Path, chance: random.Random) -> None:
        settings = fresh(chance)
        store = store_of(settings)
        land(store, range(4))
        workers = [Worker(settings, [("ingest", "H2")]) for _ in range(2)]
        work_and_kill(workers, [chance.uniform(0, 2 * seconds) if killed else None for _ in workers])
        if killed:
            land(store, [chance.randrange(4)], name="redelivered")
            crash_worker.run(settings, ("ingest", "H2"))
        installation = open_installation(settings)
        assert content(installation) == undisturbed(h2(*range(4)))
        assert_at_rest(installation)

    run_trials(trial, 3, first_seed=22_000 + 100 * killed)


def test_rebuilds_claims_and_ml_builds_at_once_end_as_the_undisturbed_run(fresh: Fresh, seconds: float) -> None:
    def trial(_: Path, chance: random.Random) -> None:
        settings = fresh(chance)
        store = store_of(settings)
        land(store, range(2))
        if chance.random() < 0.7:
            crash_worker.run(settings, ("ingest", "H2"))
        land(store, [2])
        plans = [
            [("ingest", "H2"), ("ml", "H2")],
            [("rebuild", "H2")],
            [chance.choice([("ml", "H2"), ("rebuild", "H2"), ("ingest", "H2")]), ("ml", "H2")],
        ]
        workers = [Worker(settings, plan) for plan in plans]
        work_and_kill(workers, [chance.choice([None, chance.uniform(0, 4 * seconds)]) for _ in workers])
        crash_worker.run(settings, ("ingest", "H2"), ("ml", "H2"))
        installation = open_installation(settings)
        expected = undisturbed(h2(*range(3)), ml=True)
        assert content(installation, expected) == expected
        assert_at_rest(installation)

    run_trials(trial, 4, first_seed=23_000)


def test_four_ingesters_of_different_molecules_do_not_disturb_each_other(fresh: Fresh) -> None:
    settings = fresh(random.Random(1))
    for molecule in MOLECULES:
        land(store_of(settings), range(2), molecule)
    work_and_kill([Worker(settings, [("ingest", molecule)]) for molecule in MOLECULES], [None] * 4)
    installation = open_installation(settings)
    assert content(installation) == undisturbed(frozenset((m, n) for m in MOLECULES for n in range(2)))
    assert_at_rest(installation, MOLECULES)


@pytest.mark.parametrize("killed", [False, True], ids=["undisturbed", "killed"])
def test_four_processes_can_make_the_first_start_together(fresh: Fresh, killed: bool) -> None:
    def trial(_: Path, chance: random.Random) -> None:
        settings = fresh(chance)
        land(store_of(settings), range(2))
        workers = [Worker(settings, [("open", "H2")]) for _ in range(3)]
        workers.append(Worker(settings, [("ingest", "H2")]))
        work_and_kill(workers, [chance.uniform(0, 1.5) if killed else None for _ in workers])
        if killed:
            crash_worker.run(settings, ("ingest", "H2"))
        installation = open_installation(settings)
        assert content(installation) == undisturbed(h2(*range(2)))
        assert_at_rest(installation)

    run_trials(trial, 2, first_seed=24_000 + 100 * killed)


# Answers that are lost, connections that break


@contextmanager
def lost_answers(installation: Installation, chance: random.Random, done: float, undone: float) -> Iterator[list[str]]:
    """Break connections at COMMIT: with the chance `done` after it, with the chance `undone` instead of it."""
    broken: list[str] = []
    dialects = [engine.dialect for engine in (installation.lakehouse.engine, installation.lakehouse.catalog.engine)]
    original = type(dialects[0]).do_commit

    def commit(dialect: sa.Dialect, connection: sa.PoolProxiedConnection) -> None:
        drawn = chance.random()
        if drawn < done:
            original(dialect, connection)
            broken.append("done")
        elif drawn < done + undone:
            broken.append("undone")
        else:
            original(dialect, connection)
            return
        connection.dbapi_connection.close()
        original(dialect, connection)  # what psycopg2 says of a closed connection

    for dialect in dialects:
        dialect.do_commit = commit.__get__(dialect)  # type: ignore[method-assign]
    yield broken
    for dialect in dialects:
        del dialect.do_commit


@pytest.mark.parametrize("seed", range(2))
def test_commits_whose_answer_is_lost_are_neither_lost_nor_done_twice(fresh: Fresh, seed: int) -> None:
    chance = random.Random(seed)
    installation = open_installation(fresh(chance))
    land(installation, range(2))
    with lost_answers(installation, chance, done=0.15, undone=0.1) as broken:
        installation.ingest().run("H2")
        land(installation, [1], name="redelivered")
        land(installation, [2])
        installation.ingest().run("H2", rebuild=bool(seed % 2))
        installation.ml_features().run("H2")
    assert broken.count("done") > 3 and broken.count("undone") > 3
    expected = undisturbed(h2(*range(3)), ml=True)
    assert content(installation, expected) == expected
    assert_at_rest(installation)


def test_an_ingest_whose_connections_the_server_ends_again_and_again_gets_done(installation: Installation) -> None:
    ended = 0
    stop = threading.Event()
    server = sa.create_engine(installation.settings.catalog_uri.get_secret_value(), isolation_level="AUTOCOMMIT")
    victim = sa.text(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and usename = current_user and pid <> pg_backend_pid() "
        "order by random() limit 1"
    )

    def end_connections() -> None:
        nonlocal ended
        with server.connect() as connection:
            while not stop.wait(0.3):
                ended += len(connection.execute(victim).all())

    thread = threading.Thread(target=end_connections)
    thread.start()
    try:
        land(installation, range(2))
        installation.ingest().run("H2")
        installation.ml_features().run("H2")
    finally:
        stop.set()
        thread.join()
        server.dispose()
    assert ended > 2
    expected = undisturbed(h2(*range(2)), ml=True)
    assert content(installation, expected) == expected
    assert_at_rest(installation)


# Locks


def test_whoever_decides_for_a_molecule_waits_for_who_is_deciding_and_for_nobody_else(
    installation: Installation,
) -> None:
    ledger = installation.ledger
    ledger.claim("H2", "b0", [Candidate("e0", "k0", "t", "d")])
    rebuild = ledger.request_rebuild("HeH+")
    waiting: dict[str, Callable[[], object]] = {
        "claim": lambda: ledger.claim("H2", "b1", [Candidate("e1", "k1", "t", "d")]),
        "finish_batch": lambda: ledger.finish_batch("b0"),
        "request_rebuild": lambda: ledger.request_rebuild("H2"),
        "finish_rebuild": lambda: ledger.finish_rebuild("none", "H2"),
    }
    with ThreadPoolExecutor(5) as pool:
        with installation.lakehouse.engine.begin() as deciding:
            catalog_database.lock_for_transaction(deciding, "qpipe molecule H2")
            for name, act in waiting.items():
                future = pool.submit(act)
                assert pool.submit(lambda: ledger.finish_rebuild(rebuild, "HeH+")).result(120) is None
                assert not future.done(), name
                waiting[name] = future.result
        for result in waiting.values():
            try:
                result()
            except Exception as error:  # a claim that came after the rebuild was asked for
                assert type(error).__name__ == "RebuildPendingError"


def test_the_server_looks_after_connections_whose_machine_is_gone(installation: Installation) -> None:
    expected = {
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "4",
        "tcp_user_timeout": "30000",
        "idle_in_transaction_session_timeout": "2min",
        "lock_timeout": "10s",
    }
    with installation.lakehouse.engine.connect() as connection:
        assert {name: connection.exec_driver_sql(f"show {name}").scalar() for name in expected} == expected


def test_a_start_that_has_nothing_to_create_waits_for_no_lock(installation: Installation) -> None:
    with catalog_database.lock_across_processes(installation.lakehouse.engine, "qpipe first start", None):
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(open_installation, installation.settings).result(120).settings == installation.settings


def test_a_first_start_waits_for_another_and_tells(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(catalog_database, "TELL_EVERY", 5.0)
    engine = catalog_database.open_engine(catalog_database.postgresql_url(settings.catalog_uri.get_secret_value()))
    with ThreadPoolExecutor(1) as pool:
        with catalog_database.lock_across_processes(engine, "qpipe first start", None):
            opened = pool.submit(open_installation, settings)
            deadline = time.monotonic() + 30
            while not caplog.records and time.monotonic() < deadline:
                time.sleep(0.1)
            assert not opened.done()
        assert opened.result(60).ledger.quarantined() == []
    engine.dispose()
    assert any("the lock 'qpipe first start'" in record.getMessage() for record in caplog.records)


def test_first_come_is_first_served_among_claims_at_once(installation: Installation) -> None:
    candidates = [Candidate(f"e{number}", f"k{number}", "t", "d") for number in range(20)]

    def claim(number: int) -> int:
        return installation.ledger.claim("H2", f"b{number}", candidates).experiments

    with ThreadPoolExecutor(5) as pool:
        claimed = list(pool.map(claim, range(8)))
    assert sorted(claimed) == [0] * 7 + [20]
    assert len(installation.ledger.open_batches("H2")) == 1


# What goes wrong is told


def test_a_database_that_is_not_there_is_told_in_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_database, "PATIENCE", 0.5)
    away = settings.model_copy(update={"catalog_uri": SecretStr("postgresql+psycopg2://qpipe@127.0.0.1:9/qpipe")})
    began = time.monotonic()
    with pytest.raises(
        CatalogUnavailableError, match=r"does not answer .*; start PostgreSQL, or mend QPIPE_CATALOG_URI"
    ):
        open_installation(away)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("change", "remedy"),
    [({"password": "wrong-p4ssword"}, "mend PGPASSWORD"), ({"database": "no_such_database"}, "create it or mend")],
)
def test_a_database_that_refuses_is_told_at_once_without_the_password(
    settings: Settings, change: dict[str, str], remedy: str
) -> None:
    url = sa.make_url(settings.catalog_uri.get_secret_value()).set(**change)  # type: ignore[arg-type]
    refused = settings.model_copy(update={"catalog_uri": SecretStr(url.render_as_string(hide_password=False))})
    with pytest.raises(CatalogRefusedError, match=remedy) as caught:
        open_installation(refused)
    assert "wrong-p4ssword" not in "".join(traceback.format_exception(caught.value))


def test_nothing_that_is_printed_holds_the_database_s_password(settings: Settings, sandbox: Sandbox) -> None:
    password = sandbox.environment["PGPASSWORD"]
    url = sa.make_url(settings.catalog_uri.get_secret_value()).set(password=password)
    installation = open_installation(
        settings.model_copy(update={"catalog_uri": SecretStr(url.render_as_string(hide_password=False))})
    )
    lakehouse = installation.lakehouse
    shown = [repr(installation), repr(lakehouse), repr(vars(lakehouse)), lakehouse.identity, repr(lakehouse.catalog)]
    shown += [repr(lakehouse.engine), repr(lakehouse.load("molecules"))]
    assert password not in "".join(shown)


def test_a_features_bucket_that_is_missing_is_named(settings: Settings) -> None:
    with pytest.raises(StoreRefusedError, match="no bucket 'qpipe-no-such-bucket'"):
        open_installation(settings.model_copy(update={"s3_features_bucket": "qpipe-no-such-bucket"}))


def test_a_warehouse_that_was_emptied_is_told_at_once(installation: Installation, sandbox: Sandbox) -> None:
    s3 = sandbox.s3()
    bucket = installation.settings.s3_features_bucket
    for entry in s3.list_objects_v2(Bucket=bucket, Prefix="warehouse/")["Contents"]:
        s3.delete_object(Bucket=bucket, Key=entry["Key"])
    land(installation, [0])
    with pytest.raises(LostMetadataError, match=rf"s3://{bucket}/warehouse"):
        installation.ingest().run("H2")


# Cost


def test_the_sensor_lists_what_is_new_and_not_the_whole_bucket(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = installation.store
    for day in range(1, 21):
        for molecule in ("H2", "LiH"):
            key = f"experiments/t/molecule={molecule}/year=2020/month=01/day={day:02}/{molecule}-{day}.json"
            store.put(key, record_bytes(day, molecule))
    assert [work.new_objects for work in recently_pending_work(installation)] == [20, 20]
    pages: list[int] = []
    original = S3ObjectStore._page

    def counted(store: S3ObjectStore, asked: dict[str, str]) -> dict[str, object]:
        page = original(store, asked)
        pages.append(len(page.get("Contents", ())))
        return page

    monkeypatch.setattr(S3ObjectStore, "_page", counted)
    today = time.strftime("year=%Y/month=%m/day=%d", time.gmtime())
    store.put(f"experiments/t/molecule=H2/{today}/new.json", record_bytes(30))
    found = {work.molecule: work.new_objects for work in recently_pending_work(installation)}
    assert found == {"H2": 21, "LiH": 20}, "what was new at the full listing still is"
    # The topics, what lies above and in the topic's folder, its folders, and one request a molecule.
    assert len(pages) == 2 + 2 + 2 and sum(pages) == 1


def test_the_identity_of_a_lakehouse_is_its_place_and_no_secret(settings: Settings) -> None:
    def identity(bucket: str = "features", **changes: str) -> str:
        uri = sa.make_url(_uri()).set(**changes).render_as_string(hide_password=False)  # type: ignore[arg-type]
        return Lakehouse.in_s3(SecretStr(uri), settings.s3_endpoint, settings.s3_region, bucket, "n").identity

    assert identity(password="s3cret") == identity(password="other") and "s3cret" not in identity(password="s3cret")
    assert len({identity(), identity(database="other"), identity(bucket="other")}) == 3
