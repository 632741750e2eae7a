"""Which engine computes the tables: QPIPE_ENGINE, in Dagster and without; what is missing is told before any work."""

from __future__ import annotations

from typing import Any

import psutil
import pytest

from qpipe_assets.retries import NO_RETRIES_TAG
from qpipe_assets.tables.embedded_engine import EmbeddedEngine
from qpipe_assets.tables.installation import open_installation
from qpipe_resources.settings import Settings, SettingsError, load_settings
from qpipe_resources.spark import jars
from qpipe_resources.spark.errors import SparkUnavailableError
from tests.dagster_layer.conftest import Deployment
from tests.tables.protocol import assert_at_rest


@pytest.fixture
def without_jars(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QPIPE_SPARK_JARS", str(tmp_path / "nothing"))
    monkeypatch.setattr(jars, "require_java", lambda: None)


def jvms() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True) if child.name() == "java"}


def test_the_tables_are_computed_by_this_process_unless_it_is_said_otherwise(settings: Settings) -> None:
    assert isinstance(open_installation(settings).engine, EmbeddedEngine)


def test_an_unknown_engine_is_refused_with_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QPIPE_ENGINE", "flink")
    with pytest.raises(SettingsError, match=r"QPIPE_ENGINE='flink'.*embedded.*spark"):
        load_settings()


@pytest.mark.spark
def test_without_jars_the_remedy_is_named_before_any_work_and_reading_goes_on(
    on_spark: Deployment, without_jars: None
) -> None:
    on_spark.drop(1)
    with pytest.raises(SparkUnavailableError, match="make jars"):
        on_spark.installation.ingest()
    failed = on_spark.run("molecule_processing", "LiH")
    assert not failed.success
    told = [str(getattr(event.event_specific_data, "error", "")) for event in failed.all_events if event.is_failure]
    assert any("make jars" in error for error in told), told
    assert not any(event.is_step_start for event in failed.all_events)
    assert list(on_spark.installation.store.list_objects("staging/")) == []
    assert on_spark.rows()["vqe_results"] == 0


@pytest.mark.spark
def test_a_run_on_spark_makes_the_tables_and_leaves_no_jvm_and_starts_none_where_nothing_is_new(
    on_spark: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qpipe_resources.spark.table_engine import SparkTables

    opened = []
    original = SparkTables.open

    def counted(resource: SparkTables) -> Any:
        driver = original(resource)
        opened.append(driver.jvm_pid)
        return driver

    monkeypatch.setattr(SparkTables, "open", counted)
    on_spark.drop(1)
    on_spark.drop(2)
    assert on_spark.run("molecule_processing", "LiH", tags={NO_RETRIES_TAG: "true"}).success
    rows = on_spark.rows()
    assert (rows["vqe_results"], rows["vqe_iterations"]) == (2, 24)
    assert (rows["ml_iteration_features"], rows["ml_run_summary"]) == (24, 2)
    assert len(opened) > 2 and len(set(opened)) == 1
    assert jvms() == set()
    opened.clear()
    assert on_spark.run("molecule_processing", "LiH").success
    assert opened == []
    assert on_spark.rows() == rows
    assert_at_rest(on_spark.installation, ("LiH",))
