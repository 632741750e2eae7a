"""`qpipe scan`: the curve as rows, records and a picture; it goes on where it was stopped."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from qpipe_cli.main import app
from simulation.record import VQEDecoratedResult

H2 = ("scan", "-m", "H2", "--bond", "0,1", "--from", "0.5", "--to", "1.5", "--points", "5")
LIH = ("scan", "-m", "LiH", "--bond", "0,1", "--from", "1.2", "--to", "2.4", "--points", "7")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QPIPE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def qpipe(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def rows(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def landed(folder: Path) -> list[VQEDecoratedResult]:
    return [VQEDecoratedResult.model_validate_json(path.read_bytes()) for path in sorted(folder.rglob("*.json"))]


def test_a_scan_prints_the_curve_lands_every_point_and_draws_it(home: Path, tmp_path: Path) -> None:
    points = rows(qpipe(*H2, "--format", "json"))
    assert [point["coordinate"] for point in points] == [0.5, 0.75, 1.0, 1.25, 1.5]
    assert all(abs(point["error_mha"]) < 1e-3 and point["valid"] for point in points)
    assert all(point["vqe_energy"] < point["hf_energy"] for point in points)
    records = {record.experiment_id: record for record in landed(home / "raw-results")}
    assert set(records) == {point["experiment_id"] for point in points}
    assert {record.scan_coordinate for record in records.values()} == {"bond 0-1"}
    assert {point["start"] for point in points} == {"hf", "previous"}
    assert [point["coordinate"] for point in points if point["previous_experiment"] is None] == [0.75]
    assert (tmp_path / "H2-bond-0-1.png").read_bytes().startswith(b"\x89PNG")


def test_a_stopped_scan_goes_on_from_the_points_that_have_landed(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = rows(qpipe(*H2, "--format", "json", "--output-dir", str(out)))
    times = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
    lost = next(point for point in first if point["coordinate"] == 1.25)["experiment_id"]
    (out / f"{lost}.json").unlink()
    again = qpipe(*H2, "--format", "json", "--output-dir", str(out))
    energies = [[point[key] for key in ("experiment_id", "vqe_energy", "evaluations")] for point in rows(again)]
    assert energies == [[point[key] for key in ("experiment_id", "vqe_energy", "evaluations")] for point in first]
    assert {p for p in times if p.stat().st_mtime_ns != times[p]} == {out / f"{lost}.json"}
    assert again.stderr.count("already computed") == 4
    assert not (home / "raw-results").exists()


def test_a_killed_scan_started_again_ends_in_the_curve_of_an_undisturbed_one(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    program = [sys.executable, "-c", "from qpipe_cli.main import run; run()", *LIH, "--output-dir", str(out)]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.json"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
    assert 2 <= len(before) < 7
    resumed = rows(qpipe(*LIH, "--output-dir", str(out), "--format", "json"))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    whole = rows(qpipe(*LIH, "--output-dir", str(tmp_path / "whole"), "--format", "json"))
    said = ("coordinate", "vqe_energy", "evaluations", "experiment_id", "previous_experiment")
    assert [[row[key] for key in said] for row in resumed] == [[row[key] for key in said] for row in whole]


def test_a_failing_point_leaves_the_others_landed_and_says_how_to_go_on(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (*H2, "--output-dir", str(out), "--format", "json")
    # The first point's record is made one that its neighbours cannot start from.
    whole = rows(qpipe(*arguments))
    first = next(point for point in whole if point["start"] == "hf")["experiment_id"]
    for path in out.glob("*.json"):
        if path.stem != first:
            path.unlink()
    (out / f"{first}.json").write_text(landed(out)[0].model_copy(update={"basis_set": "6-31g"}).model_dump_json())
    result = qpipe(*arguments)
    assert result.exit_code == 1
    assert "1 of 5 points are done and have landed; run the same command to go on" in result.stderr
    assert "basis of the previous experiment: '6-31g'" in result.stderr
    assert len(json.loads(result.stdout)) == 1


def test_the_options_of_a_run_are_those_of_simulate(home: Path) -> None:
    points = rows(
        qpipe(
            *("scan", "-m", "LiH", "--bond", "0,1", "--values", "1.5,1.7", "--mapper", "parity"),
            *("--active-space", "2,3", "--optimizer", "COBYLA", "--plot", "curve.svg", "--format", "json"),
        )
    )
    assert len(points) == 2
    record = landed(home / "raw-results")[0]
    assert (record.mapper, record.vqe_result.initial_data.optimizer) == ("parity", "COBYLA")
    assert Path("curve.svg").read_text().count("<svg") == 1


def test_a_molecule_file_may_carry_the_scan(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "molecules.json"
    scan = {"kind": "bond", "atoms": [0, 1], "start": 0.7, "stop": 0.9, "points": 3}
    file.write_text(json.dumps([{"symbols": ["H", "H"], "coords": [[0, 0, 0], [0, 0, 0.74]], "scan": scan}]))
    points = rows(qpipe("scan", "-f", str(file), "--format", "json"))
    assert [point["coordinate"] for point in points] == [0.7, 0.8, 0.9]


def test_points_that_are_not_valid_are_told_with_their_reason(home: Path) -> None:
    bad = ("--ansatz", "EfficientSU2", "--ansatz-reps", "1", "--init-strategy", "random", "--seed", "3")
    result = qpipe("scan", "-m", "H2", "--bond", "0,1", "--values", "0.7,0.8", *bad, "--max-iterations", "1")
    assert result.exit_code == 0, result.stderr
    reasons = {record.scan_value: record.invalid_reason for record in landed(home / "raw-results")}
    assert len(reasons) == 2
    for value, reason in reasons.items():
        assert f"\nH2 bond 0-1 = {value:g}: not valid: {reason}\n" in result.stderr


def test_a_scan_that_cannot_run_is_refused_before_anything_is_computed(home: Path) -> None:
    result = qpipe("scan", "-m", "H2", "--bond", "0,1", "--values", "0.7,0.8", "--active-space", "2,9")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: H2 bond 0-1 = 0.7: ") and result.stderr.count("\n") == 1
    assert not list(Path().glob("*.png"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-m", "H2"], "--bond"),
        (["--bond", "0,1", "--from", "1", "--to", "2", "--points", "3"], "-m LiH"),
        (["-m", "Xx", "--bond", "0,1", "--values", "1,2"], "Xx"),
        (["-m", "H2", "--bond", "0,x", "--values", "1,2"], "0,x"),
        (["-m", "H2", "--bond", "0,5", "--values", "1,2"], "no atom 5"),
        (["-m", "H2", "--bond", "0,-1", "--values", "1,2"], "-1"),
        (["-m", "H2", "--bond", "0,1", "--values", "1,nan"], "nan"),
        (["-m", "H2", "--bond", "0,1", "--values", "1,-2"], "-2 angstrom"),
        (["-m", "H2", "--bond", "0,1", "--from", "1", "--to", "2"], "give all three"),
        (["-m", "H2O", "--angle", "1,0,2", "--values", "90,200"], "200 degree"),
        (["-m", "H2O", "--angle", "1,0,2", "--bond", "0,1", "--values", "90,100"], "exclude each other"),
        (["-m", "H2", "--bond", "0,1", "--values", "1,2", "--basis", "sto-9g"], "sto-9g"),
        (["-m", "H2", "--bond", "0,1", "--values", "1,2", "--plot", "curve.bmp"], "curve.bmp"),
        (["-m", "H2", "--bond", "0,1", "--values", "1,2", "--shots", "0"], "shots"),
    ],
)
def test_bad_input_is_refused_before_any_work_naming_it(home: Path, arguments: list[str], named: str) -> None:
    result = qpipe("scan", *arguments)
    assert result.exit_code == 2, result.stdout
    assert named in result.stderr
    assert not home.exists() and not list(Path().glob("*.png"))
