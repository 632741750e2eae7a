"""Adopting warehouses that a real Spark has written with the Hadoop catalog, in the forms of the field's scripts."""

from __future__ import annotations

import copy
import datetime as dt
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from qpipe_assets.adoption.adoption import TOPIC, Adoption
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_cli.main import app
from qpipe_resources.hadoop_warehouse import HadoopWarehouse
from qpipe_resources.registration import RegistrationRefusedError
from tests import crash_worker
from tests.crash_worker import Step, Worker
from tests.spark import hadoop_warehouse
from tests.tables.protocol import (
    Content,
    assert_at_rest,
    content,
    h2,
    land,
    record_bytes,
    run_trials,
    settings_in,
    undisturbed,
)
from tests.tables.test_kills import Kills

pytestmark = pytest.mark.spark


def record(number: int, molecule: str = "H2") -> dict[str, Any]:
    return json.loads(record_bytes(number, molecule))


def at_rest(number: int) -> dict[str, Any]:
    """A run whose parameters are all the same, which hashes cannot tell apart."""
    made = record(number)
    made["vqe_result"]["initial_data"]["initial_parameters"] = [0.0, 0.0]
    return made


def another_run_of(given: dict[str, Any]) -> dict[str, Any]:
    """The same experiment with another outcome, to which the scripts give the same identity."""
    made = copy.deepcopy(given)
    made["vqe_result"]["minimum"] -= 0.001
    return made


COLLIDING = [record(4), another_run_of(record(4))]
FORMS = {
    # Delivered twice in the first batch, and one run more in the second.
    "avro": [[record(0), record(1, "LiH"), record(1, "LiH")], [record(2)]],
    "json": [[record(0), record(1, "LiH"), at_rest(5), *COLLIDING]],
    # All runs are written anew with each batch, under new identities.
    "v1": [[record(0), record(1, "LiH") | {"molecule_id": 1}]] * 2,
}


@pytest.fixture(scope="module")
def warehouses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A warehouse of each form."""
    root = tmp_path_factory.mktemp("hadoop")
    plan = [{"location": str(root / form), "form": form, "batches": batches} for form, batches in FORMS.items()]
    (root / "plan.json").write_text(json.dumps({"warehouses": plan, "options": {}}))
    command = [sys.executable, "-m", hadoop_warehouse.__name__, str(root / "plan.json")]
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, timeout=300)
    return {form: root / form for form in FORMS}


def adoption(installation: Installation, warehouse: Path) -> Adoption:
    return Adoption(installation, HadoopWarehouse.at(str(warehouse), installation.settings))


def seconds_of(folder: Path, step: Step, after: Step = ("open", "")) -> float:
    """How long an undisturbed step takes here, in an installation that another one has prepared."""
    settings = settings_in(folder)
    crash_worker.run(settings, after)
    return crash_worker.run(settings, step)


def data_files(warehouse: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in warehouse.rglob("*.parquet")}


def everything(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def counts(installation: Installation) -> dict[str, int]:
    return {name: installation.lakehouse.arrow(name).num_rows for name in schemas.NORMALIZED_NAMES}


def in_columns_of(installation: Installation, expected: Content) -> Content:
    """The same rows with their columns in the order of our tables, which may be older than their declaration."""
    order = {name: [c for c in installation.lakehouse.arrow(name).column_names] for name in expected}
    return {name: [{c: row[c] for c in order[name] if c in row} for row in rows] for name, rows in expected.items()}


# In place


@pytest.fixture(scope="module")
def registered(warehouses: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation whose tables are those of the warehouse in Avro's types."""
    installation = open_installation(settings_in(tmp_path_factory.mktemp("registered")))
    before = data_files(warehouses["avro"])
    outcome = adoption(installation, warehouses["avro"]).register()
    assert (len(outcome.registered), outcome.known, outcome.adopted, outcome.refused) == (10, 0, 3, ())
    assert data_files(warehouses["avro"]) == before
    return installation


def test_registered_tables_hold_the_scripts_rows_and_null_where_they_lack_a_column(registered: Installation) -> None:
    query = "select minimum_energy, molecule, total_energy from vqe_results order by processing_date, 1"
    rows = registered.lakehouse.sql(query, ["vqe_results"]).to_pylist()
    wanted = [[r["vqe_result"]["minimum"] for r in batch] for batch in FORMS["avro"]]
    expected = [*sorted(wanted[0]), *wanted[1]]
    assert rows == [{"minimum_energy": energy, "molecule": None, "total_energy": None} for energy in expected]
    for name in schemas.NORMALIZED_NAMES:
        assert sorted(registered.lakehouse.arrow(name).column_names) == sorted(schemas.table(name).column_names)


