"""The qpipe command: forms of output, exit codes, provenance."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from qpipe_assets.reading import UnknownExperimentError, open_lakehouse
from qpipe_assets.tables.installation import open_installation
from tests.cli.conftest import qpipe, rows
from tests.synthetic import plain_record

OBJECTS = "experiments/experiment.vqe/molecule=H2/year=2026/month=11/day=21"


@pytest.fixture
def ingested(home: Path) -> Path:
    installation = open_installation()
    for number in range(2):
        installation.store.put(f"{OBJECTS}/{number}.json", json.dumps(plain_record(number)).encode())
        installation.ingest().run("H2")
    installation.ml_features().run("H2")
    return home


def test_tables_counts_rows_snapshots_and_tags(ingested: Path) -> None:
    by_name = {row["table"]: row for row in rows(qpipe("tables", "--format", "json"))}
    assert len(by_name) == 12
    assert by_name["vqe_results"]["rows"] == 2
    assert by_name["vqe_iterations"]["rows"] == 24
    assert by_name["vqe_results"]["snapshots"] == by_name["vqe_results"]["tags"] == 2
    assert by_name["vqe_results"]["bytes"] > 0


def test_sql_prints_csv_and_reads_the_past(ingested: Path) -> None:
    result = qpipe("sql", "select experiment_id, total_iterations from vqe_results", "--format", "csv")
    assert [row["total_iterations"] for row in csv.DictReader(io.StringIO(result.stdout))] == ["12", "12"]
    count = "select count(*) n from quantum_catalog.quantum_features.vqe_results"
    assert rows(qpipe("sql", count, "--format", "json")) == [{"n": 2}]
    sums = "select sum(step) as whole, sum(step / 4) as part from (values (1), (2)) as given(step)"
    assert rows(qpipe("sql", sums, "--format", "json")) == [{"whole": 3, "part": 0.75}]
    batches = rows(
        qpipe(
            "sql",
            "select processing_batch_id b from processing_metadata order by processing_timestamp",
            "--format",
            "json",
        )
    )
    for version in (f"v_{batches[0]['b']}", batches[0]["b"]):
        assert rows(qpipe("sql", count, "--as-of", version, "--format", "json")) == [{"n": 1}]
    assert rows(qpipe("sql", count, "--as-of", "2020-01-01", "--format", "json")) == [{"n": 0}]
    snapshot = open_lakehouse().installation.lakehouse.load("vqe_results").snapshots()[0].snapshot_id
    assert rows(qpipe("sql", count, "--as-of", str(snapshot), "--format", "json")) == [{"n": 1}]


def test_sql_errors_name_the_problem_on_standard_error(ingested: Path) -> None:
    result = qpipe("sql", "select nonsense from vqe_results")
    assert result.exit_code == 2
    assert "nonsense" in result.stderr
    assert result.stdout == ""


def test_why_tells_object_batch_and_snapshots(ingested: Path) -> None:
    (first, _) = rows(qpipe("sql", "select experiment_id e from vqe_results", "--format", "json"))
    (facts,) = rows(qpipe("why", first["e"][:12], "--format", "json"))
    assert facts["experiment_id"] == first["e"]
    assert facts["object_key"].startswith("experiments/")
    assert facts["batch_state"] == "done"
    assert len(facts["snapshots"]) == 12
    assert qpipe("why", first["e"]).exit_code == 0
    missing = qpipe("why", "ffff0000")
    assert missing.exit_code == 2
    assert "ffff0000" in missing.stderr


def test_home_prepares_dagster_and_prints_shell_lines(home: Path) -> None:
    result = qpipe("home")
    assert f"export QPIPE_HOME={home}" in result.stdout
    assert (home / "dagster" / "dagster.yaml").is_file()


def test_tables_reach_notebooks_in_three_forms_and_runs_as_records(ingested: Path) -> None:
    lakehouse = open_lakehouse(ingested)
    assert lakehouse.table("vqe_results").to_arrow().num_rows == 2
    assert len(lakehouse.table("vqe_iterations").to_pandas()) == 24
    first = min(
        lakehouse.table("processing_metadata").to_polars().rows(named=True), key=lambda r: r["processing_timestamp"]
    )
    old = lakehouse.table("vqe_results", as_of=f"v_{first['processing_batch_id']}").to_polars()
    assert old.height == 1
    identity = old["experiment_id"][0]
    assert lakehouse.record(identity[:20]).vqe_result.minimum == old["minimum_energy"][0]
    with pytest.raises(UnknownExperimentError):
        lakehouse.record("0" * 64)
    with pytest.raises(KeyError, match="vqe_result_s"):
        lakehouse.table("vqe_result_s")


def test_molecules_lists_the_catalogue_and_makes_those_of_a_file_partitions(home: Path, tmp_path: Path) -> None:
    from dagster import DagsterInstance

    listed = {row["molecule"]: row for row in rows(qpipe("molecules", "--format", "json"))}
    assert listed["HeH+"] == {"molecule": "HeH+", "atoms": 2, "electrons": 2, "charge": 1, "multiplicity": 1}
    file = tmp_path / "oxygen.json"
    file.write_text(json.dumps([{"symbols": ["O", "O"], "coords": [[0, 0, 0], [0, 0, 1.21]], "multiplicity": 3}]))
    (row,) = rows(qpipe("molecules", "-f", str(file), "--format", "json"))
    with DagsterInstance.from_config(str(home / "dagster")) as instance:
        assert row["molecule"] in instance.get_dynamic_partitions("molecule")
    assert qpipe("molecules", "-f", "absent.json").exit_code == 2
