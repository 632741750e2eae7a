"""A campaign whose runs Spark's executors compute: each landed once, and refused where executors could not land it."""

from __future__ import annotations

from typing import Any

import pytest

from qpipe_assets.retries import NO_RETRIES_TAG
from simulation.record import VQEDecoratedResult
from tests.dagster_layer.conftest import Deployment
from tests.dagster_layer.test_vqe_runs import JOB, campaign, failure, landed, metadata

TAGS = {NO_RETRIES_TAG: "true"}


def on_executors(*seeds: int, **options: Any) -> dict[str, Any]:
    return campaign(*seeds, executor="spark", max_iterations=4, **options)


def test_executor_spark_is_refused_where_spark_does_not_compute_the_tables(deployment: Deployment) -> None:
    result = deployment.run(JOB, "H2", on_executors(1), tags=TAGS)
    assert not result.success
    assert "QPIPE_ENGINE=spark" in str(failure(result).error)
    assert landed(deployment) == []


@pytest.mark.spark
def test_runs_on_executors_land_once_with_their_provenance_and_are_not_computed_again(on_spark: Deployment) -> None:
    assets = {"asset_selection": _vqe_runs(), "tags": TAGS}
    result = on_spark.run(JOB, "H2", on_executors(1, 2, 3, campaign="pilot"), **assets)
    assert result.success
    paths = landed(on_spark)
    records = [VQEDecoratedResult.model_validate_json(path.read_bytes()) for path in paths]
    assert [path.stem for path in paths] == sorted(str(record.experiment_id) for record in records)
    assert len(records) == 3
    assert {(record.campaign, record.dagster_run_id) for record in records} == {("pilot", result.run_id)}
    assert all(len(record.vqe_result.iteration_list) >= 4 for record in records)
    assert metadata(result)["computed"] == 3
    contents = [path.read_bytes() for path in paths]
    again = on_spark.run(JOB, "H2", on_executors(1, 2, 3), **assets)
    assert again.success and metadata(again)["computed"] == 0
    assert [path.read_bytes() for path in landed(on_spark)] == contents


def _vqe_runs() -> list[Any]:
    from dagster import AssetKey

    return [AssetKey("vqe_runs")]
