"""The asset vqe_runs: every finished run lands, nothing is computed twice, one failure loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from jobs.definitions import build_defs
from qpipe_resources.deployment import ObjectStoreResource
from qpipe_resources.object_store import FolderObjectStore, ObjectStore
from qpipe_resources.settings import load_settings
from simulation.record import VQEDecoratedResult
from tests.dagster_layer.conftest import Deployment
from tests.dagster_layer.fake_simulation import FAILING_SEED, KILLING_SEED, fake_workers_class

JOB = "vqe_experiment"


def campaign(*seeds: int, **options: Any) -> dict[str, Any]:
    return {"vqe_runs": {"ansatz": ["EfficientSU2"], "init_strategy": ["random"], "seed": list(seeds), **options}}


def landed(deployment: Deployment) -> list[Path]:
    return sorted(deployment.settings.raw_results.glob("experiments/experiment.vqe/molecule=*/**/*.json"))


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    [event] = result.asset_materializations_for_node("vqe_runs")
    return {
        name: [record.data for record in value.records] if isinstance(value, dg.TableMetadataValue) else value.value
        for name, value in event.metadata.items()
    }


def failure(result: dg.ExecuteInProcessResult) -> Any:
    [event] = [event for event in result.all_events if event.is_step_failure]
    return event.step_failure_data


def test_a_campaign_lands_one_object_for_each_run_with_its_provenance(deployment: Deployment) -> None:
    result = deployment.run(JOB, "H2", campaign(1, 2, 3, campaign="pilot"))
    assert result.success
    records = [VQEDecoratedResult.model_validate_json(path.read_bytes()) for path in landed(deployment)]
    assert [path.stem for path in landed(deployment)] == sorted(r.experiment_id or "" for r in records)
    assert all("molecule=H2/year=2026/month=11/day=21" in str(path) for path in landed(deployment))
    assert {record.campaign for record in records} == {"pilot"}
    assert {record.dagster_run_id for record in records} == {result.run_id}
    found = metadata(result)
    assert {name: found[name] for name in ("asked", "computed", "skipped", "failed", "invalid")} == {
        "asked": 3,
        "computed": 3,
        "skipped": 0,
        "failed": 0,
        "invalid": 0,
    }
    assert len(found["runs"]) == 3
    assert found["convergence"].startswith("![convergence of H2](data:image/png;base64,iVBOR")
    assert len(found["convergence"]) < 60_000
    assert deployment.rows()["vqe_results"] == 3


def test_what_has_landed_is_not_computed_again_unless_forced(deployment: Deployment) -> None:
    deployment.run(JOB, "H2", campaign(1, 2))
    before, rows, snapshots = (
        [p.stat().st_mtime_ns for p in landed(deployment)],
        deployment.rows(),
        deployment.snapshots(),
    )
    again = deployment.run(JOB, "H2", campaign(1, 2))
    assert (metadata(again)["computed"], metadata(again)["skipped"]) == (0, 2)
    assert [path.stat().st_mtime_ns for path in landed(deployment)] == before
    assert (deployment.rows(), deployment.snapshots()) == (rows, snapshots)
    forced = deployment.run(JOB, "H2", campaign(1, 2, force=True))
    assert metadata(forced)["computed"] == 2
    assert {k: v for k, v in deployment.rows().items() if k != "processing_metadata"} == {
        k: v for k, v in rows.items() if k != "processing_metadata"
    }


def test_a_run_whose_object_is_gone_but_whose_rows_are_there_is_not_computed_again(deployment: Deployment) -> None:
    deployment.run(JOB, "H2", campaign(1))
    for path in landed(deployment):
        path.unlink()
    assert metadata(deployment.run(JOB, "H2", campaign(1)))["skipped"] == 1


def test_one_failing_run_and_one_that_kills_its_process_do_not_lose_the_others(deployment: Deployment) -> None:
    result = deployment.run(JOB, "H2", campaign(1, FAILING_SEED, 2, KILLING_SEED, 3))
    assert not result.success
    assert len(landed(deployment)) == 3
    failed = failure(result)
    message = failed.user_failure_data.description
    assert "2 of 5 runs of H2 failed; the others have landed" in message
    assert f"seed {FAILING_SEED}" in message and "the energy of evaluation 3 is not finite" in message
    assert f"seed {KILLING_SEED}" in message and "died 2 times (SIGKILL" in message
    assert failed.user_failure_data.metadata["computed"].value == 3
    [interrupted] = [
        line
        for entry in deployment.instance.all_logs(result.run_id)
        if (line := entry.user_message).startswith("interrupted ")
    ]
    assert f"seed {KILLING_SEED}" in interrupted and interrupted.endswith("it is tried once more")
    assert deployment.run("molecule_processing", "H2").success
    assert deployment.rows()["vqe_results"] == 3


@pytest.mark.parametrize(
    ("partition", "options", "words"),
    [
        ("H2", {"max_iterations": 5, "threshold": 1e-6}, "exclude each other"),
        ("XeF2", {}, "has no geometry in the catalogue"),
    ],
)
def test_an_impossible_campaign_fails_before_any_work_and_is_not_retried(
    deployment: Deployment, partition: str, options: dict[str, Any], words: str
) -> None:
    deployment.instance.add_dynamic_partitions("molecule", ["XeF2"])
    result = deployment.run(JOB, partition, campaign(1, **options))
    assert not result.success
    assert words in failure(result).user_failure_data.description
    assert landed(deployment) == []


class _FullStore(FolderObjectStore):
    """A store whose disk is full."""

    def put(self, key: str, data: bytes) -> str:
        raise OSError(28, "No space left on device")


def _store_resource(opened: Callable[[], ObjectStore]) -> ObjectStoreResource:
    class Resource(ObjectStoreResource):
        def open(self) -> ObjectStore:
            return opened()

    return Resource()


def test_what_the_store_refuses_is_kept_and_delivered_by_the_next_materialization(deployment: Deployment) -> None:
    full = _store_resource(lambda: _FullStore(load_settings().raw_results))
    broken = build_defs({"simulation_workers": fake_workers_class()(), "object_store": full})
    refused = Deployment(deployment.instance, broken, deployment.settings).run(JOB, "H2", campaign(1, 2))
    assert not refused.success
    assert "No space left on device" in failure(refused).user_failure_data.description
    assert landed(deployment) == []
    assert len(list((deployment.settings.outbox / "local" / "undelivered").glob("**/*.json"))) == 2
    result = deployment.run(JOB, "H2", campaign(1, 2))
    assert (metadata(result)["computed"], metadata(result)["skipped"]) == (0, 2)
    assert len(landed(deployment)) == 2
    assert list((deployment.settings.outbox / "local" / "undelivered").glob("**/*.json")) == []
    assert deployment.rows()["vqe_results"] == 2


def test_a_real_run_goes_from_the_geometry_to_the_ml_tables(deployment: Deployment) -> None:
    deployment.definitions = build_defs()
    result = deployment.run(JOB, "H2")
    assert result.success
    [row] = metadata(result)["runs"]
    assert abs(row["error_mha"]) < 1e-3
    assert row["valid"] is True
    assert deployment.rows()["ml_run_summary"] == 1
    assert all(check.passed for check in result.get_asset_check_evaluations())


def test_a_campaign_writes_reports_where_it_is_asked_to_and_always_shows_the_molecule(deployment: Deployment) -> None:
    plain = metadata(deployment.run(JOB, "H2", campaign(1)))
    assert plain["molecule"].startswith("![H2](data:image/png;base64,") and "report" not in plain
    found = metadata(deployment.run(JOB, "H2", campaign(2, report=True)))
    written = sorted(path.name for path in deployment.settings.reports.iterdir())
    [row] = found["runs"]
    assert {name.split(".")[-1] for name in written} == {"html", "pdf"}
    assert [name for name in written if name.startswith(f"H2-{row['experiment_id']}")], "of the run"
    assert found["report"] == str(deployment.settings.reports / "H2.html"), "of the molecule"
    page = (deployment.settings.reports / "H2.html").read_text(encoding="utf-8")
    assert page.count(row["experiment_id"][:8]) >= 1


def test_a_report_that_fails_is_told_and_costs_no_run(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> list[Path]:
        raise RuntimeError("no more ink")

    monkeypatch.setattr("qpipe_assets.vqe_runs.write_run_report", broken)
    result = deployment.run(JOB, "H2", campaign(1, 2, report=True))
    assert "no more ink" in failure(result).error.message
    assert len(landed(deployment)) == 2
