"""Campaigns whose process died are launched again: once each, three times at most, and none that somebody stopped."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from jobs.launched_again import INSTEAD_OF_TAG, LAUNCHES_TAG, MOST, launched_again
from qpipe_assets.campaign_progress import CAMPAIGN_TAG, PROCESS_TAG
from qpipe_assets.retries import NO_RETRIES_TAG
from tests.dagster_layer.conftest import Deployment

JOB = "vqe_batch_generation"
CONFIG = {"ops": {"vqe_runs": {"config": {"tier": 2}}}}


def died(deployment: Deployment, tags: dict[str, str] | None = None, config: Any = CONFIG, job: str = JOB) -> str:
    """A run whose process is found to be gone."""
    own = {"dagster/partition": "H2", CAMPAIGN_TAG: "tier-2", PROCESS_TAG: "x:y:1:1.00", "who": "me"}
    run = deployment.instance.add_run(dg.DagsterRun(job, run_config=config, tags=own | (tags or {})))
    deployment.instance.report_run_failed(run, "the process of this run is gone")
    return run.run_id


def asked(deployment: Deployment) -> list[dg.RunRequest]:
    """What the sensor asks for."""
    with dg.build_sensor_context(deployment.instance) as context:
        result: Any = launched_again(context)
    return [] if isinstance(result, dg.SkipReason) else list(result.run_requests)


def test_a_run_whose_process_died_is_asked_for_with_its_config_partition_and_tags(persistent: Deployment) -> None:
    run_id = died(persistent)
    [request] = asked(persistent)
    assert (request.run_key, request.partition_key, dict(request.run_config)) == (run_id, "H2", CONFIG)
    assert (request.tags["who"], request.tags[LAUNCHES_TAG], request.tags[INSTEAD_OF_TAG]) == ("me", "1", run_id)
    assert not {CAMPAIGN_TAG, PROCESS_TAG} & request.tags.keys(), "they say what a run has begun"


def test_it_is_launched_once_and_three_times_in_all(persistent: Deployment) -> None:
    tags: dict[str, str] = {}
    for number in range(1, MOST + 1):
        died(persistent, tags)
        [request] = asked(persistent)
        tags = dict(request.tags)
        assert tags[LAUNCHES_TAG] == str(number)
        persistent.instance.add_run(dg.DagsterRun(JOB, tags=tags))
        assert asked(persistent) == []
    died(persistent, tags)
    assert asked(persistent) == []


@pytest.mark.parametrize(
    "died_of",
    [
        {"tags": {"dagster/failure_reason": "STEP_FAILURE"}},
        {"tags": {NO_RETRIES_TAG: "true"}},
        {"tags": {"dagster/max_retries": "3"}},
        {"config": {"ops": {"vqe_runs": {"config": {"tier": 2, "force": True}}}}},
        {"job": "molecule_processing"},
    ],
    ids=["its steps failed", "of a command", "Dagster's", "forced", "of another job"],
)
def test_what_is_not_launched_again(persistent: Deployment, died_of: dict[str, Any]) -> None:
    died(persistent, **died_of)
    assert asked(persistent) == []


@pytest.mark.parametrize("status", BulkActionStatus)
def test_the_last_molecule_of_a_backfill_is_launched_again_unless_the_backfill_was_stopped(
    persistent: Deployment, status: BulkActionStatus
) -> None:
    backfill = PartitionBackfill("mine", status, from_failure=False, tags={}, backfill_timestamp=1.0)
    persistent.instance.add_backfill(backfill)
    died(persistent, {"dagster/backfill": "mine"})
    requests = asked(persistent)
    if status.name in ("CANCELING", "CANCELED", "FAILING", "FAILED"):
        assert requests == []
    else:
        [request] = requests
        assert request.tags["dagster/backfill"] == "mine", "who cancels the backfill cancels this run, too"
