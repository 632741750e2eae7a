"""Every asset check passes on sound tables and catches the violation it is there for."""

from __future__ import annotations

import json
from collections.abc import Callable

import dagster as dg
import pyarrow as pa
import pytest

from qpipe_assets.checks import CHECKS
from qpipe_assets.tables import schemas
from qpipe_resources.deployment import resources_for
from tests.dagster_layer.conftest import Deployment
from tests.synthetic import plain_record


@pytest.fixture
def sound(deployment: Deployment) -> Deployment:
    """A deployment with two runs of LiH and one of N2 in all tables."""
    deployment.drop(1), deployment.drop(2), deployment.drop(3, "N2")
    deployment.ingest("LiH", "N2")
    return deployment


def failed(deployment: Deployment, partition: str | None = None) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    """Asset and name of the checks that do not pass, for one molecule or for all."""
    job = dg.Definitions(
        asset_checks=CHECKS,
        jobs=[dg.define_asset_job("checks", dg.AssetSelection.all_asset_checks())],
        resources=dict(resources_for("local")),
    ).resolve_job_def("checks")
    tags = {} if partition is None else {"dagster/partition": partition}
    result = job.execute_in_process(instance=deployment.instance, tags=tags)
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    assert len(evaluations) == sum(len(list(check.check_specs)) for check in CHECKS)
    return {(e.asset_key.path[-1], e.check_name): e for e in evaluations if not e.passed}


def plant(deployment: Deployment, table: str, change: Callable[[pa.Table], pa.Table], molecule: str = "LiH") -> None:
    """Append changed copies of a molecule's rows, as a faulty writer would."""
    lakehouse = deployment.installation.lakehouse
    rows = lakehouse.sql(f"select * from {table} where molecule = '{molecule}'", [table])
    lakehouse.append(table, change(rows).cast(schemas.table(table).arrow_schema()), "planted")


def replaced(**values: object) -> Callable[[pa.Table], pa.Table]:
    """Copies of the rows with other values in some columns."""

    def change(rows: pa.Table) -> pa.Table:
        for name, value in values.items():
            position = rows.schema.get_field_index(name)
            kind = rows.schema.field(name).type
            rows = rows.set_column(position, name, pa.array([value] * rows.num_rows, kind))
        return rows

    return change


def test_sound_tables_pass_every_check(sound: Deployment) -> None:
    assert failed(sound) == {}


@pytest.mark.parametrize("table", ["molecules", "iteration_parameters", "ml_iteration_features", "ml_run_summary"])
def test_a_row_that_is_there_twice_is_caught_with_its_key(sound: Deployment, table: str) -> None:
    plant(sound, table, lambda rows: rows.slice(0, 1))
    found = failed(sound)
    assert set(found) == {(table, "keys_unique")}
    verdict = found[table, "keys_unique"]
    assert verdict.metadata["violations"].value == 1
    [example] = verdict.metadata["examples"].value
    assert example["rows"] == 2 and set(example) == {*schemas.table(table).key, "rows"}


def test_a_run_checks_its_own_molecules_rows(sound: Deployment) -> None:
    plant(sound, "vqe_results", lambda rows: rows.slice(0, 1), "N2")
    assert failed(sound, "LiH") == {}
    assert set(failed(sound, "N2")) == {("vqe_results", "keys_unique")}


def test_a_result_without_iterations_is_caught(sound: Deployment) -> None:
    plant(sound, "vqe_results", lambda rows: replaced(experiment_id="f" * 64)(rows).slice(0, 1))
    assert set(failed(sound)) == {("vqe_iterations", "iterations_for_every_result")}


@pytest.mark.parametrize("table", schemas.ML_NAMES)
def test_a_missing_feature_is_caught(sound: Deployment, table: str) -> None:
    with pytest.raises(ValueError, match="optimizer"):
        plant(sound, table, replaced(experiment_id="f" * 64, optimizer=None))
    # The schema refuses it; a table of another writer may not, so the column is made optional first.
    iceberg = sound.installation.lakehouse.load(table)
    with iceberg.update_schema(allow_incompatible_changes=True) as update:
        update.update_column("optimizer", required=False)
    lakehouse = sound.installation.lakehouse
    rows = lakehouse.sql(f"select * from {table} where molecule = 'LiH'", [table])
    changed = replaced(experiment_id="f" * 64, optimizer=None)(rows)
    fields = [f.with_nullable(f.name == "optimizer" or f.nullable) for f in schemas.table(table).arrow_schema()]
    lakehouse.append(table, changed.slice(0, 1).cast(pa.schema(fields)), "planted")
    assert set(failed(sound)) == {(table, "required_features_not_null")}


