"""The table assets: nothing twice, subsets, rebuilds, backfills, ML tables that catch up, and what the UI shows."""

from __future__ import annotations

import shutil
from typing import Any

import dagster as dg
import pytest

from jobs.definitions import ASSETS
from qpipe_assets.partitions import RANGE_TAGS
from qpipe_assets.retries import NO_RETRIES_TAG
from qpipe_assets.tables import schemas
from qpipe_resources.deployment import resources_for
from tests.dagster_layer.conftest import Deployment

THREE = ["molecules", "vqe_results", "vqe_iterations"]


def materialize(
    deployment: Deployment,
    *names: str,
    partition: str | None = "LiH",
    config: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    """Materialize assets by name, as the UI does; no names mean all tables."""
    tables = [asset for asset in ASSETS if asset.op.name != "vqe_runs"]
    return dg.materialize(
        tables,
        selection=list(names) or None,
        instance=deployment.instance,
        partition_key=partition,
        resources=dict(resources_for("local")),
        run_config={"ops": {"normalized_tables": {"config": config}}} if config else None,
        tags=tags,
    )


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str | None, dict[str, Any]]:
    """Metadata of an asset's materializations by partition."""
    return {
        m.partition: {name: value.value for name, value in m.metadata.items()}
        for m in (e.materialization for e in result.get_asset_materialization_events())
        if m.asset_key == dg.AssetKey(asset)
    }


def test_the_nine_tables_and_the_ml_tables_grow_by_what_is_new_and_only_once(deployment: Deployment) -> None:
    deployment.drop(1)
    assert deployment.run("molecule_processing", "LiH").success
    rows, snapshots = deployment.rows(), deployment.snapshots()
    assert (rows["vqe_results"], rows["vqe_iterations"], rows["ml_iteration_features"]) == (1, 12, 12)
    again = deployment.run("molecule_processing", "LiH")
    assert again.success
    assert (deployment.rows(), deployment.snapshots()) == (rows, snapshots)
    assert metadata(again, "vqe_iterations")["LiH"]["rows_added"] == 0


def test_a_materialization_tells_rows_columns_snapshot_and_tag(deployment: Deployment) -> None:
    deployment.drop(1)
    result = deployment.run("molecule_processing", "LiH")
    for table in (*schemas.NORMALIZED, *schemas.ML):
        told = metadata(result, table.name)["LiH"]
        iceberg = deployment.installation.lakehouse.load(table.name)
        assert told["rows_added"] == told["dagster/row_count"] == deployment.rows()[table.name]
        assert told["snapshot_id"] == str(iceberg.current_snapshot().snapshot_id)
        assert iceberg.refs()[told["tag"]].snapshot_id == int(told["snapshot_id"])
        assert [column.name for column in told["dagster/column_schema"].columns] == table.column_names
    assert metadata(result, "processing_metadata")["LiH"]["open_batches"] == []


def test_a_subset_leaves_the_batch_open_and_a_later_run_finishes_it(deployment: Deployment) -> None:
    deployment.drop(1)
    assert materialize(deployment, *THREE).success
    rows = deployment.rows()
    assert {name for name in rows if rows[name]} == set(THREE)
    assert len(deployment.installation.ledger.open_batches("LiH")) == 1
    audit = materialize(deployment, "processing_metadata")
    assert len(metadata(audit, "processing_metadata")["LiH"]["open_batches"]) == 1
    assert materialize(deployment).success
    rows = deployment.rows()
    assert all(rows.values())
    assert (rows["vqe_results"], rows["processing_metadata"]) == (1, 1)
    assert deployment.installation.ledger.open_batches("LiH") == []


def test_a_rebuild_replaces_the_molecules_rows_and_no_others(deployment: Deployment) -> None:
    first, _, _ = deployment.drop(1), deployment.drop(2), deployment.drop(3, "N2")
    assert materialize(deployment).success and materialize(deployment, partition="N2").success
    first.unlink()
    assert materialize(deployment).success
    assert deployment.rows()["vqe_results"] == 3
    assert materialize(deployment, config={"rebuild": True}).success
    query = "select molecule, count(*) as n from {} group by all order by all"
    for name, each in (("vqe_results", 1), ("vqe_iterations", 12), ("ml_run_summary", 1)):
        counted = deployment.installation.lakehouse.sql(query.format(name), [name]).to_pylist()
        assert counted == [{"molecule": "LiH", "n": each}, {"molecule": "N2", "n": each}]


