"""Metrics of Dagster's runs: by job and status, the queue, how each job's last ones ended and how long they took."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence

import dagster as dg
from dagster import DagsterRunStatus
from prometheus_client.core import GaugeMetricFamily

from qpipe_assets.partitions import PARTITION_TAG

ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
_COUNTED = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
    *ENDED,
)
LOOKED_AT = 100
"""Runs of a job, the newest that have ended, among which each partition's last one is looked for."""


class RunsMetrics:
    """What the instance's run storage says; a run that has ended never changes, so its steps are read once."""

    def __init__(self, instance: dg.DagsterInstance, jobs: Sequence[str]) -> None:
        """Prepare to look.

        Args:
            instance: Dagster's instance.
            jobs: Names of the jobs to tell of.
        """
        self._instance = instance
        self._jobs = tuple(jobs)
        self._steps: dict[str, tuple[str, dict[str, float]]] = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metrics now."""
        yield self._by_status()
        yield from self._queue()
        yield from self._last_of_each_job()

    def _by_status(self) -> GaugeMetricFamily:
        runs = GaugeMetricFamily("qp_dagster_runs", "Runs in Dagster's storage", labels=("dagster_job", "status"))
        for job in self._jobs:
            for status in _COUNTED:
                count = self._instance.get_runs_count(dg.RunsFilter(job_name=job, statuses=[status]))
                runs.add_metric((job, status.value), count)
        return runs

    def _queue(self) -> Iterator[GaugeMetricFamily]:
        queued = dg.RunsFilter(statuses=[DagsterRunStatus.QUEUED])
        depth = self._instance.get_runs_count(queued)
        yield GaugeMetricFamily("qp_dagster_queue_depth", "Runs that wait in the queue", value=depth)
        oldest = self._instance.get_run_records(queued, limit=1, ascending=True)
        age = max(0.0, (_now() - _utc(oldest[0].create_timestamp)).total_seconds()) if oldest else 0.0
        yield GaugeMetricFamily("qp_dagster_queue_oldest_seconds", "Age of the run that has waited longest", value=age)

    def _last_of_each_job(self) -> Iterator[GaugeMetricFamily]:
        ended = GaugeMetricFamily(
            "qp_dagster_last_run_timestamp_seconds",
            "When the job's last run ended, of each partition where it has some",
            labels=("dagster_job", "status", "partition"),
        )
        lasted = GaugeMetricFamily(
            "qp_dagster_last_run_duration_seconds", "How long the job's last run took", labels=("dagster_job",)
        )
        steps = GaugeMetricFamily(
            "qp_dagster_step_duration_seconds",
            "How long each step of the job's last run took",
            labels=("dagster_job", "step"),
        )
        for job in self._jobs:
            filters = dg.RunsFilter(job_name=job, statuses=list(ENDED))
            newest_first = self._instance.get_run_records(filters, limit=LOOKED_AT)
            for partition, record in _last_of_each_partition(newest_first).items():
                if record.end_time is not None:
                    ended.add_metric((job, record.dagster_run.status.value, partition), record.end_time)
            if not newest_first or (end := newest_first[0].end_time) is None:
                continue
            last = newest_first[0]
            if last.start_time is not None:
                lasted.add_metric((job,), end - last.start_time)
            for step, seconds in self._durations(job, last.dagster_run.run_id).items():
                steps.add_metric((job, step), seconds)
        yield from (ended, lasted, steps)

    def _durations(self, job: str, run_id: str) -> dict[str, float]:
        known = self._steps.get(job)
        if known is None or known[0] != run_id:
            stats = self._instance.get_run_step_stats(run_id)
            durations = {
                step.step_key: step.end_time - step.start_time
                for step in stats
                if step.start_time is not None and step.end_time is not None
            }
            self._steps[job] = known = (run_id, durations)
        return known[1]


def _last_of_each_partition(newest_first: Iterable[dg.RunRecord]) -> dict[str, dg.RunRecord]:
    """By partition; what is of none, or of many at once, is under the empty text."""
    last: dict[str, dg.RunRecord] = {}
    for record in newest_first:
        last.setdefault(record.dagster_run.tags.get(PARTITION_TAG, ""), record)
    return last


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _utc(moment: dt.datetime) -> dt.datetime:
    """Storages on SQLite give times without a zone, which are UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
