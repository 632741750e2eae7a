"""Metrics of what starts Dagster's runs: daemons, sensors, schedules, backfills."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorType, TickStatus
from prometheus_client.core import GaugeMetricFamily

Declared = Mapping[tuple[str, str], bool]
"""Whether the code switches it on, by kind and name of each sensor and schedule that it declares."""

_KINDS = {InstigatorType.SENSOR: "sensor", InstigatorType.SCHEDULE: "schedule"}
_OPEN_BACKFILLS = (BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING)
_ENDED_TICKS = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]


def declared_by(definitions: dg.Definitions) -> Declared:
    """The sensors and schedules of definitions."""
    code = definitions.get_repository_def()
    sensors = {("sensor", one.name): one.default_status is dg.DefaultSensorStatus.RUNNING for one in code.sensor_defs}
    return sensors | {
        ("schedule", one.name): one.default_status is dg.DefaultScheduleStatus.RUNNING for one in code.schedule_defs
    }


def automation_metrics(instance: dg.DagsterInstance, declared: Declared) -> Iterator[GaugeMetricFamily]:
    """The metrics now; a sensor or schedule appears once the daemon has seen it.

    Args:
        instance: Dagster's instance, which remembers for ever what it has seen.
        declared: Of what to tell: nobody evaluates the others any more.
    """
    yield from _daemons(instance)
    yield from _ticks(instance, declared)
    open_ones = instance.get_backfills_count(BulkActionsFilter(statuses=list(_OPEN_BACKFILLS)))
    yield GaugeMetricFamily("qp_dagster_backfills_open", "Backfills that have not ended", value=open_ones)


def _daemons(instance: dg.DagsterInstance) -> Iterator[GaugeMetricFamily]:
    healthy = GaugeMetricFamily(
        "qp_dagster_daemon_healthy", "1 while the daemon's heartbeat is recent", labels=("daemon",)
    )
    heartbeat = GaugeMetricFamily(
        "qp_dagster_daemon_heartbeat_timestamp_seconds", "The daemon's last heartbeat", labels=("daemon",)
    )
    for name, status in instance.get_daemon_statuses().items():
        healthy.add_metric((name,), float(bool(status.healthy)))
        if status.last_heartbeat is not None:
            heartbeat.add_metric((name,), status.last_heartbeat.timestamp)
    yield from (healthy, heartbeat)


def _ticks(instance: dg.DagsterInstance, declared: Declared) -> Iterator[GaugeMetricFamily]:
    labels = ("kind", "name")
    running = GaugeMetricFamily("qp_dagster_automation_running", "1 while it is switched on", labels=labels)
    failed = GaugeMetricFamily("qp_dagster_tick_failed", "1 where its last tick failed", labels=labels)
    moment = GaugeMetricFamily("qp_dagster_tick_timestamp_seconds", "When its last tick ended", labels=labels)
    for state in instance.all_instigator_state():
        which = (_KINDS.get(state.instigator_type, ""), state.name)
        if which not in declared:
            continue
        running.add_metric(which, float(_is_running(state, declared[which])))
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1, statuses=_ENDED_TICKS)
        for tick in ticks:
            failed.add_metric(which, float(tick.status == TickStatus.FAILURE))
            moment.add_metric(which, tick.end_timestamp or tick.timestamp)
    yield from (running, failed, moment)


def _is_running(state: InstigatorState, by_code: bool) -> bool:
    """What the daemon makes of it: the code decides where nobody has switched it, and may have changed its mind."""
    return by_code if state.status is InstigatorStatus.DECLARED_IN_CODE else state.is_running
