"""The exporter tells what Dagster's instance holds: runs, queue, steps, daemons, sensors, schedules, partitions."""

from __future__ import annotations

import logging
import socket
import time
import urllib.request
from collections.abc import Iterable

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo
from prometheus_client.core import GaugeMetricFamily, Metric

from jobs.exporter.assembly import build_exporter
from jobs.exporter.exporter import Exporter, Sweeper, served
from qpipe_assets.partitions import PARTITION_TAG
from qpipe_resources.exporter_settings import ExporterSettings, ExporterSettingsError
from simulation.molecules import catalogue
from tests.dagster_layer.conftest import Deployment

KINDS = {InstigatorType.SENSOR: SensorInstigatorData(), InstigatorType.SCHEDULE: ScheduleInstigatorData("@daily", 0.0)}
REPOSITORY = RemoteRepositoryOrigin(
    ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="jobs.definitions"), location_name="qpipe"),
    "__repository__",
)
SUCCESS, FAILURE = dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE
Seen = dict[tuple[str, ...], float]


def seen(metrics: Iterable[Metric]) -> Seen:
    """Value by name and values of the labels."""
    return {(s.name, *s.labels.values()): s.value for metric in metrics for s in metric.samples}


def look(deployment: Deployment) -> Seen:
    exporter = build_exporter(deployment.instance, deployment.definitions)
    exporter.look()
    return seen(exporter.collect())


def tick(
    instance: dg.DagsterInstance,
    kind: InstigatorType,
    name: str,
    *statuses: TickStatus,
    switch: InstigatorStatus = InstigatorStatus.RUNNING,
) -> None:
    """A sensor or schedule that the daemon knows, and its ticks, oldest first."""
    origin = RemoteInstigatorOrigin(REPOSITORY, name)
    state = instance.add_instigator_state(InstigatorState(origin, kind, switch, KINDS[kind]))
    for number, status in enumerate(statuses):
        moment = 1000.0 + number
        instance.create_tick(
            TickData(
                instigator_origin_id=state.instigator_origin_id,
                instigator_name=name,
                instigator_type=kind,
                status=status,
                timestamp=moment,
                end_timestamp=moment + 0.5,
                selector_id=state.selector_id,
                run_ids=["a run"] if status is TickStatus.SUCCESS else None,
                error=SerializableErrorInfo("the store is away", [], "OSError")
                if status is TickStatus.FAILURE
                else None,
            )
        )


def test_runs_are_counted_by_job_and_status_and_the_last_one_of_each_job_is_told(persistent: Deployment) -> None:
    persistent.drop(1)
    assert persistent.run("quantum_feature_processing", "LiH").success
    create_run_for_test(persistent.instance, job_name="maintenance", status=DagsterRunStatus.FAILURE)
    told = look(persistent)
    assert told["qp_dagster_runs", "quantum_feature_processing", "SUCCESS"] == 1
    assert told["qp_dagster_runs", "maintenance", "FAILURE"] == 1
    assert told["qp_dagster_runs", "maintenance", "SUCCESS"] == 0
    assert (
        abs(time.time() - told["qp_dagster_last_run_timestamp_seconds", "quantum_feature_processing", "SUCCESS", "LiH"])
        < 120
    )
    assert told["qp_dagster_last_run_duration_seconds", "quantum_feature_processing"] > 0
    steps = {key[2]: value for key, value in told.items() if key[0] == "qp_dagster_step_duration_seconds"}
    assert {"raw_vqe_objects", "normalized_tables"} <= set(steps)
    assert all(value > 0 for value in steps.values())


def launched(deployment: Deployment, job: str, molecule: str = "", end: dg.DagsterEventType | None = None) -> None:
    """A run that has started, and ended so."""
    tags = {PARTITION_TAG: molecule} if molecule else {}
    run = create_run_for_test(deployment.instance, job_name=job, status=DagsterRunStatus.STARTED, tags=tags)
    if end is not None:
        deployment.instance.report_dagster_event(dg.DagsterEvent(end.value, job), run.run_id)


def last_runs(deployment: Deployment) -> set[tuple[str, ...]]:
    """Job, status and partition."""
    return {key[1:] for key in look(deployment) if key[0] == "qp_dagster_last_run_timestamp_seconds"}


