"""Sensor and schedule: they ask for what the ledger misses, once, again after a failure, and never on top of a run."""

from __future__ import annotations

import datetime as dt
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.remote_origin import RemoteJobOrigin

from jobs.jobs import JOBS
from jobs.pending import pending_work
from jobs.requests import FINGERPRINT_TAG, IN_PROGRESS_TRUSTED_FOR, back_off, run_requests
from jobs.run_limits import MAX_RUNTIME_TAG, WHOLE_RUN
from jobs.schedules import quantum_feature_processing_daily, quantum_ml_feature_processing_daily
from jobs.sensors import LEFT_TO_AUTOMATION_FOR, new_objects
from qpipe_assets.partitions import MOLECULE_PARTITIONS, RANGE_TAGS
from qpipe_assets.tables import schemas
from qpipe_resources.deployment import resources_for
from simulation.molecules import catalogue
from tests.dagster_layer.conftest import Deployment
from tests.dagster_layer.test_exporter import REPOSITORY

SOON = dt.timedelta(seconds=1)


def requests(deployment: Deployment, after: dt.timedelta = SOON) -> dict[str | None, dg.RunRequest]:
    """What is asked for some time from now, by molecule."""
    now = dt.datetime.now(dt.UTC) + after
    pending = pending_work(deployment.installation)
    found = run_requests(deployment.instance, pending, [job.name for job in JOBS], now)
    return {request.partition_key: request for request in found}


def record_run(deployment: Deployment, status: DagsterRunStatus, molecule: str = "LiH", **run: Any) -> dg.DagsterRun:
    """A run that Dagster knows of, as the daemon would have made it for a request."""
    tags = {"dagster/partition": molecule} | run.pop("tags", {})
    instance = deployment.instance
    made = dg.DagsterRun(job_name=run.pop("job_name", "molecule_processing"), status=status, tags=tags, **run)
    return instance.add_run(made)


def fingerprint(deployment: Deployment, molecule: str = "LiH") -> dict[str, str]:
    [work] = [work for work in pending_work(deployment.installation) if work.molecule == molecule]
    return {FINGERPRINT_TAG: work.fingerprint}


def test_nothing_is_asked_for_when_nothing_is_new(deployment: Deployment) -> None:
    assert requests(deployment) == {}
    deployment.drop(1)
    assert set(requests(deployment)) == {"LiH"}
    deployment.ingest("LiH")
    assert requests(deployment) == {}


def test_one_run_is_asked_for_each_molecule_that_waits(deployment: Deployment) -> None:
    deployment.drop(1), deployment.drop(2), deployment.drop(3, "N2")
    found = requests(deployment)
    assert set(found) == {"LiH", "N2"}
    assert found["LiH"].tags[FINGERPRINT_TAG] == fingerprint(deployment)[FINGERPRINT_TAG]
    assert requests(deployment)["LiH"].run_key == found["LiH"].run_key
    deployment.drop(4)
    assert requests(deployment)["LiH"].run_key != found["LiH"].run_key


def test_an_overwritten_object_is_asked_for_again(deployment: Deployment) -> None:
    deployment.drop(1)
    deployment.ingest("LiH")
    deployment.drop(1, evaluations=13)
    assert set(requests(deployment)) == {"LiH"}


def test_open_batches_and_missing_ml_rows_are_asked_for(deployment: Deployment) -> None:
    deployment.drop(1)
    deployment.installation.ingest().run("LiH", ["molecules"])
    assert set(requests(deployment)) == {"LiH"}
    deployment.installation.ingest().run("LiH")
    assert set(requests(deployment)) == {"LiH"}
    deployment.installation.ml_features().run("LiH", schemas.ML_NAMES[:1])
    assert set(requests(deployment)) == {"LiH"}
    deployment.installation.ml_features().run("LiH")
    assert requests(deployment) == {}


def test_a_rebuild_that_was_asked_for_is_asked_for(deployment: Deployment) -> None:
    deployment.drop(1)
    deployment.ingest("LiH")
    deployment.installation.ledger.request_rebuild("LiH")
    assert set(requests(deployment)) == {"LiH"}


