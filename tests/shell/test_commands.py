"""The README's Dagster commands, each in a shell of its own; those that enqueue, with a daemon running."""

from __future__ import annotations

import json
import re
from pathlib import Path

import psutil
import pytest

from tests.daemon import Daemon, Shell, wait_for
from tests.synthetic import plain_record

pytestmark = [pytest.mark.xdist_group("daemon"), pytest.mark.timeout(900)]

FOLDER = Path("raw-results/experiments/experiment.vqe")
EVENTS = """query($run: ID!) { runOrError(runId: $run) { ... on Run {
  eventConnection { events { ... on MessageEvent { message } } } } } }"""
CATALOGUE = {"H2", "HeH+", "LiH", "BeH2", "H2O", "NH3", "CO2", "N2", "He2", "BeH", "BH", "CH4"}


def put(shell: Shell, name: str, number: int, molecule: str) -> None:
    folder = shell.home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(plain_record(number, molecule)))


def of_bh(daemon: Daemon) -> str | None:
    """The first run for BH that was asked for."""
    mine = [run["runId"] for run in daemon.runs() if run["tags"].get("dagster/partition") == "BH"]
    return mine[-1] if mine else None


def process_of(daemon: Daemon, run: str) -> psutil.Process | None:
    """The process that executes a run, as soon as it has told its number."""
    events = daemon.graphql(EVENTS, run=run)["runOrError"]["eventConnection"]["events"]
    told = re.search(r"Started process for run \(pid: (\d+)\)", "\n".join(event.get("message", "") for event in events))
    return psutil.Process(int(told[1])) if told else None


@pytest.fixture(scope="session")
def killed_run(daemon: Daemon) -> str:
    """A run that the sensor asked for, killed while it was starting: its identity."""
    put(daemon.shell, "9-900.json", 9, "BH")
    run = wait_for(lambda: of_bh(daemon), "the sensor's run")
    wait_for(lambda: process_of(daemon, run), "the run's process").kill()
    return run


def test_a_killed_run_ends_as_a_failure(daemon: Daemon, killed_run: str) -> None:
    wait_for(lambda: [r for r in daemon.runs() if (r["runId"], r["status"]) == (killed_run, "FAILURE")], "its failure")
    assert daemon.shell.sql("select count(*) n from ml_run_summary where molecule = 'BH'") == [{"n": 0}]


def test_definitions_validate(shell: Shell) -> None:
    done = shell.run("dagster", "definitions", "validate", "-w", "workspace.yaml")
    assert "All code locations passed validation" in done.stdout + done.stderr


def test_asset_materialize_brings_one_molecule_from_object_to_ml_rows(shell: Shell) -> None:
    put(shell, "1-100.json", 1, "LiH")
    selection = 'key:"raw_vqe_objects"+'
    shell.run("dagster", "asset", "materialize", "-m", "jobs.definitions", "--select", selection, "--partition", "LiH")
    assert shell.sql("select molecule, count(*) n from vqe_iterations group by 1") == [{"molecule": "LiH", "n": 12}]
    assert shell.sql("select molecule, total_iterations t from ml_run_summary") == [{"molecule": "LiH", "t": 12}]


def test_the_catalogue_is_there_as_partitions_from_the_first_start(daemon: Daemon) -> None:
    answer = daemon.graphql('{assetNodeOrError(assetKey:{path:["vqe_runs"]}){... on AssetNode{partitionKeys}}}')
    assert set(answer["assetNodeOrError"]["partitionKeys"]) >= CATALOGUE


def test_job_launch_of_one_molecule_succeeds(daemon: Daemon) -> None:
    daemon.shell.run(
        *("dagster", "job", "launch", "-w", "workspace.yaml", "-j", "quantum_feature_processing"),
        *("--tags", json.dumps({"dagster/partition": "H2", "test": "launch"})),
    )
    daemon.wait_for_runs(lambda run: run["tags"].get("test") == "launch")


def test_backfill_over_three_molecules_makes_three_runs(daemon: Daemon) -> None:
    daemon.shell.run(
        *("dagster", "job", "backfill", "-w", "workspace.yaml", "-j", "quantum_feature_processing"),
        *("--partitions", "H2,HeH+,LiH", "--noprompt"),
    )
    runs = daemon.wait_for_runs(lambda run: "dagster/backfill" in run["tags"], count=3)
    assert {run["tags"]["dagster/partition"] for run in runs} == {"H2", "HeH+", "LiH"}


def test_the_sensor_turns_a_copied_file_into_rows_of_all_tables(daemon: Daemon) -> None:
    put(daemon.shell, "7-700.json", 7, "N2")
    daemon.wait_for_runs(lambda run: run["jobName"] == "molecule_processing" and "N2" in run["tags"].values())
    assert daemon.shell.sql("select count(*) n from ml_run_summary where molecule = 'N2'") == [{"n": 1}]


def test_the_sensor_asks_again_for_what_a_failed_run_left(daemon: Daemon, killed_run: str) -> None:
    daemon.wait_for_runs(lambda run: run["tags"].get("dagster/partition") == "BH" and run["runId"] != killed_run)
    assert daemon.shell.sql("select count(*) n from ml_run_summary where molecule = 'BH'") == [{"n": 1}]
