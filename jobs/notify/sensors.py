"""The sensors that tell people of runs that ended: one for success, one for failure, each run once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from jobs.launched_again import is_launched_again
from jobs.notify.energies import best_energies
from jobs.notify.secrets import hide_secrets
from jobs.notify.told import told_of_failure, told_of_success
from qpipe_assets.connection import connect
from qpipe_resources.deployment import LakehouseResource, ObjectStoreResource
from qpipe_resources.notify.delivery import deliver
from qpipe_resources.notify.notification import Notification
from qpipe_resources.notify.settings import (
    ALL,
    NONE,
    VARIABLES,
    NotifySettings,
    NotifySettingsError,
    load_notify_settings,
)

NOTIFIED_TAG = "qpipe/notified"
"""Tag of a run that was told of, with its identity, because a run that is launched again inherits its tags.

It is set before anything is sent, so that no restart of the daemon tells twice.
"""
_WILL_RETRY_TAG = "dagster/will_retry"
"""Tag by which Dagster says that it launches a failed run again, where the run asks it to."""
NOBODY = "nobody is told"
"""Cursor of a sensor that tells nobody; Dagster, which cannot read it, begins with the runs that end from then on."""
_SECONDS = 15

Job = Any
"""A job, or what Dagster makes one of."""


def notification_sensors(settings: NotifySettings, jobs: Sequence[Job]) -> list[dg.SensorDefinition]:
    """The sensors, which run also where nobody is told: one that rests would tell later of all that ended meanwhile.

    Args:
        settings: who is told of what.
        jobs: those that may be named.

    Raises:
        NotifySettingsError: a name is no job's.
    """
    return [
        _sensor("success", settings.success, dg.DagsterRunStatus.SUCCESS, _notify_success, settings.enabled, jobs),
        _sensor("failure", settings.failure, dg.DagsterRunStatus.FAILURE, _notify_failure, settings.enabled, jobs),
    ]


def _sensor(
    end: str,
    names: Sequence[str],
    status: dg.DagsterRunStatus,
    tell: Callable[..., dg.SkipReason],
    enabled: bool,
    jobs: Sequence[Job],
) -> dg.SensorDefinition:
    chosen = _chosen(names, VARIABLES[end], jobs)
    always: dict[str, Any] = {
        "name": f"notify_{end}",
        "description": f"Tells of runs that ended in {end}, as {VARIABLES[end]} says (docs/notifications.md).",
        "minimum_interval_seconds": _SECONDS,
        "default_status": dg.DefaultSensorStatus.RUNNING,
    }
    if not enabled or set(names) <= {NONE}:
        return dg.sensor(**always)(_tell_nobody)
    return dg.run_status_sensor(run_status=status, monitored_jobs=chosen, **always)(tell)


def _chosen(names: Sequence[str], variable: str, jobs: Sequence[Job]) -> list[Job] | None:
    """The jobs of these names; None where there is nothing to choose."""
    if set(names) <= {ALL, NONE}:
        return None
    by_name = {job.name: job for job in jobs}
    if unknown := [name for name in names if name not in by_name]:
        raise NotifySettingsError(
            f"{variable} names {', '.join(unknown)}; expected all, none, or jobs: {', '.join(sorted(by_name))}"
        )
    return [by_name[name] for name in names]


def _tell_nobody(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Forget what was told last, so that whoever is named next is told of what ends from then on."""
    return dg.SensorResult(skip_reason=NOBODY, cursor=NOBODY)


def _notify_success(
    context: dg.RunStatusSensorContext, object_store: ObjectStoreResource, lakehouse: LakehouseResource
) -> dg.SkipReason:
    """Tell of a run that succeeded."""
    settings, run = load_notify_settings(), context.dagster_run
    if reason := _not_told(settings, run, succeeded=True):
        return dg.SkipReason(reason)
    _note(context.instance, run)
    told = told_of_success(
        context.instance,
        run,
        _link(settings, run),
        lambda molecules: best_energies(connect(object_store, lakehouse), molecules),
        hide_secrets(),
    )
    return _tell(context, told, settings)


def _notify_failure(context: dg.RunStatusSensorContext) -> dg.SkipReason:
    """Tell of a run that failed."""
    settings, run = load_notify_settings(), context.dagster_run
    if reason := _not_told(settings, run, succeeded=False) or _tried_again(context.instance, run):
        return dg.SkipReason(reason)
    _note(context.instance, run)
    return _tell(context, told_of_failure(context.instance, run, _link(settings, run), hide_secrets()), settings)


def _not_told(settings: NotifySettings, run: dg.DagsterRun, *, succeeded: bool) -> str:
    """Why nobody is told of the run; empty where somebody is."""
    if not settings.enabled:
        return f"nobody is to be told: set {VARIABLES['email_to']} or {VARIABLES['webhook']}"
    if run.tags.get(NOTIFIED_TAG) == run.run_id:
        return f"run {run.run_id} was told of before"
    if not settings.wants(run.job_name, succeeded):
        return f"nobody wants to be told of {run.job_name}"
    return ""


def _tried_again(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Why nobody is told of the failure yet; empty where it is the last one."""
    if is_launched_again(instance, run) or run.tags.get(_WILL_RETRY_TAG) == "true":
        return f"run {run.run_id} will be launched again: its last attempt is told of"
    return ""


def _note(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    instance.add_run_tags(run.run_id, {NOTIFIED_TAG: run.run_id})


def _link(settings: NotifySettings, run: dg.DagsterRun) -> str:
    return f"{settings.ui_url.rstrip('/')}/runs/{run.run_id}"


def _tell(context: dg.RunStatusSensorContext, told: Notification, settings: NotifySettings) -> dg.SkipReason:
    """Send it; what could not be sent is said in the run's log and the tick's, and not tried again."""
    outcome = deliver(told, settings)
    said = [f"{channel}: {error or 'sent'}" for channel, error in outcome.items()]
    # SkipReason: what it says is shown at the tick, and one run is told of at a tick, which bounds how long one takes.
    text = f"told of {told.subject!r}; {'; '.join(said)}"
    context.instance.report_engine_event(text, context.dagster_run, cls=None)
    for channel, error in outcome.items():
        if error:
            context.log.error(f"{channel} of run {context.dagster_run.run_id} is lost: {error}")
    return dg.SkipReason(text)
