"""The README's Dagster commands, each in a shell of its own; those that enqueue, with a daemon running."""

from __future__ import annotations

import json
from pathlib import Path

from tests.daemon import Daemon, Shell
from tests.synthetic import plain_record

FOLDER = Path("raw-results/experiments/experiment.vqe")
CATALOGUE = {"H2", "HeH+", "LiH", "BeH2", "H2O", "NH3", "CO2", "N2", "He2", "BeH", "BH", "CH4"}


def put(shell: Shell, name: str, number: int, molecule: str) -> None:
    folder = shell.home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(plain_record(number, molecule)))


def test_definitions_validate(shell: Shell) -> None:
    done = shell.run("dagster", "definitions", "validate", "-w", "workspace.yaml")
    assert "All code locations passed validation" in done.stdout + done.stderr


def test_asset_materialize_brings_one_molecule_from_object_to_ml_rows(shell: Shell) -> None:
    put(shell, "1-100.json", 1, "LiH")
    selection = 'key:"raw_vqe_objects"+'
    shell.run("dagster", "asset", "materialize", "-m", "jobs.definitions", "--select", selection, "--partition", "LiH")
    assert shell.sql("select molecule, count(*) n from vqe_iterations group by 1") == [{"molecule": "LiH", "n": 12}]
    # Downstream of the nine in the same selection, though no daemon ran.
    shell.run(
        *("dagster", "asset", "materialize", "-m", "jobs.definitions", "--partition", "LiH"),
        *("--select", "ml_iteration_features,ml_run_summary"),
    )
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
