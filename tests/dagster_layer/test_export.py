"""The export as an asset and a job: what a run shows, what ends it at once, and when it runs."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from jobs.definitions import build_defs
from qpipe_assets.tables import schemas
from tests.dagster_layer.conftest import Deployment


def run(deployment: Deployment, **config: object) -> dg.ExecuteInProcessResult:
    job = deployment.definitions.resolve_job_def("r2_sync")
    ops = {"ops": {"r2_export": {"config": config}}}
    return job.execute_in_process(instance=deployment.instance, run_config=ops, raise_on_error=False)


def test_a_run_exports_what_is_there_and_shows_version_rows_and_files(deployment: Deployment, tmp_path: Path) -> None:
    deployment.drop(1)
    deployment.ingest("LiH")
    result = run(deployment, target=str(tmp_path / "out"), verify=True, splits="train=1")
    assert result.success
    (materialization,) = result.asset_materializations_for_node("r2_export")
    shown = {name: value.value for name, value in materialization.metadata.items()}
    assert shown["rows"] == {"ml_iteration_features": 12, "ml_run_summary": 1}
    assert (shown["new"], shown["damaged"], shown["dagster/row_count"]) == (True, {}, 13)
    assert (tmp_path / "out" / "quantum_features" / "versions" / shown["version"] / "manifest.json").exists()


def test_a_dry_run_is_an_observation_and_materializes_nothing(deployment: Deployment, tmp_path: Path) -> None:
    deployment.drop(1)
    deployment.ingest("LiH")
    result = run(deployment, target=str(tmp_path / "out"), dry_run=True)
    assert result.success
    assert result.asset_materializations_for_node("r2_export") == []
    assert deployment.instance.get_latest_materialization_event(dg.AssetKey("r2_export")) is None
    [observation] = result.asset_observations_for_node("r2_export")
    shown = {name: value.value for name, value in observation.metadata.items()}
    assert shown["rows"] == {"ml_iteration_features": 12, "ml_run_summary": 1}
    assert (shown["new"], shown["files_written"], shown["waiting"]) == (True, 0, [])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [({}, "no target"), ({"target": "out", "format": "xlsx"}, "expected one of parquet, csv, hdf5")],
)
def test_a_run_that_cannot_be_fails_at_once(deployment: Deployment, config: dict[str, object], words: str) -> None:
    result = run(deployment, **config)
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert words in str(failure.step_failure_data.error)
    assert not [event for event in result.all_events if event.is_step_up_for_retry]


def test_the_job_waits_for_no_run_is_bounded_and_retried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QPIPE_EXPORT_TIMEOUT_SECONDS", "120")
    definitions = build_defs()
    job = definitions.resolve_job_def("r2_sync")
    assert job.tags["dagster/max_runtime"] == str(120 + 600)
    assert {key.path[-1] for key in job.asset_layer.selected_asset_keys} == {"r2_export"}
    node = definitions.resolve_asset_graph().get(dg.AssetKey("r2_export"))
    assert {key.path[-1] for key in node.parent_keys} == set(schemas.ML_NAMES)
    assert node.automation_condition is None
    policy = job.nodes[0].definition.retry_policy
    assert policy is not None and (policy.max_retries, policy.delay) == (1, 600)


def test_there_is_a_schedule_where_the_settings_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "export_schedule" not in {schedule.name for schedule in build_defs().schedules or ()}
    monkeypatch.setenv("R2_SYNC_SCHEDULE", "30 6 * * *")
    [schedule] = [s for s in build_defs().schedules or () if s.name == "export_schedule"]
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 6 * * *", "UTC")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