def test_a_quarantined_object_is_not_asked_for_again(deployment: Deployment) -> None:
    folder = deployment.settings.raw_results / "experiments/experiment.vqe/molecule=LiH"
    folder.mkdir(parents=True)
    (folder / "broken.json").write_text("{")
    assert set(requests(deployment)) == {"LiH"}
    deployment.ingest("LiH")
    assert requests(deployment) == {}


@pytest.mark.parametrize("status", [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED])
def test_no_run_is_asked_for_on_top_of_one_that_is_queued_or_in_progress(
    deployment: Deployment, status: DagsterRunStatus
) -> None:
    deployment.drop(1), deployment.drop(2, "N2")
    record_run(deployment, status, "LiH")
    assert set(requests(deployment)) == {"N2"}


def test_a_run_that_only_simulates_stops_nobody(deployment: Deployment) -> None:
    deployment.drop(1)
    asset_job = {"job_name": "__ASSET_JOB", "asset_selection": {dg.AssetKey("vqe_runs")}}
    record_run(deployment, DagsterRunStatus.STARTED, "LiH", **asset_job)
    assert set(requests(deployment)) == {"LiH"}
    record_run(
        deployment, DagsterRunStatus.STARTED, "LiH", **asset_job | {"asset_selection": {dg.AssetKey("molecules")}}
    )
    assert requests(deployment) == {}


def test_a_backfill_in_one_run_counts_for_each_of_its_molecules(deployment: Deployment) -> None:
    deployment.drop(1), deployment.drop(2, "H2")
    keys = list(deployment.instance.get_dynamic_partitions(MOLECULE_PARTITIONS))
    span = dict(zip(RANGE_TAGS, (keys[1], keys[-1]), strict=True))
    assert keys[0] == "H2"
    run = dg.DagsterRun(job_name="molecule_processing", status=DagsterRunStatus.STARTED, tags=span)
    deployment.instance.add_run(run)
    assert set(requests(deployment)) == {"H2"}


def test_a_run_that_died_with_its_machine_does_not_stop_the_molecule_for_ever(deployment: Deployment) -> None:
    deployment.drop(1)
    record_run(deployment, DagsterRunStatus.STARTED)
    assert requests(deployment) == {}
    assert set(requests(deployment, IN_PROGRESS_TRUSTED_FOR + SOON)) == {"LiH"}


def test_a_run_that_waits_between_two_attempts_is_in_progress_for_as_long_as_it_may_take(
    deployment: Deployment,
) -> None:
    deployment.drop(1)
    record_run(deployment, DagsterRunStatus.STARTED, tags=WHOLE_RUN)
    longest = dt.timedelta(seconds=float(WHOLE_RUN[MAX_RUNTIME_TAG]))
    assert requests(deployment, longest - dt.timedelta(minutes=5)) == {}
    assert set(requests(deployment, longest + SOON)) == {"LiH"}


def test_a_run_in_the_queue_is_never_asked_for_again(deployment: Deployment) -> None:
    deployment.drop(1)
    queued = {"remote_job_origin": RemoteJobOrigin(REPOSITORY, "molecule_processing"), "tags": WHOLE_RUN}
    record_run(deployment, DagsterRunStatus.QUEUED, **queued)
    assert requests(deployment, dt.timedelta(days=3)) == {}


def test_a_campaign_that_computes_or_waits_for_its_lane_stops_nobody_for_longer_than_an_hour(
    deployment: Deployment,
) -> None:
    deployment.drop(1)
    record_run(deployment, DagsterRunStatus.STARTED, job_name="vqe_experiment", tags={MAX_RUNTIME_TAG: "108000"})
    assert requests(deployment) == {}
    assert set(requests(deployment, IN_PROGRESS_TRUSTED_FOR + SOON)) == {"LiH"}


def test_a_failed_run_is_asked_for_again_after_a_rest_under_another_key(deployment: Deployment) -> None:
    deployment.drop(1)
    first = requests(deployment)["LiH"]
    record_run(deployment, DagsterRunStatus.FAILURE, tags=fingerprint(deployment))
    assert requests(deployment) == {}
    second = requests(deployment, back_off(1) + SOON)["LiH"]
    assert second.run_key != first.run_key
    record_run(deployment, DagsterRunStatus.FAILURE, tags=fingerprint(deployment))
    assert requests(deployment, back_off(1) + SOON) == {}
    assert set(requests(deployment, back_off(2) + SOON)) == {"LiH"}


