"""`qpipe estimate`: the forms of its output, its exit codes, and prediction against measurement."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from qpipe_cli.main import app


def qpipe(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_several_molecules_are_estimated_at_once() -> None:
    result = qpipe("estimate", "-m", "H2", "-m", "LiH", "--mapper", "parity", "--format", "json")
    assert result.exit_code == 0, result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)
    assert [(row["molecule"], row["qubits"]) for row in found] == [("H2", 2), ("LiH", 10)]
    assert all(row["feasible"] and row["seconds"] > 0 for row in found)
    as_csv = qpipe("estimate", "-m", "H2", "--format", "csv").stdout
    assert next(csv.DictReader(io.StringIO(as_csv)))["qubits"] == "4"
    assert "H2" in qpipe("estimate", "-m", "H2").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-m", "CO2", "--engine", "aer"), "30 qubits"),
        (("-m", "LiH", "--basis", "cc-pvdz"), "38 qubits"),
    ],
)
def test_what_cannot_run_ends_in_exit_code_1_and_names_the_space_that_fits(
    arguments: tuple[str, ...], words: str
) -> None:
    result = qpipe("estimate", *arguments, "--format", "json")
    assert result.exit_code == 1
    (row,) = json.loads(result.stdout)
    assert words in result.stderr
    space = row["fitting"]
    assert f"{space['electrons']} electrons in {space['orbitals']} orbitals" in result.stderr
    smaller = ("--active-space", f"{space['electrons']},{space['orbitals']}")
    assert qpipe("estimate", *arguments, *smaller).exit_code == 0


def test_recommended_options_are_the_start_and_flags_replace_them() -> None:
    (row,) = json.loads(qpipe("estimate", "-m", "CO2", "--recommended", "--format", "json").stdout)
    assert (row["qubits"], row["ansatz"], row["feasible"]) == (16, "UCCSD x3", True)
    (row,) = json.loads(qpipe("estimate", "-m", "N2", "--recommended", "--ansatz-reps", "1", "--format", "json").stdout)
    assert row["ansatz"] == "UCCSD x1"


def test_a_measured_run_stands_beside_its_prediction() -> None:
    (row,) = json.loads(qpipe("estimate", "-m", "H2", "--measure", "--format", "json").stdout)
    assert row["measured_evaluations"] >= 1 and row["measured_seconds"] > 0
    ratio = row["measured_seconds"] / row["seconds"]
    assert row["measured_over_predicted"] == pytest.approx(ratio, abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-m", "Xx"], "Xx"),
        ([], "-m LiH"),
        (["-m", "LiH", "--active-space", "3,2"], "3 electrons"),
        (["-m", "H2", "--ansatz-reps", "0"], "--ansatz-reps"),
        (["-m", "H2", "--molecule-index", "1"], "--molecule-index 1"),
    ],
)
def test_bad_input_ends_in_exit_code_2_naming_it(arguments: list[str], named: str) -> None:
    result = qpipe("estimate", *arguments)
    assert result.exit_code == 2
    assert named in result.stderr
