"""The sink as a Dagster job: it lands what waits, tells how much, and never runs twice at once."""

from __future__ import annotations

import datetime as dt
from typing import Any

import dagster as dg
import pytest

from jobs.definitions import build_defs
from jobs.landing_sink import RUN_SECONDS, landing_sink
from jobs.requests import IN_PROGRESS_TRUSTED_FOR
from jobs.schedules import landing
from qpipe_assets.tables.decode import decode
from tests.dagster_layer.conftest import Deployment
from tests.fake_kafka import TOPIC, FakeConsumer, FakeDeserializer, FakeLog, FakeMessage, messages


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> FakeLog:
    """A topic of five records and one message that is none, behind the names that the job imports."""
    log = FakeLog([*messages(5), FakeMessage(5, b"?")])
    monkeypatch.setattr("qpipe_resources.kafka.consumer.ResultConsumer", lambda settings: FakeConsumer(log))
    monkeypatch.setattr("qpipe_resources.kafka.serialization.RecordDeserializer", lambda settings: FakeDeserializer())
    return log


def land(deployment: Deployment, **config: Any) -> dg.ExecuteInProcessResult:
    return deployment.definitions.resolve_job_def("landing_sink").execute_in_process(
        instance=deployment.instance,
        run_config={"ops": {"land_messages": {"config": config}}},
        raise_on_error=False,
    )


def test_a_run_lands_what_waits_and_tells_how_much(deployment: Deployment, log: FakeLog) -> None:
    result = land(deployment)
    assert result.success
    [output] = result.get_step_success_events()
    told = next(e for e in result.events_for_node("land_messages") if e.event_type_value == "STEP_OUTPUT")
    metadata = told.step_output_data.metadata
    assert (metadata["landed"].value, metadata["dead_letters"].value) == (5, 1)
    assert log.committed == {(TOPIC, 0): 6}
    objects = deployment.settings.raw_results.rglob("experiments/**/*.avro")
    assert sum(len(decode(path.read_bytes())) for path in objects) == 5
    assert output.step_key == "land_messages"


def test_what_a_run_has_landed_becomes_rows(deployment: Deployment, log: FakeLog) -> None:
    assert land(deployment).success
    deployment.ingest("H2")
    assert deployment.rows()["vqe_results"] == 5


def test_a_run_ends_at_its_time(deployment: Deployment, log: FakeLog) -> None:
    assert land(deployment, until_caught_up=False, max_seconds=0.3).success


def test_a_run_that_cannot_catch_up_fails_with_the_reason(
    deployment: Deployment, log: FakeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qpipe_assets.kafka_sink.sink import SinkSettings

    class Down(FakeConsumer):
        down = True

        def __init__(self, settings: Any) -> None:
            super().__init__(log)
            self.down = True

    monkeypatch.setattr("qpipe_resources.kafka.consumer.ResultConsumer", Down)
    monkeypatch.setattr("qpipe_assets.kafka_sink.sink.SinkSettings", lambda: SinkSettings(give_up_seconds=0.5))
    result = land(deployment)
    assert not result.success
    [failure] = result.filter_events(lambda event: event.is_step_failure)
    assert "localhost:9092" in str(failure.step_failure_data.error)


def test_the_schedule_asks_for_one_run_at_a_time_and_is_off_at_first(persistent: Deployment, log: FakeLog) -> None:
    assert landing.default_status is dg.DefaultScheduleStatus.STOPPED
    assert isinstance(ask(persistent), dg.RunRequest)
    run = persistent.instance.create_run_for_job(build_defs().resolve_job_def("landing_sink"))
    assert isinstance(ask(persistent), dg.SkipReason)
    persistent.instance.report_run_failed(run)
    assert isinstance(ask(persistent), dg.RunRequest)


def ask(deployment: Deployment, later: dt.timedelta = dt.timedelta()) -> dg.RunRequest | dg.SkipReason:
    """What the schedule wants."""
    moment = dt.datetime.now(dt.UTC) + later
    return landing(dg.build_schedule_context(instance=deployment.instance, scheduled_execution_time=moment))


def test_a_run_that_died_with_its_machine_stands_in_the_way_for_an_hour_and_no_longer(
    persistent: Deployment, log: FakeLog
) -> None:
    """However it was asked for: as here, without any tag of the schedule's."""
    job = build_defs().resolve_job_def("landing_sink")
    persistent.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    soon = dt.timedelta(minutes=1)
    assert isinstance(ask(persistent, IN_PROGRESS_TRUSTED_FOR - soon), dg.SkipReason)
    assert isinstance(ask(persistent, IN_PROGRESS_TRUSTED_FOR + soon), dg.RunRequest)
    # The run that follows a dead one counts, too.
    persistent.instance.create_run_for_job(job)
    assert isinstance(ask(persistent), dg.SkipReason)


def test_a_run_ends_by_itself_before_it_is_taken_for_dead() -> None:
    given_up_after = float(landing_sink.tags["dagster/max_runtime"])
    assert RUN_SECONDS + 120 < given_up_after <= IN_PROGRESS_TRUSTED_FOR.total_seconds()


def test_two_runs_never_hold_the_pool_at_once() -> None:
    assert landing_sink.get_node_named("land_messages").definition.pool == "landing_sink"