def test_the_scripts_tags_still_travel_in_time(registered: Installation) -> None:
    tags = [tag for tag in registered.lakehouse.load("vqe_results").refs() if tag != "main"]
    rows = {tag.startswith("v_incr_"): registered.lakehouse.arrow("vqe_results", tag).num_rows for tag in tags}
    assert rows == {False: 3, True: 4}


def test_registering_again_changes_nothing(registered: Installation, warehouses: dict[str, Path]) -> None:
    before = everything(warehouses["avro"])
    locations = {name: registered.lakehouse.load(name).metadata_location for name in schemas.NORMALIZED_NAMES}
    outcome = adoption(registered, warehouses["avro"]).register()
    assert (outcome.registered, outcome.known, outcome.adopted) == ((), 3, 0)
    assert everything(warehouses["avro"]) == before
    assert {n: registered.lakehouse.load(n).metadata_location for n in locations} == locations


def test_raw_objects_of_adopted_runs_are_duplicates_and_new_runs_are_appended(registered: Installation) -> None:
    before = counts(registered)
    land(registered, [0, 2])
    land(registered, [1], "LiH")
    for molecule in ("H2", "LiH"):
        report = registered.ingest().run(molecule)
        assert report.duplicates and not any(report.rows.values())
    assert counts(registered) == before
    land(registered, [7])
    registered.ingest().run("H2")
    registered.ml_features().run("H2")
    expected = {name: before[name] + len(rows) for name, rows in undisturbed(h2(7)).items()}
    assert counts(registered) == expected
    assert registered.lakehouse.arrow("ml_run_summary").num_rows == 1
    # A rebuild of the molecule takes its own rows away, and not those of which it has no object.
    registered.ingest().run("H2", rebuild=True)
    assert counts(registered) == expected


def test_maintenance_of_registered_tables_loses_nothing(registered: Installation) -> None:
    before = content(registered)
    registered.maintenance().run(now=dt.datetime.now(dt.UTC) + crash_worker.LATER)
    assert content(registered) == before


def test_a_warehouse_that_the_scripts_went_on_writing_is_told(
    installation: Installation, warehouses: dict[str, Path]
) -> None:
    assert adoption(installation, warehouses["v1"]).register().adopted == 2
    folder = warehouses["v1"] / schemas.NAMESPACE / "vqe_results" / "metadata"
    written = json.loads((folder / "v4.metadata.json").read_text())
    later = folder / "v5.metadata.json"
    written["current-snapshot-id"] = written["refs"]["main"]["snapshot-id"] = written["snapshots"][0]["snapshot-id"]
    later.write_text(json.dumps(written))
    try:
        with pytest.raises(RegistrationRefusedError, match="vqe_results: the warehouse was written to since"):
            adoption(installation, warehouses["v1"]).register()
    finally:
        later.unlink()


def test_tables_are_not_registered_where_ours_hold_rows(
    installation: Installation, warehouses: dict[str, Path]
) -> None:
    land(installation, [9])
    installation.ingest().run("H2")
    before = content(installation), everything(warehouses["avro"])
    with pytest.raises(RegistrationRefusedError, match="molecules: ours holds rows"):
        adoption(installation, warehouses["avro"]).register()
    assert (content(installation), everything(warehouses["avro"])) == before


def test_tables_of_other_types_are_not_registered(installation: Installation, warehouses: dict[str, Path]) -> None:
    before = everything(warehouses["json"])
    with pytest.raises(
        RegistrationRefusedError, match=r"molecules\.molecule_id is long, expected int; .* and \d+ more, see --dry-run"
    ):
        adoption(installation, warehouses["json"]).register()
    assert everything(warehouses["json"]) == before
    assert set(counts(installation).values()) == {0}


def test_a_registration_killed_at_any_moment_is_all_or_nothing(warehouses: dict[str, Path], tmp_path: Path) -> None:
    found: list[int] = []
    kills = Kills(seconds_of(tmp_path, ("adopt", str(warehouses["avro"]))))

    def trial(folder: Path, chance: random.Random) -> None:
        settings = settings_in(folder)
        installation = open_installation(settings)
        kills.strike(Worker(settings, [("adopt", str(warehouses["avro"]))]), chance)
        rows = counts(installation)
        assert set(rows.values()) == {0} or 0 not in rows.values()
        found.append(rows["molecules"])
        crash_worker.run(settings, ("adopt", str(warehouses["avro"])))
        assert counts(installation)["vqe_results"] == 4
        land(installation, [0])
        assert installation.ingest().run("H2").duplicates == 1

    run_trials(trial, 4, first_seed=70_000, enough=lambda: 0 in found)
    assert 0 in found, f"no kill came before the end: {kills}"


