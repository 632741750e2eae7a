"""Metrics of what starts Dagster's runs: daemons, sensors, schedules, backfills."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.scheduler.instigation import InstigatorType, TickStatus
from prometheus_client.core import GaugeMetricFamily

_KINDS = {InstigatorType.SENSOR: "sensor", InstigatorType.SCHEDULE: "schedule"}
_OPEN_BACKFILLS = (BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING)
_ENDED_TICKS = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]


def automation_metrics(instance: dg.DagsterInstance) -> Iterator[GaugeMetricFamily]:
    """The metrics now; a sensor or schedule appears once the daemon has seen it."""
    yield from _daemons(instance)
    yield from _ticks(instance)
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


def _ticks(instance: dg.DagsterInstance) -> Iterator[GaugeMetricFamily]:
    labels = ("kind", "name")
    running = GaugeMetricFamily("qp_dagster_automation_running", "1 while it is switched on", labels=labels)
    failed = GaugeMetricFamily("qp_dagster_tick_failed", "1 where its last tick failed", labels=labels)
    moment = GaugeMetricFamily("qp_dagster_tick_timestamp_seconds", "When its last tick ended", labels=labels)
    for state in instance.all_instigator_state():
        if state.instigator_type not in _KINDS:
            continue
        which = (_KINDS[state.instigator_type], state.name)
        running.add_metric(which, float(state.is_running))
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1, statuses=_ENDED_TICKS)
        for tick in ticks:
            failed.add_metric(which, float(tick.status == TickStatus.FAILURE))
            moment.add_metric(which, tick.end_timestamp or tick.timestamp)
    yield from (running, failed, moment)