def test_a_new_object_ends_the_rest_after_a_failure(deployment: Deployment) -> None:
    deployment.drop(1)
    record_run(deployment, DagsterRunStatus.FAILURE, tags=fingerprint(deployment))
    assert requests(deployment) == {}
    deployment.drop(2)
    assert set(requests(deployment)) == {"LiH"}


def test_the_rest_grows_and_stays_within_six_hours() -> None:
    assert [back_off(n) / dt.timedelta(minutes=1) for n in (1, 2, 3, 4, 5, 6, 1000)] == [1, 4, 16, 64, 256, 360, 360]


def test_the_sensor_makes_catalogue_and_new_molecules_partitions(persistent: Deployment) -> None:
    for key in persistent.instance.get_dynamic_partitions(MOLECULE_PARTITIONS):
        persistent.instance.delete_dynamic_partition(MOLECULE_PARTITIONS, key)
    path = persistent.drop(1)
    path.write_text(path.read_text().replace('"charge": 0', '"charge": -2'))
    result = tick(persistent)
    [request] = result.dynamic_partitions_requests or []
    assert set(request.partition_keys) == {*catalogue(), "HLi2-"}
    assert [run.partition_key for run in result.run_requests or []] == ["HLi2-"]


def tick(deployment: Deployment) -> Any:
    with dg.build_sensor_context(deployment.instance, resources=dict(resources_for("local"))) as context:
        return new_objects(context)


def test_the_sensor_says_why_it_asks_for_nothing(persistent: Deployment) -> None:
    assert tick(persistent).skip_message == "nothing new"
    persistent.drop(1)
    record_run(persistent, DagsterRunStatus.STARTED)
    assert tick(persistent).skip_message == "1 molecules wait for a run in progress, or rest after one that failed"


def test_what_the_sensor_asks_for_turns_the_object_into_rows(persistent: Deployment) -> None:
    persistent.drop(1)
    [request] = tick(persistent).run_requests
    assert persistent.run("molecule_processing", request.partition_key, tags=request.tags).success
    rows = persistent.rows()
    assert (rows["vqe_results"], rows["ml_run_summary"]) == (1, 1)
    assert tick(persistent).skip_message == "nothing new"


def ask(schedule: Any, deployment: Deployment) -> Any:
    with dg.build_schedule_context(deployment.instance, resources=dict(resources_for("local"))) as context:
        return schedule(context)


def test_the_daily_schedule_asks_for_the_nine_tables_of_molecules_with_something_new(persistent: Deployment) -> None:
    assert quantum_feature_processing_daily.job_name == "quantum_feature_processing"
    assert ask(quantum_feature_processing_daily, persistent).skip_message == "nothing new, nothing unfinished"
    persistent.drop(1)
    [request] = ask(quantum_feature_processing_daily, persistent)
    assert request.partition_key == "LiH"
    assert persistent.run("quantum_feature_processing", "LiH", tags=request.tags).success
    assert ask(quantum_feature_processing_daily, persistent).skip_message == "nothing new, nothing unfinished"


def test_the_daily_schedule_of_the_ml_tables_waits_for_the_nine(persistent: Deployment) -> None:
    assert quantum_ml_feature_processing_daily.job_name == "quantum_ml_feature_processing"
    persistent.drop(1)
    assert ask(quantum_ml_feature_processing_daily, persistent).skip_message == "the ML tables have all batches"
    persistent.installation.ingest().run("LiH")
    [request] = ask(quantum_ml_feature_processing_daily, persistent)
    assert persistent.run("quantum_ml_feature_processing", request.partition_key, tags=request.tags).success
    assert ask(quantum_ml_feature_processing_daily, persistent).skip_message == "the ML tables have all batches"


def test_what_only_the_ml_tables_lack_is_left_to_the_automation_for_a_while(
    persistent: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    persistent.drop(1)
    persistent.installation.ingest().run("LiH")
    assert isinstance(tick(persistent), dg.SkipReason)
    later = dt.datetime.now(dt.UTC) + LEFT_TO_AUTOMATION_FOR
    monkeypatch.setattr("jobs.sensors.present", lambda: later)
    assert [request.partition_key for request in tick(persistent).run_requests] == ["LiH"]