# Anew


@pytest.fixture(scope="module")
def rewritten(warehouses: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation that has taken the runs of the warehouse of inferred types."""
    installation = open_installation(settings_in(tmp_path_factory.mktemp("rewritten")))
    before = everything(warehouses["json"])
    outcome = adoption(installation, warehouses["json"]).rewrite()
    assert (outcome.registered, outcome.known, outcome.adopted) == ((), 0, 3)
    assert [reason.partition(": ")[2] for reason in outcome.refused] == [
        "2 different runs share its key in vqe_results"
    ]
    assert everything(warehouses["json"]) == before
    return installation


def test_rewritten_runs_equal_their_records_ingested(rewritten: Installation, installation: Installation) -> None:
    land(installation, [0])
    land(installation, [1], "LiH")
    key = "experiments/experiment.vqe/molecule=H2/year=2026/month=11/day=21/at-rest.json"
    installation.store.put(key, json.dumps(at_rest(5)).encode())
    for molecule in ("H2", "LiH"):
        installation.ingest().run(molecule)
        installation.ml_features().run(molecule)
    every = (*schemas.NORMALIZED_NAMES, *schemas.ML_NAMES)
    assert content(rewritten, every) == content(installation, every)
    assert_at_rest(rewritten, ("H2", "LiH"))


def test_rewriting_again_adds_nothing_and_neither_do_the_raw_objects(
    rewritten: Installation, warehouses: dict[str, Path]
) -> None:
    before = content(rewritten)
    assert adoption(rewritten, warehouses["json"]).rewrite().adopted == 0
    # The same executions in the other forms, and as they were delivered.
    assert adoption(rewritten, warehouses["v1"]).rewrite().adopted == 0
    land(rewritten, [0])
    assert rewritten.ingest().run("H2").duplicates == 1
    assert content(rewritten) == before
    rewritten.ingest().run("H2", rebuild=True)
    assert content(rewritten) == before
    assert_at_rest(rewritten, ("H2", "LiH"))


def test_runs_of_the_first_scripts_are_joined_by_batch_and_taken_once(
    installation: Installation, warehouses: dict[str, Path]
) -> None:
    taken = adoption(installation, warehouses["v1"])
    assert taken.rewrite().adopted == 2
    assert (len(taken.runs.usable), taken.runs.repeated) == (2, 2)
    assert_at_rest(installation, ("H2", "LiH"))
    kept = ("molecule", "minimum_energy", "optimizer", "total_iterations", "basis_set", "default_shots")
    expected = undisturbed(frozenset({("H2", 0), ("LiH", 1)}))

    def without_ids(found: Content, name: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        return sorted(tuple(row[column] for column in columns) for row in found[name])

    found = content(installation)
    steps = ("molecule", "iteration_step", "parameter_index", "parameter_value")
    assert without_ids(found, "vqe_results", kept) == without_ids(expected, "vqe_results", kept)
    assert without_ids(found, "iteration_parameters", steps) == without_ids(expected, "iteration_parameters", steps)
    # Their records know less, so they have identities of their own; their raw objects are known all the same.
    land(installation, [0])
    assert installation.ingest().run("H2").duplicates == 1
    assert content(installation) == found


def test_objects_that_have_landed_go_before_records_made_again(
    installation: Installation, warehouses: dict[str, Path]
) -> None:
    land(installation, [0])
    outcome = adoption(installation, warehouses["v1"]).rewrite()
    assert (outcome.known, outcome.adopted) == (1, 1)
    made_again = [info.key for info in installation.store.list_objects(f"experiments/{TOPIC}/")]
    assert len(made_again) == 1 and "molecule=LiH" in made_again[0]


def test_a_rewrite_killed_at_any_moment_is_finished_by_the_next(
    rewritten: Installation, warehouses: dict[str, Path], tmp_path: Path
) -> None:
    step = ("rewrite", str(warehouses["json"]))
    kills = Kills(seconds_of(tmp_path, step))

    def trial(folder: Path, chance: random.Random) -> None:
        settings = settings_in(folder)
        kills.strike(Worker(settings, [step]), chance)
        crash_worker.run(settings, step)
        installation = open_installation(settings)
        assert content(installation) == content(rewritten)
        assert_at_rest(installation, ("H2", "LiH"))

    run_trials(trial, 4, first_seed=71_000, enough=lambda: kills.hits >= 2)
    assert kills.hits >= 2, f"only {kills}"


@contextmanager
def without_hadoop_metadata(warehouse: Path) -> Iterator[None]:
    """As it is after some commits of ours, which keep a bounded number of metadata files."""
    files = list(warehouse.rglob("v*.metadata.json"))
    for file in files:
        file.rename(file.with_suffix(".hidden"))
    try:
        yield
    finally:
        for file in files:
            file.with_suffix(".hidden").rename(file)


def test_rewriting_replaces_the_rows_that_were_registered_in_place(
    installation: Installation, warehouses: dict[str, Path]
) -> None:
    adoption(installation, warehouses["avro"]).register()
    land(installation, [7])
    installation.ingest().run("H2")
    tags = set(installation.lakehouse.load("vqe_results").refs())
    with without_hadoop_metadata(warehouses["avro"]):
        assert adoption(installation, warehouses["avro"]).register().known == 3
        outcome = adoption(installation, warehouses["avro"]).rewrite()
        assert (outcome.known, outcome.adopted, outcome.refused) == (0, 3, ())
        expected = undisturbed(h2(0, 2, 7) | {("LiH", 1)})
        assert content(installation, expected) == in_columns_of(installation, expected)
        assert tags <= set(installation.lakehouse.load("vqe_results").refs())
        assert adoption(installation, warehouses["avro"]).rewrite().adopted == 0
        assert content(installation, expected) == in_columns_of(installation, expected)


def test_a_rewrite_of_registered_rows_killed_at_any_moment_is_finished_by_the_next(
    warehouses: dict[str, Path], tmp_path: Path
) -> None:
    expected = undisturbed(frozenset({("H2", 0), ("H2", 2), ("LiH", 1)}))
    where = str(warehouses["avro"])
    kills = Kills(seconds_of(tmp_path, ("rewrite", where), after=("adopt", where)))

    def trial(folder: Path, chance: random.Random) -> None:
        settings = settings_in(folder)
        crash_worker.run(settings, ("adopt", where))
        kills.strike(Worker(settings, [("rewrite", where)]), chance)
        crash_worker.run(settings, ("rewrite", where))
        installation = open_installation(settings)
        assert content(installation) == in_columns_of(installation, expected)

    run_trials(trial, 2, first_seed=72_000)


def test_rows_that_make_no_record_stay_as_they_were_registered(
    installation: Installation, warehouses: dict[str, Path]
) -> None:
    ours = adoption(installation, warehouses["avro"])
    ours.register()
    (lih,) = [run for run in ours.runs.usable.values() if run.molecule == "LiH"]
    # One evaluation more than there are rows.
    lih.row["total_iterations"] += 1
    outcome = ours.rewrite()
    assert outcome.adopted == 2 and "4 of its 5 evaluations" in outcome.refused[0]
    query = "select count(*) n, count(molecule) ours from vqe_results"
    assert installation.lakehouse.sql(query, ["vqe_results"]).to_pylist() == [{"n": 4, "ours": 2}]
    # What stays is known to the ledger as before.
    land(installation, [1], "LiH")
    assert installation.ingest().run("LiH").duplicates == 1


# The command


def test_a_dry_run_tells_what_is_there_and_changes_nothing(
    warehouses: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QPIPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    before = everything(warehouses["json"])
    result = CliRunner().invoke(app, ["adopt", str(warehouses["json"]), "--dry-run", "--format", "json"])
    assert result.exit_code == 0, result.output
    assert everything(warehouses["json"]) == before
    tables = {row["table"]: row for row in json.loads(result.stdout)}
    # Two parameters of zero in a run that is at rest; and two runs that share every key.
    assert tables["initial_parameters"]["colliding_ids"] == 2 + 4
    assert tables["vqe_results"]["colliding_ids"] == 2
    assert tables["vqe_results"]["hidden_columns"] == ["exact_estimator"]
    assert "vqe_results.maxcv is string, expected double" in tables["vqe_results"]["conflicts"]
    assert "3 runs" in result.stderr
    assert set(counts(open_installation(settings_in(tmp_path))).values()) == {0}


@pytest.mark.parametrize("name", ["nowhere", ""])
def test_what_is_no_warehouse_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QPIPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    result = CliRunner().invoke(app, ["adopt", str(tmp_path / name)])
    assert result.exit_code == 2
    assert str(tmp_path) in result.stderr and "expected" in result.stderr
