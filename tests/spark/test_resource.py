"""Spark in Dagster: opened at first use, ended with the run, whatever the run ends with."""

import dagster as dg
import psutil
import pytest

from qpipe_assets.tables.installation import Installation
from qpipe_resources.settings import SettingsError

pytestmark = pytest.mark.spark


def run(installation: Installation, monkeypatch: pytest.MonkeyPatch, body: str) -> list[tuple[int, str]]:
    """Materialize one asset that uses the session, or not; process id and memory of the JVMs that there were."""
    from qpipe_resources.spark.resource import SparkResource

    monkeypatch.setenv("QPIPE_HOME", str(installation.settings.home))
    seen: list[tuple[int, str]] = []

    @dg.asset(required_resource_keys={"spark"})
    def counted(context: dg.AssetExecutionContext) -> int:
        spark = context.resources.spark
        if body == "idle":
            return 0
        driver = spark.open()
        assert driver is spark.open()
        assert driver.jvm_pid is not None
        seen.append((driver.jvm_pid, driver.session.conf.get("spark.driver.memory")))
        if body == "fails":
            raise RuntimeError("on purpose")
        assert spark.spark_session.conf.get("spark.sql.shuffle.partitions") == "5"
        return spark.spark_session.table("vqe_results").count()

    resource = SparkResource(spark_config={"spark": {"sql": {"shuffle.partitions": 5}}})
    result = dg.materialize([counted], resources={"spark": resource}, raise_on_error=False)
    assert result.success is (body != "fails")
    if body == "counts":
        assert result.output_for_node("counted") == 6
    return seen


def test_the_jvm_ends_with_a_run_and_the_next_run_s_has_its_own_settings(
    filled: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QPIPE_SPARK_MASTER", "local[1]")
    monkeypatch.setenv("QPIPE_SPARK_DRIVER_MEMORY", "600m")
    first = run(filled, monkeypatch, "counts")
    assert first[0][1] == "600m"
    monkeypatch.setenv("QPIPE_SPARK_DRIVER_MEMORY", "500m")
    second = run(filled, monkeypatch, "fails")
    assert second[0][1] == "500m"
    assert not any(psutil.pid_exists(pid) for pid, _ in first + second)


def test_a_run_that_does_not_use_spark_starts_none(filled: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(filled, monkeypatch, "idle") == []


def test_settings_that_cannot_be_used_end_the_run_before_the_asset(
    filled: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qpipe_resources.spark.resource import SparkResource

    monkeypatch.setenv("QPIPE_SPARK_MASTER", "yarn")

    @dg.asset(required_resource_keys={"spark"})
    def never(context: dg.AssetExecutionContext) -> None:
        raise AssertionError("the asset ran")

    with pytest.raises(Exception) as failure:
        dg.materialize([never], resources={"spark": SparkResource()})
    assert isinstance(failure.value.__cause__ or failure.value, SettingsError)