def test_a_valid_energy_below_the_exact_one_is_an_error_and_an_invalid_run_a_warning(deployment: Deployment) -> None:
    for number, verdict in enumerate([{"valid": True}, {"valid": False, "invalid_reason": "lost an electron"}]):
        record = plain_record(number, "LiH") | {"total_energy": -7.9, "fci_energy": -7.8} | verdict
        path = deployment.drop(number)
        path.write_text(json.dumps(record))
    deployment.ingest("LiH")
    found = failed(deployment)
    below = found["vqe_results", "valid_energies_not_below_exact"]
    invalid = found["vqe_results", "no_invalid_runs"]
    assert len(found) == 2
    assert (below.severity, below.metadata["violations"].value) == (dg.AssetCheckSeverity.ERROR, 1)
    assert (invalid.severity, invalid.metadata["violations"].value) == (dg.AssetCheckSeverity.WARN, 1)
    assert invalid.metadata["examples"].value[0]["invalid_reason"] == "lost an electron"


@pytest.mark.parametrize(("standard_error", "fails"), [(0.01, False), (0.001, True)])
def test_a_sampled_energy_may_be_below_the_exact_one_by_chance(
    deployment: Deployment, standard_error: float, fails: bool
) -> None:
    energies = {"total_energy": -7.82, "fci_energy": -7.8, "energy_standard_error": standard_error}
    deployment.drop(0).write_text(json.dumps(plain_record(0, "LiH") | energies | {"valid": True}))
    deployment.ingest("LiH")
    assert (("vqe_results", "valid_energies_not_below_exact") in failed(deployment)) is fails


def test_a_snapshot_without_a_tag_or_with_two_is_caught(sound: Deployment) -> None:
    lakehouse = sound.installation.lakehouse
    molecules = lakehouse.load("molecules")
    molecules.manage_snapshots().create_tag(molecules.current_snapshot().snapshot_id, "mine").commit()
    untagged = lakehouse.load("vqe_results")
    untagged.append(
        replaced(experiment_id="f" * 64)(lakehouse.arrow("vqe_results"))
        .slice(0, 0)
        .cast(schemas.table("vqe_results").arrow_schema())
    )
    found = failed(sound)
    assert set(found) == {("processing_metadata", "one_tag_a_snapshot")}
    examples = found["processing_metadata", "one_tag_a_snapshot"].metadata["examples"].value
    assert {(e["table"], len(e["tags"])) for e in examples} == {("molecules", 2), ("vqe_results", 0)}


def test_a_quarantined_object_is_listed_until_it_is_replaced(deployment: Deployment) -> None:
    path = deployment.drop(1)
    sound = path.read_text()
    path.write_text(sound[:100])
    deployment.ingest("LiH")
    found = failed(deployment)
    assert set(found) == {("raw_vqe_objects", "nothing_quarantined")}
    [listed] = found["raw_vqe_objects", "nothing_quarantined"].metadata["examples"].value
    assert listed["object"] == "experiments/experiment.vqe/1-LiH.json"
    path.write_text(sound)
    deployment.ingest("LiH")
    assert failed(deployment) == {}


def test_dead_letters_are_told_with_their_reasons_until_they_land(deployment: Deployment) -> None:
    from qpipe_assets.kafka_sink import dead_letters
    from tests.fake_kafka import FakeMessage

    deployment.drop(1)
    deployment.ingest("LiH")
    store = deployment.installation.store
    for offset in range(7):
        message = FakeMessage(offset, b"?")
        dead_letters.bury(store, dead_letters.letter_of(message, f"reason {offset}"), message.value)
    found = failed(deployment)
    assert set(found) == {("raw_vqe_objects", "no_dead_letters")}
    result = found["raw_vqe_objects", "no_dead_letters"]
    assert result.severity is dg.AssetCheckSeverity.WARN
    assert result.metadata["violations"].value == 7
    listed = result.metadata["examples"].value
    assert listed[0] == {"message": "experiment.vqe+0+6", "reason": "reason 6"} and len(listed) == 5
    for letter, _ in list(dead_letters.letters(store, "experiment.vqe")):
        dead_letters.remove(store, letter)
    assert failed(deployment) == {}
