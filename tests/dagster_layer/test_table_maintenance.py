"""The maintenance asset: what a run does, and what it shows of it."""

from __future__ import annotations

import functools
from typing import Any

import dagster as dg
import pytest

from jobs.definitions import build_defs
from jobs.schedules import nightly_maintenance
from qpipe_assets.table_maintenance import table_maintenance
from qpipe_assets.tables import schemas
from qpipe_assets.tables.maintenance_pass import Maintenance
from qpipe_resources.deployment import resources_for
from tests.dagster_layer.conftest import Deployment
from tests.noon import TOMORROW


@pytest.fixture
def two_batches(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, at_noon: None) -> Deployment:
    """Two small files in each table, of a day that is over."""
    for number in (1, 2):
        deployment.drop(number)
        assert deployment.run("molecule_processing", "LiH").success
    monkeypatch.setattr(Maintenance, "run", functools.partialmethod(Maintenance.run, now=TOMORROW))
    return deployment


def maintain(deployment: Deployment, **config: object) -> dict[str, Any]:
    result = dg.materialize(
        [table_maintenance],
        instance=deployment.instance,
        resources=dict(resources_for("local")),
        run_config={"ops": {"table_maintenance": {"config": config}}},
    )
    (materialization,) = result.asset_materializations_for_node("table_maintenance")
    return {name: value.value for name, value in materialization.metadata.items()}


def test_a_run_reports_files_and_bytes_of_every_table_before_and_after(two_batches: Deployment) -> None:
    rows = two_batches.rows()
    shown = maintain(two_batches)
    tables = {record.data["table"]: record.data for record in shown["tables"].records}
    assert list(tables) == schemas.names(schemas.ALL)
    assert {(row["files_before"], row["files_after"]) for row in tables.values()} == {(2, 1)}
    assert all(row["bytes_after"] < row["bytes_before"] for row in tables.values())
    assert shown["bytes_before"] == sum(row["bytes_before"] for row in tables.values())
    assert two_batches.rows() == rows


def test_a_dry_run_of_one_table_changes_nothing(two_batches: Deployment) -> None:
    before = two_batches.snapshots()
    shown = maintain(two_batches, dry_run=True, tables=["vqe_results"])
    (row,) = (record.data for record in shown["tables"].records)
    assert (row["table"], row["files_before"], row["files_after"]) == ("vqe_results", 2, 1)
    assert two_batches.snapshots() == before


def test_it_runs_every_night() -> None:
    assert nightly_maintenance.cron_schedule == "0 5 * * *"
    assert nightly_maintenance.default_status == dg.DefaultScheduleStatus.RUNNING
    job = build_defs().resolve_job_def("maintenance")
    assert {key.path[-1] for key in job.asset_layer.selected_asset_keys} == {"table_maintenance"}