def test_no_other_partitions_run_hides_that_a_partitions_last_one_failed(persistent: Deployment) -> None:
    job = "vqe_batch_generation"
    launched(persistent, job, "N2", FAILURE)
    launched(persistent, job, "N2", SUCCESS)
    launched(persistent, job, "H2O", FAILURE)
    launched(persistent, job, "LiH", SUCCESS)
    launched(persistent, job, "H2O")
    launched(persistent, "maintenance", end=SUCCESS)
    launched(persistent, "maintenance", end=FAILURE)
    assert last_runs(persistent) == {
        (job, "SUCCESS", "N2"),
        (job, "FAILURE", "H2O"),
        (job, "SUCCESS", "LiH"),
        ("maintenance", "FAILURE", ""),
    }


def test_a_failure_is_forgotten_when_many_later_runs_have_ended(
    persistent: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.exporter.runs.LOOKED_AT", 2)
    for end, molecule in ((FAILURE, "H2O"), (SUCCESS, "N2"), (SUCCESS, "LiH")):
        launched(persistent, "vqe_batch_generation", molecule, end)
    assert last_runs(persistent) == {("vqe_batch_generation", "SUCCESS", of) for of in ("N2", "LiH")}


def test_the_queue_has_its_depth_and_the_age_of_its_oldest_run(persistent: Deployment) -> None:
    assert look(persistent)["qp_dagster_queue_depth",] == 0
    assert look(persistent)["qp_dagster_queue_oldest_seconds",] == 0
    for _ in range(2):
        create_run_for_test(
            persistent.instance,
            job_name="maintenance",
            status=DagsterRunStatus.QUEUED,
            remote_job_origin=RemoteJobOrigin(REPOSITORY, "maintenance"),
        )
        time.sleep(0.3)
    told = look(persistent)
    assert told["qp_dagster_queue_depth",] == 2
    assert 0.5 < told["qp_dagster_queue_oldest_seconds",] < 60


def test_partitions_without_a_materialization_are_missing_asset_by_asset(persistent: Deployment) -> None:
    molecules = len(catalogue())
    persistent.drop(1)
    persistent.run("quantum_feature_processing", "LiH")
    told = look(persistent)
    assert told["qp_dagster_partitions", "vqe_results"] == molecules
    assert told["qp_dagster_partitions_missing", "vqe_results"] == molecules - 1
    assert told["qp_dagster_partitions_missing", "ml_run_summary"] == molecules
    assert abs(time.time() - told["qp_dagster_asset_timestamp_seconds", "vqe_results"]) < 120
    assert ("qp_dagster_partitions", "table_maintenance") not in told


def test_daemons_are_healthy_while_their_heartbeat_is_recent(persistent: Deployment) -> None:
    assert look(persistent)["qp_dagster_daemon_healthy", "SENSOR"] == 0
    for daemon, age in {"SENSOR": 1.0, "SCHEDULER": 7200.0}.items():
        persistent.instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - age, daemon, "one", []))
    told = look(persistent)
    assert told["qp_dagster_daemon_healthy", "SENSOR"] == 1
    assert told["qp_dagster_daemon_healthy", "SCHEDULER"] == 0
    assert abs(time.time() - told["qp_dagster_daemon_heartbeat_timestamp_seconds", "SENSOR"]) < 60


def test_the_last_tick_that_ended_says_whether_a_sensor_works(persistent: Deployment) -> None:
    tick(persistent.instance, InstigatorType.SENSOR, "new_objects", TickStatus.FAILURE, TickStatus.SKIPPED)
    tick(persistent.instance, InstigatorType.SCHEDULE, "landing", TickStatus.SUCCESS, TickStatus.FAILURE)
    tick(persistent.instance, InstigatorType.SENSOR, "automation", TickStatus.SUCCESS, TickStatus.STARTED)
    told = look(persistent)
    assert told["qp_dagster_tick_failed", "sensor", "new_objects"] == 0
    assert told["qp_dagster_tick_failed", "schedule", "landing"] == 1
    assert told["qp_dagster_tick_failed", "sensor", "automation"] == 0
    assert told["qp_dagster_tick_timestamp_seconds", "sensor", "automation"] == 1000.5
    assert told["qp_dagster_automation_running", "schedule", "landing"] == 1
    assert told["qp_dagster_backfills_open",] == 0


