"""The Spark engine on a real session: the embedded engine's tables, and each finishes what the other began."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from qpipe_assets.tables import schemas
from qpipe_assets.tables.embedded_engine import EmbeddedEngine
from qpipe_assets.tables.ingest import Ingest
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_assets.tables.ledger import Ledger
from qpipe_assets.tables.report import Report
from qpipe_assets.tables.spark_engine import SparkEngine
from qpipe_assets.tables.staging import StagingLostError
from qpipe_resources.lakehouse import Lakehouse
from qpipe_resources.object_store import ObjectMissingError
from qpipe_resources.spark.session import SparkDriver, open_spark
from qpipe_resources.spark.settings import SparkSettings
from qpipe_resources.spark.spread import spread
from tests.spark.engines import MOLECULES, assert_close, objects, on_spark
from tests.tables.protocol import assert_at_rest, content, h2, land, record_bytes, settings_in, snapshots, undisturbed
from tests.tables.test_resume import Killed, killed_after

pytestmark = pytest.mark.spark

ML = schemas.ML_NAMES
SMALL = 150_000
"""Bytes that a task reads at a time, so that the objects are many parts."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The installation whose catalog the session sees."""
    return open_installation(settings_in(tmp_path_factory.mktemp("spark engine"), batch_bytes=SMALL))


@pytest.fixture(scope="module")
def driver(home: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkDriver]:
    spark = SparkSettings(master="local[2]", driver_memory="1g", shuffle_partitions=2)
    # Executors would import the project from the folder they start in, whatever is shipped to them.
    with contextlib.chdir(tmp_path_factory.mktemp("elsewhere")):
        driver = open_spark(home.settings, spark, schemas.NAMESPACE)
    yield driver
    driver.close()


class Both(NamedTuple):
    embedded: Installation
    spark: Installation
    reports: dict[str, tuple[Report, Report]]


@pytest.fixture(scope="module")
def both(home: Installation, driver: SparkDriver, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """The same sixty objects on both engines, through to the ML tables."""
    embedded = open_installation(settings_in(tmp_path_factory.mktemp("embedded engine"), batch_bytes=SMALL))
    made = Both(embedded, on_spark(home, driver), {})
    for installation in (embedded, made.spark):
        for key, data in objects().items():
            installation.store.put(key, data)
    for molecule in MOLECULES:
        made.reports[molecule] = embedded.ingest().run(molecule), made.spark.ingest().run(molecule)
        embedded.ml_features().run(molecule)
        made.spark.ml_features().run(molecule)
    return made


@pytest.fixture
def fresh(tmp_path: Path, driver: SparkDriver) -> Installation:
    """Another installation that the session computes; its SQL sees the other one's tables."""
    return on_spark(open_installation(settings_in(tmp_path, batch_bytes=1)), driver)


def embedded(installation: Installation) -> Installation:
    """The same installation on the embedded engine."""
    return Installation(installation.settings, installation.store, installation.lakehouse)


# The same tables


def test_the_nine_tables_are_equal_value_for_value(both: Both) -> None:
    assert len(objects()) >= 60
    expected, got = content(both.embedded), content(both.spark)
    for name in schemas.NORMALIZED_NAMES:
        assert got[name] == expected[name], name
        assert len(expected[name]) >= 60, name
    assert_at_rest(both.spark, MOLECULES)


def test_both_tell_the_same_of_duplicates_and_broken_objects(both: Both) -> None:
    for expected, got in both.reports.values():
        assert (got.rows, got.duplicates, got.quarantined) == (expected.rows, expected.duplicates, expected.quarantined)
    assert sum(report.duplicates for report, _ in both.reports.values()) == 9
    assert sum(report.quarantined for report, _ in both.reports.values()) == 4
    found = [sorted(row["object_key"] for row in one.ledger.quarantined()) for one in (both.embedded, both.spark)]
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ML)
def test_the_ml_tables_are_equal_to_a_billionth(both: Both, name: str) -> None:
    expected, got = (content(one, [name]) for one in (both.embedded, both.spark))
    assert len(expected[name]) >= 60
    assert_close(got, expected)


