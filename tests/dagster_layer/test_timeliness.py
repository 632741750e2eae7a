"""The service levels: an object is in the nine tables within 1 h 30, a batch in the ML tables within 45 minutes."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from jobs.definitions import build_defs
from jobs.timeliness import FEATURES_IN_TIME, ROWS_IN_TIME, in_time, timeliness_checks
from qpipe_resources.deployment import resources_for
from tests.dagster_layer.conftest import Deployment


@pytest.fixture
def sensor(persistent: Deployment) -> Iterator[dg.SensorEvaluationContext]:
    with dg.build_sensor_context(persistent.instance, resources=dict(resources_for("local"))) as context:
        yield context


def look(context: dg.SensorEvaluationContext) -> dict[str, bool]:
    """What the sensor reports: whether each check passes; nothing where nothing has changed."""
    result: Any = in_time(context)
    if isinstance(result, dg.SkipReason):
        return {}
    context.update_cursor(result.cursor)
    return {event.check_name: event.passed for event in result.asset_events}


def in_hours(monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    later = dt.datetime.now(dt.UTC).replace(hour=1, minute=0) + dt.timedelta(hours=hours)
    monkeypatch.setattr("jobs.timeliness.present", lambda: later)


def test_a_quiet_laboratory_is_never_late(sensor: dg.SensorEvaluationContext, monkeypatch: pytest.MonkeyPatch) -> None:
    for hours in (0, 24, 24 * 365):
        in_hours(monkeypatch, hours)
        assert look(sensor) == {"rows_in_time": True, "features_in_time": True}
        assert look(sensor) == {}, "told once a day while nothing changes"


def test_an_object_that_waits_for_over_an_hour_and_a_half_is_late_until_it_is_in_the_tables(
    persistent: Deployment, sensor: dg.SensorEvaluationContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_hours(monkeypatch, 0)
    landed = dt.datetime.now(dt.UTC).replace(hour=1, minute=0).timestamp()
    os.utime(persistent.drop(1), (landed, landed))
    in_hours(monkeypatch, 1.4)
    assert look(sensor) == {"rows_in_time": True, "features_in_time": True}
    in_hours(monkeypatch, 1.6)
    assert look(sensor) == {"rows_in_time": False, "features_in_time": True}
    persistent.ingest("LiH")
    assert look(sensor) == {"rows_in_time": True, "features_in_time": True}


def test_who_is_told_of_failures_is_told_once_of_what_has_become_late(
    persistent: Deployment, sensor: dg.SensorEvaluationContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr("jobs.timeliness.deliver", lambda notification, settings: told.append(notification) or {})
    persistent.drop(1)
    in_hours(monkeypatch, 48)
    look(sensor)
    assert told == [], "nobody is named"
    monkeypatch.setenv("QPIPE_NOTIFY_EMAIL_TO", "lab@example.com")
    for hours, cursor in ((48, ""), (72, None)):
        if cursor is not None:
            sensor.update_cursor(cursor)
        in_hours(monkeypatch, hours)
        assert look(sensor) == {"rows_in_time": False, "features_in_time": True}
    [notification] = told
    assert (notification.kind, notification.subject) == ("late", "qpipe: late in the tables (LiH)")


def test_a_molecule_that_becomes_late_beside_another_one_is_told_as_well(
    persistent: Deployment, sensor: dg.SensorEvaluationContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr("jobs.timeliness.deliver", lambda notification, settings: told.append(notification) or {})
    monkeypatch.setenv("QPIPE_NOTIFY_EMAIL_TO", "lab@example.com")
    in_hours(monkeypatch, 48)
    for molecule in ("LiH", "H2"):
        persistent.drop(1, molecule)
        assert look(sensor) == {"rows_in_time": False, "features_in_time": True}
        assert look(sensor) == {}, "reported before"
    assert [notification.facts["molecules"] for notification in told] == [["LiH"], ["H2"]]
    in_hours(monkeypatch, 72)
    assert look(sensor) == {"rows_in_time": False, "features_in_time": True}
    assert len(told) == 2, "a new day is no news"


def test_a_batch_that_the_ml_tables_lack_for_over_45_minutes_is_late(
    persistent: Deployment, sensor: dg.SensorEvaluationContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    persistent.drop(1)
    persistent.installation.ingest().run("LiH")
    now = dt.datetime.now(dt.UTC)
    for minutes, passes in ((40, True), (50, False)):
        monkeypatch.setattr("jobs.timeliness.present", lambda minutes=minutes: now + dt.timedelta(minutes=minutes))
        sensor.update_cursor("")
        assert look(sensor) == {"rows_in_time": True, "features_in_time": passes}


def test_the_checks_belong_to_the_tables_but_to_no_run_of_a_job(persistent: Deployment) -> None:
    keys = {ROWS_IN_TIME, FEATURES_IN_TIME}
    graph = build_defs().resolve_asset_graph()
    assert keys <= set(graph.asset_check_keys)
    for name in ("quantum_feature_processing", "molecule_processing", "vqe_batch_generation"):
        assert not keys & set(build_defs().resolve_job_def(name).asset_layer.asset_graph.asset_check_keys)
    result = dg.materialize(
        [timeliness_checks],
        resources=dict(resources_for("local")),
        instance=persistent.instance,
        selection=dg.AssetSelection.checks(*keys),
    )
    assert [check.passed for check in result.get_asset_check_evaluations()] == [True, True]