def test_what_the_code_no_longer_declares_is_not_told_of(persistent: Deployment) -> None:
    tick(persistent.instance, InstigatorType.SENSOR, "gone", TickStatus.FAILURE)
    tick(persistent.instance, InstigatorType.SCHEDULE, "removed", TickStatus.FAILURE)
    tick(persistent.instance, InstigatorType.SENSOR, "landing", TickStatus.FAILURE)  # a schedule has this name
    tick(persistent.instance, InstigatorType.SENSOR, "new_objects", TickStatus.SKIPPED)
    told = {key[1:] for key in look(persistent) if key[0].startswith(("qp_dagster_tick_", "qp_dagster_automation_"))}
    assert told == {("sensor", "new_objects")}


def test_who_has_switched_nothing_has_what_the_code_switches_on(persistent: Deployment) -> None:
    undecided = InstigatorStatus.DECLARED_IN_CODE
    tick(persistent.instance, InstigatorType.SENSOR, "new_objects", TickStatus.SKIPPED, switch=undecided)
    tick(persistent.instance, InstigatorType.SENSOR, "automation", switch=InstigatorStatus.STOPPED)
    tick(persistent.instance, InstigatorType.SCHEDULE, "nightly_maintenance", switch=undecided)
    tick(persistent.instance, InstigatorType.SCHEDULE, "landing", TickStatus.FAILURE, switch=undecided)
    told = look(persistent)
    running = {key[2]: value for key, value in told.items() if key[0] == "qp_dagster_automation_running"}
    assert running == {"new_objects": 1, "automation": 0, "nightly_maintenance": 1, "landing": 0}


def test_what_cannot_be_looked_at_has_no_old_numbers_and_hides_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    broken = True

    def shaky() -> list[Metric]:
        if broken:
            raise OSError("the database is away")
        return [GaugeMetricFamily("shaky", "", value=1)]

    exporter = Exporter({"shaky": shaky, "steady": lambda: [GaugeMetricFamily("steady", "", value=2)]})
    for _ in range(3):
        exporter.look()
    told = seen(exporter.collect())
    assert (told["qp_exporter_part_up", "shaky"], told["qp_exporter_part_up", "steady"], told["steady",]) == (0, 1, 2)
    assert ("shaky",) not in told
    assert [line.message for line in caplog.records] == ["shaky cannot be looked at: OSError: the database is away"]
    broken = False
    exporter.look()
    assert seen(exporter.collect())["shaky",] == 1


def test_deleted_groups_are_counted() -> None:
    exporter = Exporter({"pushgateway": Sweeper(lambda: 2)})
    exporter.look()
    exporter.look()
    assert seen(exporter.collect())["qp_exporter_groups_deleted_total",] == 4


def test_a_gateway_is_swept_now_and_then_and_again_at_once_when_that_failed() -> None:
    answers: list[int | OSError] = [OSError("away"), 1, 5]

    def sweep() -> int:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    exporter = Exporter({"pushgateway": Sweeper(sweep, every=60)})
    for _ in range(4):
        exporter.look()
    assert seen(exporter.collect())["qp_exporter_groups_deleted_total",] == 1
    assert answers == [5]


def test_it_is_served_where_the_setting_says() -> None:
    exporter = Exporter({})
    exporter.look()
    with served(exporter, ExporterSettings(host="127.0.0.2", port=0)) as port:
        with urllib.request.urlopen(f"http://127.0.0.2:{port}/metrics", timeout=5) as answer:
            assert answer.status == 200
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_it_is_served_on_loopback_until_the_end_and_a_taken_port_is_named() -> None:
    exporter = Exporter({})
    exporter.look()
    with served(exporter, ExporterSettings(port=0)) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert b"qp_exporter_look_timestamp_seconds" in answer.read()
        with pytest.raises(
            ExporterSettingsError, match=f"port {port} of 127.0.0.1 cannot be had .*QPIPE_EXPORTER_PORT"
        ):
            with served(exporter, ExporterSettings(port=port)):
                pass
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