def test_a_run_of_one_evaluation_has_no_slope_on_either_engine(both: Both) -> None:
    for one in (both.embedded, both.spark):
        rows = one.lakehouse.arrow("ml_run_summary").to_pylist()
        single = {row["first_10_energy_slope"] for row in rows if row["total_iterations"] == 1}
        assert single == {None}
        assert all(isinstance(row["first_10_energy_slope"], float) for row in rows if row["total_iterations"] > 1)


def test_a_batch_is_one_commit_of_many_files_on_spark(both: Both) -> None:
    for molecule, (_, report) in both.reports.items():
        assert len(report.batches) == 1, molecule
    table = both.spark.lakehouse.load("vqe_iterations")
    assert len(table.snapshots()) == len(MOLECULES)
    assert len(both.embedded.lakehouse.load("vqe_iterations").snapshots()) > len(MOLECULES)
    assert table.inspect.files().num_rows > len(MOLECULES)


def test_a_second_run_on_either_engine_adds_no_snapshot(both: Both) -> None:
    before = snapshots(both.spark)
    for one in (both.spark, embedded(both.spark)):
        one.ingest().run("LiH")
        one.ml_features().run("LiH")
    assert snapshots(both.spark) == before


def test_each_engine_reads_the_tables_and_tags_of_the_other(both: Both, driver: SparkDriver) -> None:
    turns = (both.spark, embedded(both.spark), both.spark)
    for number, one in enumerate(turns):
        land(one, [number], "BH")
        one.ingest().run("BH")
        one.ml_features().run("BH")
    lakehouse = both.spark.lakehouse
    for name in ("vqe_iterations", *ML):
        tags = [ref for ref in lakehouse.load(name).refs() if ref != "main"]
        assert len(tags) == len(MOLECULES) + len(turns), name
        for tag in tags:
            keys = [(key, "ascending") for key in schemas.table(name).key]
            rows = driver.session.sql(f"select * from {name} version as of '{tag}'").toArrow().sort_by(keys)
            assert rows.to_pylist() == lakehouse.arrow(name, as_of=tag).sort_by(keys).to_pylist(), (name, tag)
    assert_at_rest(both.spark, (*MOLECULES, "BH"))


# Begun on one engine, finished by the other


@pytest.mark.parametrize("first", ["embedded", "spark"])
@pytest.mark.parametrize(
    ("owner", "method", "calls"),
    [
        (None, "stage", 1),
        (Ledger, "claim", 1),
        (Lakehouse, "append", 1),
        (Ledger, "record_commits", 1),
        (Lakehouse, "append", 10),
        (Ledger, "finish_batch", 1),
    ],
)
def test_what_one_engine_began_the_other_finishes(
    fresh: Installation, monkeypatch: pytest.MonkeyPatch, first: str, owner: type | None, method: str, calls: int
) -> None:
    beginner, finisher = (fresh, embedded(fresh)) if first == "spark" else (embedded(fresh), fresh)
    land(fresh, [0, 1])
    undo = killed_after(monkeypatch, owner or type(beginner.engine), method, calls)
    with pytest.raises(Killed):
        beginner.ingest().run("H2")
    undo()
    land(fresh, [1], name="redelivered")
    land(fresh, [2])
    finisher.ingest().run("H2")
    assert content(fresh) == undisturbed(h2(0, 1, 2))
    assert_at_rest(fresh)


@pytest.mark.parametrize("first", ["embedded", "spark"])
@pytest.mark.parametrize(("method", "calls"), [("append", 1), ("append", 2)])
def test_ml_tables_that_one_engine_began_the_other_finishes(
    both: Both, monkeypatch: pytest.MonkeyPatch, first: str, method: str, calls: int
) -> None:
    beginner, finisher = (both.spark, embedded(both.spark)) if first == "spark" else (embedded(both.spark), both.spark)
    number = 10 * calls + (first == "spark")
    before = {name: both.spark.lakehouse.arrow(name).num_rows for name in ML}
    land(both.spark, [number], "N2")
    finisher.ingest().run("N2")
    undo = killed_after(monkeypatch, Lakehouse, method, calls)
    with pytest.raises(Killed):
        beginner.ml_features().run("N2")
    undo()
    finisher.ml_features().run("N2")
    added = {name: both.spark.lakehouse.arrow(name).num_rows - before[name] for name in ML}
    assert added == {"ml_iteration_features": 4, "ml_run_summary": 1}
    assert_at_rest(both.spark, ("N2",))