def test_a_backfill_over_several_molecules_is_one_run_with_metadata_for_each(deployment: Deployment) -> None:
    deployment.instance.delete_dynamic_partition("molecule", "N2")
    deployment.instance.add_dynamic_partitions("molecule", ["N2"])
    keys = list(deployment.instance.get_dynamic_partitions("molecule"))
    between = keys[keys.index("LiH") :]
    assert between[-1] == "N2"
    deployment.drop(1), deployment.drop(2), deployment.drop(3, "N2")
    span = dict(zip(RANGE_TAGS, ("LiH", "N2"), strict=True))
    result = materialize(deployment, partition=None, tags=span)
    assert result.success
    told = metadata(result, "vqe_results")
    assert set(told) == set(between)
    assert {molecule: told[molecule]["rows_added"] for molecule in ("LiH", "N2", "BeH2")} == {
        "LiH": 2,
        "N2": 1,
        "BeH2": 0,
    }
    assert all(check.passed for check in result.get_asset_check_evaluations())


def test_the_ml_tables_catch_up_on_what_was_ingested_without_them(deployment: Deployment) -> None:
    for number in (1, 2):
        deployment.drop(number)
        assert deployment.run("quantum_feature_processing", "LiH").success
    assert deployment.rows()["ml_run_summary"] == 0
    assert materialize(deployment, "ml_iteration_features").success
    assert (deployment.rows()["ml_iteration_features"], deployment.rows()["ml_run_summary"]) == (24, 0)
    assert deployment.run("quantum_ml_feature_processing", "LiH").success
    assert (deployment.rows()["ml_iteration_features"], deployment.rows()["ml_run_summary"]) == (24, 2)


def test_the_inventory_counts_objects_and_its_version_changes_with_them(deployment: Deployment) -> None:
    def version() -> Any:
        result = materialize(deployment, "raw_vqe_objects")
        [event] = result.get_asset_materialization_events()
        return event.materialization.tags["dagster/data_version"], metadata(result, "raw_vqe_objects")["LiH"]

    path = deployment.drop(1)
    first, told = version()
    assert (told["objects"], told["bytes"], told["quarantined"]) == (1, path.stat().st_size, 0)
    assert told["newest"] == "experiments/experiment.vqe/1-LiH.json"
    assert version()[0] == first
    deployment.drop(2)
    assert version()[0] != first


def test_a_batch_that_cannot_be_resumed_fails_at_once_and_says_what_to_do(deployment: Deployment) -> None:
    deployment.drop(1)
    assert materialize(deployment, *THREE).success
    [batch] = deployment.installation.ledger.open_batches("LiH")
    (deployment.settings.raw_results / "staging" / f"{batch.batch_id}.arrow").unlink()
    result = deployment.run("quantum_feature_processing", "LiH")
    assert not result.success
    [failed] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert "rebuild LiH from its raw objects" in failed.user_failure_data.description


def test_a_run_that_somebody_waits_for_fails_at_once_when_the_storage_is_gone(deployment: Deployment) -> None:
    deployment.drop(1)
    assert deployment.run("quantum_feature_processing", "LiH").success
    deployment.drop(2)
    shutil.rmtree(deployment.settings.warehouse)
    deployment.settings.warehouse.touch()
    result = deployment.run("quantum_feature_processing", "LiH", tags={NO_RETRIES_TAG: "true"})
    assert not result.success
    [failed] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert str(deployment.settings.warehouse) in failed.user_failure_data.description


def test_the_daemon_asks_for_the_ml_tables_when_their_sources_change(deployment: Deployment) -> None:
    def asked(cursor: Any) -> tuple[set[str], Any]:
        evaluated = dg.evaluate_automation_conditions(deployment.definitions, deployment.instance, cursor=cursor)
        found = evaluated.get_requested_partitions(dg.AssetKey("ml_run_summary"))
        return {key for key in found if key is not None}, evaluated.cursor

    before, cursor = asked(None)
    assert before == set()
    deployment.drop(1)
    assert deployment.run("quantum_feature_processing", "LiH").success
    assert asked(cursor)[0] == {"LiH"}


@pytest.mark.parametrize("job", ["quantum_feature_processing", "molecule_processing"])
def test_a_broken_object_is_counted_and_does_not_stop_the_others(deployment: Deployment, job: str) -> None:
    deployment.drop(1)
    broken = deployment.settings.raw_results / "experiments/experiment.vqe/molecule=LiH/broken.json"
    broken.parent.mkdir(parents=True)
    broken.write_text('{"vqe_result": ')
    result = deployment.run(job, "LiH")
    assert result.success
    assert metadata(result, "vqe_results")["LiH"]["quarantined"] == 1
    assert deployment.rows()["vqe_results"] == 1
    verdicts = {check.check_name: check for check in result.get_asset_check_evaluations() if not check.passed}
    assert set(verdicts) == {"nothing_quarantined"}
    assert verdicts["nothing_quarantined"].severity == dg.AssetCheckSeverity.WARN
