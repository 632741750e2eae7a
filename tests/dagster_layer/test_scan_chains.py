"""A scan in the configuration of vqe_runs: every point lands, each starts from its neighbour, the curve is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.definitions import build_defs
from simulation.record import VQEDecoratedResult
from tests.dagster_layer.conftest import Deployment
from tests.dagster_layer.test_vqe_runs import JOB, failure, landed, metadata

SCAN: dict[str, Any] = {"kind": "bond", "atoms": [0, 1], "start": 0.6, "stop": 1.2, "points": 3}


def records(deployment: Deployment) -> dict[str, VQEDecoratedResult]:
    found = [VQEDecoratedResult.model_validate_json(path.read_bytes()) for path in landed(deployment)]
    return {record.experiment_id or "": record for record in found}


@pytest.fixture
def real(deployment: Deployment) -> Deployment:
    deployment.definitions = build_defs()
    return deployment


def test_a_scan_lands_its_points_in_chains_and_shows_the_curve(real: Deployment) -> None:
    asked = {"vqe_runs": {"scan": SCAN, "ansatz_reps": [1, 2]}}
    result = real.run(JOB, "H2", asked)
    assert result.success
    found = records(real)
    assert sorted((r.vqe_result.initial_data.ansatz_reps, r.scan_value) for r in found.values()) == [
        (reps, value) for reps in (1, 2) for value in (0.6, 0.9, 1.2)
    ]
    for record in found.values():
        assert record.scan_coordinate == "bond 0-1"
        assert record.energy_error_mha is not None and abs(record.energy_error_mha) < 1e-3
        if record.previous_experiment is not None:
            neighbour = found[record.previous_experiment]
            assert neighbour.vqe_result.initial_data.ansatz_reps == record.vqe_result.initial_data.ansatz_reps
    assert sum(record.previous_experiment is None for record in found.values()) == 2
    assert metadata(result)["scan"].count("data:image/png;base64,iVBOR") == 2
    assert real.rows()["vqe_results"] == 6


def test_a_scan_that_lost_points_goes_on_with_the_same_experiments(real: Deployment) -> None:
    asked = {"vqe_runs": {"scan": SCAN}}
    assert real.run(JOB, "H2", asked).success
    before = records(real)
    lost: list[Path] = [p for p in landed(real) if before[p.stem].scan_value != 0.6]
    kept = {p: p.stat().st_mtime_ns for p in landed(real) if p not in lost}
    for path in lost:
        path.unlink()
    again = real.run(JOB, "H2", asked)
    assert (metadata(again)["computed"], metadata(again)["skipped"]) == (2, 1)
    after = records(real)
    assert {i: r.vqe_result.minimum for i, r in after.items()} == {i: r.vqe_result.minimum for i, r in before.items()}
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert real.rows()["vqe_results"] == 3


@pytest.mark.parametrize(
    ("scan", "words"),
    [
        (SCAN | {"atoms": [0, 5]}, "no atom 5"),
        (SCAN | {"start": -1.0}, "-1 angstrom"),
        (SCAN | {"values": [0.7, 0.9]}, "exclude each other"),
    ],
)
def test_an_impossible_scan_fails_before_any_work(real: Deployment, scan: dict[str, Any], words: str) -> None:
    result = real.run(JOB, "H2", {"vqe_runs": {"scan": scan}})
    assert not result.success
    assert words in failure(result).user_failure_data.description
    assert landed(real) == []


def test_points_after_a_failed_one_are_not_started(real: Deployment) -> None:
    asked = {"vqe_runs": {"scan": SCAN}}
    assert real.run(JOB, "H2", asked).success
    # The first point's record is made one that its neighbour cannot start from.
    [middle] = [record for record in records(real).values() if record.previous_experiment is None]
    for path in landed(real):
        if path.stem != middle.experiment_id:
            path.unlink()
        else:
            path.write_text(middle.model_copy(update={"basis_set": "6-31g"}).model_dump_json())
    result = real.run(JOB, "H2", asked)
    assert not result.success
    described = failure(result).user_failure_data.description
    assert "basis of the previous experiment: '6-31g'" in described
    assert described.count("not started: experiment") == 1
    assert landed(real) == [path for path in landed(real) if path.stem == middle.experiment_id]
