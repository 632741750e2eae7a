"""No storm of retries: whoever asks again and again, a molecule that fails gets few runs, and recovers.

The real sensor, schedules and job, over days of simulated time: Dagster's clock and the sensor's are set forward.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.test_utils import freeze_time

from jobs.requests import LONGEST_BACK_OFF, LONGEST_REST_OF_NEW_WORK
from jobs.run_limits import WHOLE_RUN
from jobs.schedules import landing, quantum_feature_processing_daily
from jobs.sensors import new_objects
from qpipe_assets.retries import RETRIES
from qpipe_assets.tables.ingest import Ingest
from qpipe_resources.deployment import resources_for
from tests.dagster_layer.conftest import Deployment

START = dt.datetime.now(dt.UTC)
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)


class Clock:
    """The time that Dagster's storage, the sensor and the schedules are told."""

    now = START

    def __call__(self) -> dt.datetime:
        return self.now

    def ticks(self, span: dt.timedelta, step: dt.timedelta) -> Iterator[dt.datetime]:
        """Go forward in steps; at each the block is at that time."""
        end = self.now + span
        while self.now < end:
            self.now += step
            with freeze_time(self.now):
                yield self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("jobs.requests.present", clock)
    monkeypatch.setattr("jobs.sensors.present", clock)
    return clock


@dataclass
class Askers:
    """The real sensor and schedule, in one context each: to make one costs more than to ask."""

    sensor_context: dg.SensorEvaluationContext
    schedule_context: dg.ScheduleEvaluationContext

    def sensor(self) -> list[dg.RunRequest]:
        result: Any = new_objects(self.sensor_context)
        return [] if isinstance(result, dg.SkipReason) else list(result.run_requests or [])

    def schedule(self) -> list[dg.RunRequest]:
        result: Any = quantum_feature_processing_daily(self.schedule_context)
        return [] if isinstance(result, dg.SkipReason) else result


@pytest.fixture
def askers(persistent: Deployment) -> Iterator[Askers]:
    resources = dict(resources_for("local"))
    with (
        dg.build_sensor_context(persistent.instance, resources=resources) as sensor,
        dg.build_schedule_context(persistent.instance, resources=resources) as schedule,
    ):
        yield Askers(sensor, schedule)


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside, every ingest refuses."""

    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("column total_energy of the table is no double")

    with monkeypatch.context() as patch:
        patch.setattr(Ingest, "run", refuse)
        yield


def run_all(deployment: Deployment, requests: list[dg.RunRequest]) -> list[bool]:
    """Run what was asked for, as the daemon would; whether each run succeeded."""
    job = "molecule_processing"
    return [deployment.run(job, request.partition_key or "", tags=request.tags).success for request in requests]


def test_a_molecule_whose_ingest_fails_gets_few_runs_however_often_it_is_asked_for(
    persistent: Deployment, askers: Askers, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    persistent.drop(1)
    runs: list[dt.datetime] = []

    def look() -> None:
        askers_now = (askers.sensor, askers.schedule) if clock.now >= START + DAY else (askers.sensor,)
        for asker in askers_now:
            for request in asker():
                runs.append(clock.now)
                if len(runs) <= 2:
                    assert run_all(persistent, [request]) == [False]
                else:  # as the real ones have ended, but at once
                    fail(persistent, begin(persistent, request))

    with failing(monkeypatch):
        minutes, hours = dt.timedelta(minutes=22), DAY - dt.timedelta(minutes=22)
        for span, step in ((minutes, dt.timedelta(minutes=1)), (hours, HOUR / 2), (DAY, HOUR)):
            for _ in clock.ticks(span, step):
                look()
            assert len(runs) <= (13 if span == DAY else 9), runs
    rests = [later - earlier for earlier, later in itertools.pairwise(runs)]
    assert rests[:3] == [dt.timedelta(minutes=minutes) for minutes in (1, 4, 16)]
    assert max(rests) <= LONGEST_BACK_OFF + HOUR
    succeeded = [one for _ in clock.ticks(LONGEST_BACK_OFF, HOUR) for one in run_all(persistent, askers.sensor())]
    assert succeeded == [True], "the cause is gone: the next attempt makes the rows, and there is none after it"
    assert persistent.rows()["vqe_results"] == 1


def test_new_objects_that_keep_coming_do_not_make_a_failing_molecule_run_each_time(
    persistent: Deployment, askers: Askers, clock: Clock
) -> None:
    asked: list[dt.datetime] = []
    numbers = itertools.count()
    for span, step in ((HOUR, dt.timedelta(minutes=4)), (8 * HOUR, HOUR / 2)):
        for now in clock.ticks(span, step):
            persistent.drop(next(numbers))
            for request in askers.sensor():
                asked.append(now)
                fail(persistent, begin(persistent, request))
        assert len(asked) <= (6 if span == HOUR else 6 + 8), "28 on the first day, then 24"
    persistent.drop(1000)
    soon = [
        one
        for _ in clock.ticks(LONGEST_REST_OF_NEW_WORK, dt.timedelta(minutes=10))
        for one in run_all(persistent, askers.sensor())
    ]
    assert soon == [True]


def test_while_a_run_waits_for_a_service_nothing_else_is_asked_for(
    persistent: Deployment, askers: Askers, clock: Clock
) -> None:
    persistent.drop(1)
    under_way: dict[str, tuple[dt.datetime, dg.DagsterRun]] = {}
    asked = 0
    for now in clock.ticks(DAY, dt.timedelta(minutes=20)):
        for run_id, (begun, run) in list(under_way.items()):
            if now - begun >= dt.timedelta(seconds=RETRIES.waits):
                fail(persistent, run)
                del under_way[run_id]
        for request in askers.sensor():
            asked += 1
            run = begin(persistent, request)
            under_way[run.run_id] = (now, run)
        assert len(under_way) <= 1
    assert asked <= 7, "each has four attempts at the work"


def test_a_sink_that_fails_rests_for_longer_and_longer(persistent: Deployment, clock: Clock) -> None:
    asked = 0
    for now in clock.ticks(HOUR / 2, dt.timedelta(minutes=1)):
        with dg.build_schedule_context(persistent.instance, scheduled_execution_time=now) as context:
            result = landing(context)
        if isinstance(result, dg.RunRequest):
            asked += 1
            run = dg.DagsterRun(job_name="landing_sink", status=dg.DagsterRunStatus.STARTED)
            fail(persistent, persistent.instance.add_run(run))
    assert asked == 5


def begin(deployment: Deployment, request: dg.RunRequest) -> dg.DagsterRun:
    """A run as the daemon makes it of a request, under way."""
    tags = dict(request.tags) | WHOLE_RUN | {"dagster/partition": request.partition_key or ""}
    run = deployment.instance.add_run(dg.DagsterRun(job_name="molecule_processing", tags=tags))
    event = DagsterEvent(DagsterEventType.RUN_START.value, job_name=run.job_name)
    deployment.instance.report_dagster_event(event, run_id=run.run_id)
    return run


def fail(deployment: Deployment, run: dg.DagsterRun) -> None:
    deployment.instance.report_run_failed(run, "the store does not answer")
