"""A sensor that launches a campaign's run again whose process died: up to three times, what has landed is skipped.

Dagster's own retries forget the last molecule of a backfill: they refuse a run whose backfill has ended meanwhile, and
a backfill ends with its last run.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter
from dagster._core.execution.backfill import BulkActionStatus

from jobs.batch_generation import vqe_batch_generation
from jobs.requests import present
from qpipe_assets.campaign_progress import CAMPAIGN_TAG, PROCESS_TAG
from qpipe_assets.partitions import PARTITION_TAG
from qpipe_assets.retries import NO_RETRIES_TAG

MOST = 3
"""How often a run is launched again."""
LAUNCHES_TAG = "qpipe/launched-again"
"""Tag of a run that was launched again: how often by now."""
INSTEAD_OF_TAG = "qpipe/instead-of"
"""Tag of a run that was launched again: the run whose process died."""

_WITHIN = dt.timedelta(hours=6)
"""Failures of an earlier time are left alone: the daemon looks far more often than that."""
_BACKFILL_TAG = "dagster/backfill"
_REASON_TAG = "dagster/failure_reason"
_DAGSTERS_RETRIES_TAG = "dagster/max_retries"
_STOPPED = {BulkActionStatus.CANCELING, BulkActionStatus.CANCELED, BulkActionStatus.FAILING, BulkActionStatus.FAILED}
_OF_ONE_RUN = {CAMPAIGN_TAG, PROCESS_TAG}


def is_launched_again(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run that failed is launched again by itself: its process died, nobody has stopped it, not too often.

    Not after a failure of its steps, which comes again, and not where it was to compute anew what has landed, since it
    would begin from nothing each time. Whoever executes a run in a process of his own goes on himself, and where a run
    asks for Dagster's retries they are left to it.
    """
    return (
        run.job_name == vqe_batch_generation.name
        and run.status is DagsterRunStatus.FAILURE
        and run.tags.get(_REASON_TAG) != "STEP_FAILURE"
        and not {NO_RETRIES_TAG, _DAGSTERS_RETRIES_TAG} & run.tags.keys()
        and launches(run) < MOST
        and not _is_forced(run)
        and not _is_stopped(instance, run)
    )


def launches(run: dg.DagsterRun) -> int:
    """How often a run had been launched again when it was launched."""
    return int(run.tags.get(LAUNCHES_TAG, "0"))


def _is_forced(run: dg.DagsterRun) -> bool:
    config: Any = run.run_config
    for name in ("ops", "vqe_runs", "config", "force"):
        config = config.get(name, {})
    return bool(config)


def _is_stopped(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    backfill = instance.get_backfill(run.tags[_BACKFILL_TAG]) if _BACKFILL_TAG in run.tags else None
    return backfill is not None and backfill.status in _STOPPED


@dg.sensor(
    job=vqe_batch_generation,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Launches a campaign's run again whose process died; it computes what has not landed.",
)
def launched_again(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Ask for the runs; by its key each is launched once, however often it is asked for."""
    failed = RunsFilter(
        job_name=vqe_batch_generation.name,
        statuses=[DagsterRunStatus.FAILURE],
        updated_after=present() - _WITHIN,
    )
    instance = context.instance
    runs = [record.dagster_run for record in instance.get_run_records(failed)]
    requests = [_request(run) for run in runs if is_launched_again(instance, run) and not _was_launched(instance, run)]
    return dg.SensorResult(run_requests=requests) if requests else dg.SkipReason("no process of a campaign has died")


def _was_launched(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    return bool(instance.get_runs(RunsFilter(tags={INSTEAD_OF_TAG: run.run_id}), limit=1))


def _request(run: dg.DagsterRun) -> dg.RunRequest:
    # Of Dagster's own tags the partition's comes by its key and the job's by the job; the backfill's stays, so that
    # whoever cancels the backfill cancels this run, too.
    kept = {
        name: value
        for name, value in run.tags.items()
        if name == _BACKFILL_TAG or not (name.startswith(("dagster/", ".dagster/")) or name in _OF_ONE_RUN)
    }
    return dg.RunRequest(
        run_key=run.run_id,
        partition_key=run.tags.get(PARTITION_TAG),
        run_config=run.run_config,
        tags=kept | {LAUNCHES_TAG: str(launches(run) + 1), INSTEAD_OF_TAG: run.run_id},
        asset_selection=sorted(run.asset_selection) if run.asset_selection else None,
    )