def test_a_resume_uses_what_was_staged_not_the_object_that_was_overwritten(
    fresh: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(fresh, [0, 1])
    undo = killed_after(monkeypatch, Lakehouse, "append", 3)
    with pytest.raises(Killed):
        fresh.ingest().run("H2")
    undo()
    for info in list(fresh.store.list_objects("experiments/")):
        fresh.store.put(info.key, record_bytes(2))
    fresh.ingest().run("H2")
    assert content(fresh) == undisturbed(h2(0, 1, 2))
    assert_at_rest(fresh)


def test_a_lost_staging_file_is_an_error_that_a_rebuild_heals(
    fresh: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(fresh, [0, 1])
    undo = killed_after(monkeypatch, Lakehouse, "append", 2)
    with pytest.raises(Killed):
        fresh.ingest().run("H2")
    undo()
    fresh.store.delete(next(fresh.store.list_objects("staging/")).key)
    resumed = on_spark(fresh, fresh.spark.open())
    with pytest.raises(StagingLostError, match="rebuild H2"):
        resumed.ingest().run("H2")
    resumed.ingest().run("H2", rebuild=True)
    assert content(fresh) == undisturbed(h2(0, 1))
    assert_at_rest(fresh)


def test_a_batch_that_another_process_finishes_meanwhile_is_left_to_it(
    fresh: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(fresh, [0, 1])
    original = SparkEngine.rows

    def overtaken(engine: SparkEngine, *arguments: Any) -> Any:
        rows = original(engine, *arguments)
        embedded(fresh).ingest().run("H2")
        return rows

    monkeypatch.setattr(SparkEngine, "rows", overtaken)
    assert set(fresh.ingest().run("H2").rows.values()) == {0}
    assert content(fresh) == undisturbed(h2(0, 1))
    assert_at_rest(fresh)


def test_rows_are_written_again_for_a_table_that_is_partitioned_otherwise_by_then(
    fresh: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(fresh, [0, 1])
    original = Lakehouse.append

    def repartitioned(lakehouse: Lakehouse, name: str, *arguments: Any) -> Any:
        if name == "vqe_results":
            # The first table's rows have been asked for, so all files are written.
            with lakehouse.load(name).update_spec() as spec:
                spec.add_identity("optimizer")
        return original(lakehouse, name, *arguments)

    monkeypatch.setattr(Lakehouse, "append", repartitioned)
    fresh.ingest().run("H2")
    assert content(fresh) == undisturbed(h2(0, 1))
    files = fresh.lakehouse.load("vqe_results").inspect.files().to_pylist()
    assert {file["partition"]["optimizer"] for file in files} == {"COBYLA"}
    assert_at_rest(fresh)


# Calls on executors


def test_results_come_in_the_order_of_the_calls(driver: SparkDriver) -> None:
    assert spread(driver.session, lambda number: number * number, 17) == [number * number for number in range(17)]
    assert spread(driver.session, lambda number: number, 0) == []


def test_a_missing_object_is_the_same_error_here_as_on_an_executor(driver: SparkDriver) -> None:
    def read(number: int) -> None:
        if number == 1:
            raise ObjectMissingError("staging/x.arrow")

    with pytest.raises(ObjectMissingError, match=r"staging/x\.arrow"):
        spread(driver.session, read, 3)


def test_an_error_that_every_attempt_meets_names_itself(driver: SparkDriver) -> None:
    from pyspark.errors import PythonException

    def fails(number: int) -> None:
        raise ZeroDivisionError("on purpose")

    with pytest.raises(PythonException, match="on purpose"):
        spread(driver.session, fails, 1)


def test_nothing_that_executors_get_holds_the_catalog(fresh: Installation) -> None:
    target = fresh.lakehouse.write_target(fresh.lakehouse.load("molecules"))
    assert "catalog.db" not in str(target)
    assert isinstance(embedded(fresh).engine, EmbeddedEngine) and isinstance(fresh.ingest(), Ingest)
