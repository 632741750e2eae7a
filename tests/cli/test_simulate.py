"""`qpipe simulate`: what it prints, what lands where, what it refuses, and how it is watched."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qpipe_cli.logs import log_to_standard_error
from qpipe_cli.progress import Progress
from simulation.record import VQEDecoratedResult, VQEProcess
from simulation.runner import RunReference
from simulation.system_snapshot import SystemSnapshot, Usage
from tests.cli.conftest import qpipe, rows

SAMPLE = ("--ansatz", "EfficientSU2", "--ansatz-reps", "1", "--init-strategy", "random", "--seed", "3")


def records(home: Path) -> list[VQEDecoratedResult]:
    found = sorted((home / "raw-results" / "experiments").rglob("*.json"))
    return [VQEDecoratedResult.model_validate_json(path.read_bytes()) for path in found]


def test_it_prints_json_alone_and_lands_the_record(home: Path) -> None:
    result = qpipe("simulate", "-m", "H2", "--format", "json")
    (row,) = rows(result)
    assert {"molecule", "basis", "error_mha", "evaluations", "valid", "engine", "experiment_id"} <= set(row)
    assert abs(row["error_mha"]) < 1e-3
    assert "evaluation" in result.stderr
    (record,) = records(home)
    assert record.experiment_id == row["experiment_id"]


def test_a_landed_run_is_skipped_and_force_repeats_it_byte_for_byte(home: Path) -> None:
    seeded = ("simulate", "-m", "H2", *SAMPLE)
    assert qpipe(*seeded).exit_code == 0
    (first,) = records(home)
    said = f"H2: already computed (engine {first.engine}, CPU, certified); --force computes it again"
    assert said in qpipe(*seeded).stderr
    assert records(home)[0].wall_time == first.wall_time
    assert qpipe(*seeded, "--force").exit_code == 0
    second = records(home)[-1]
    assert second.wall_time != first.wall_time
    assert second.experiment_id == first.experiment_id
    one, two = (json.dumps([s.model_dump() for s in r.vqe_result.iteration_list]) for r in (first, second))
    assert one == two


def test_it_reads_a_molecule_file_and_writes_where_it_is_told(
    home: Path, tmp_path: Path, molecule_file: Callable[..., str]
) -> None:
    file = molecule_file(symbols=["H", "H"], coords=[[0, 0, 0], [0, 0, 0.7414]])
    out = tmp_path / "out"
    (row,) = rows(qpipe("simulate", "-f", file, "--output-dir", str(out), "--format", "json"))
    assert [path.name for path in out.iterdir()] == [f"{row['experiment_id']}.json"]
    assert not (home / "raw-results").exists()


def test_a_run_that_fails_leaves_the_others_and_tells_by_its_exit_code(home: Path) -> None:
    result = qpipe("simulate", "-m", "He2", "-m", "H2", "--active-space", "2,2", "--format", "json")
    assert result.exit_code == 1
    assert "error: He2" in result.stderr
    assert [row["molecule"] for row in json.loads(result.stdout)] == ["H2"]


def test_a_run_starts_from_the_optimum_of_another_that_has_landed(
    home: Path, molecule_file: Callable[..., str]
) -> None:
    (first,) = rows(qpipe("simulate", "-m", "H2", "--format", "json"))
    stretched = molecule_file(symbols=["H", "H"], coords=[[0, 0, 0], [0, 0, 0.8]])
    previous = ("--init-strategy", "previous", "--previous")
    result = qpipe("simulate", "-f", stretched, *previous, first["experiment_id"], "--format", "json")
    (row,) = rows(result)
    results = {record.experiment_id: record.vqe_result for record in records(home)}
    start = results[row["experiment_id"]].initial_data.initial_parameters
    assert start == pytest.approx(results[first["experiment_id"]].optimal_parameters, abs=1e-6)
    absent = qpipe("simulate", "-f", stretched, *previous, "f" * 64)
    assert absent.exit_code == 1
    assert f"{'f' * 64} is not in" in absent.stderr


def test_a_landed_run_says_that_it_is_not_certified_and_of_samples_nothing_of_the_kind(home: Path) -> None:
    uncertified = ("simulate", "-m", "H2", "--certify-max-qubits", "1")
    assert qpipe(*uncertified).exit_code == 0
    assert "H2: already computed (engine sector, CPU, not certified); --force" in qpipe(*uncertified).stderr
    few = ("simulate", "-m", "H2", *SAMPLE, "--shots", "100", "--optimizer", "COBYLA", "--max-iterations", "3")
    assert qpipe(*few).exit_code == 0
    assert "H2: already computed (engine aer-shots, CPU); --force" in qpipe(*few).stderr


def test_an_invalid_result_is_told_with_its_reason(home: Path) -> None:
    result = qpipe("simulate", "-m", "H2", *SAMPLE, "--max-iterations", "1")
    assert result.exit_code == 0
    (record,) = records(home)
    assert record.valid is False and record.invalid_reason
    assert result.stderr.endswith(f"\nH2: not valid: {record.invalid_reason}\n")
    assert "not valid" not in qpipe("simulate", "-m", "H2").stderr


SHOTS = ("--shots", "100", "--optimizer", "COBYLA")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--active-space", "2,99"), "99 orbitals"),
        (("--noise", "FakeNowhere", *SHOTS), "'FakeNowhere'"),
        (("--noise", "FakeBelemV2", *SHOTS), "qubits"),
        (("--engine", "ibm", *SHOTS), "IBM_RUNTIME"),
        (("--basis", "cc-pvdz"), "qubits"),
    ],
)
def test_what_needs_no_computation_to_be_refused_is_refused_for_all_before_any(
    home: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], named: str
) -> None:
    for name in ("IBM_RUNTIME_CHANNEL", "IBM_RUNTIME_INSTANCE", "IBM_RUNTIME_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    result = qpipe("simulate", "-m", "NH3", "-m", "H2O", *arguments)
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert first.startswith("error: NH3: ") and second.startswith("error: H2O: ")
    assert named in first and named in second


def test_refusals_come_before_the_others_are_computed(home: Path) -> None:
    result = qpipe("simulate", "-m", "H2", "-m", "He2", "--active-space", "2,2")
    assert result.exit_code == 1
    assert result.stderr.index("error: He2") < result.stderr.index("H2: Hartree-Fock")


def test_a_molecule_goes_by_the_name_its_user_gave(home: Path, molecule_file: Callable[..., str]) -> None:
    file = molecule_file(**HYDROGEN, name="stretched")
    (row,) = rows(qpipe("simulate", "-f", file, "--format", "json"))
    assert (row["molecule"], row["name"]) == ("H2", "stretched")
    result = qpipe("simulate", "-f", file)
    assert "stretched" in result.stdout and "H2" not in result.stdout
    assert "stretched: already computed" in result.stderr


def test_a_molecule_named_twice_is_run_and_printed_once(home: Path) -> None:
    result = qpipe("simulate", "-m", "H2", "-m", "HeH+", "-m", "H2", "--format", "json")
    assert [row["molecule"] for row in rows(result)] == ["H2", "HeH+"]
    assert "already computed" not in result.stderr


def test_progress_of_samples_tells_the_current_energy_with_its_standard_error(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to_standard_error("INFO")
    lucky = {"iteration": 2, "parameters": [], "result": -1.8, "std": 0.004, "cumulative_min_energy": -1.9}
    for step, told in (
        (lucky, "H2: 4 qubits, evaluation 2, -1.10000 ± 0.00400 Ha, +37.00 ± 4.00 mHa to FCI"),
        (lucky | {"std": 0.0}, "H2: 4 qubits, evaluation 2, -1.20000000 Ha, -63.0000 mHa to FCI"),
    ):
        progress = Progress("H2")
        progress.prepared(RunReference(4, 0.7, -1.117, -1.137, "FCI"))
        progress.evaluated(VQEProcess.model_validate(step))
        progress.close()
        assert told in capsys.readouterr().err


def test_a_landed_object_that_is_no_record_is_named_without_the_library_that_says_so(
    home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (row,) = rows(qpipe("simulate", "-m", "H2", "--output-dir", str(out), "--format", "json"))
    (out / f"{row['experiment_id']}.json").write_text('{"basis_set": 3}')
    result = qpipe("simulate", "-m", "H2", "--output-dir", str(out))
    assert result.exit_code == 1
    assert f"{row['experiment_id']}.json is no record" in result.stderr
    assert "pydantic" not in result.stderr


HYDROGEN = {"symbols": ["H", "H"], "coords": [[0, 0, 0], [0, 0, 0.7414]]}


@pytest.mark.parametrize(
    ("molecule", "named"),
    [
        (HYDROGEN | {"symbols": ["H", "Li"], "charge": 1}, "multiplicity 1 is impossible with 3 electrons"),
        (HYDROGEN | {"coords": [[0, 0, 0], [0, 0, 0.01]]}, "0.01 angstrom apart"),
        (HYDROGEN | {"coords": [[0, 0, 0], [0, 0, float("nan")]]}, "nan"),
        (HYDROGEN | {"coords": [[0, 0, 0], [0, 0, float("inf")]]}, "inf"),
        (HYDROGEN | {"coords": [[0, 0, 0]]}, "1 positions"),
        (HYDROGEN | {"symbols": ["H", "Qq"]}, "Qq"),
        (HYDROGEN | {"units": "furlong"}, "furlong"),
        ({"symbols": ["H", "H"]}, "coords"),
    ],
)
def test_a_molecule_that_cannot_be_is_refused_before_any_work_naming_the_value(
    home: Path, molecule_file: Callable[..., str], molecule: dict, named: str
) -> None:
    result = qpipe("simulate", "-f", molecule_file(**molecule))
    assert result.exit_code == 2
    assert named in result.stderr
    assert not home.exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-m", "Xx"], "Xx"),
        (["-m", "H2", "--basis", "sto-9g"], "sto-9g"),
        (["-m", "H2", "--ansatz-reps", "0"], "--ansatz-reps='0'"),
        (["-m", "H2", "-ar", "two"], "--ansatz-reps='two'"),
        (["-m", "H2", "--shots", "0"], "--shots='0'"),
        (["-m", "H2", "--shots", "-5"], "--shots='-5'"),
        (["-m", "H2", "--seed", "-1"], "--seed='-1'"),
        (["-m", "H2", "--threshold", "nan"], "--threshold='nan'"),
        (["-m", "H2", "--max-iterations", "0"], "--max-iterations='0'"),
        (["-m", "H2", "--optimizer", "dogleg"], "--optimizer='dogleg'"),
        (["-m", "H2", "--optimization-level", "4"], "--optimization-level=4"),
        (["-m", "H2", "--simulation-method", "magic"], "magic"),
        (["-m", "H2", "--simulation-method", "tensor_network", "--shots", "9"], "tensor_network"),
        (["-m", "H2", "--min-qubits", "5"], "min_qubits=5"),
        (["-m", "H2", "--max-iterations", "5", "--threshold", "1e-3"], "exclude each other"),
        (["-m", "H2", "--convergence", "--max-iterations", "5"], "exclude each other"),
        (["-m", "H2", "--active-space", "two"], "two"),
        (["-m", "H2", "--noise-rates", "0.1,2"], "two_qubit='2'"),
        (["-m", "H2", "--log-level", "LOUD"], "LOUD"),
        (["-m", "H2", "--molecule-index", "0"], "--molecule-index 0"),
        (["-m", "H2", "--performance-interval", "5"], "--enable-performance-monitoring"),
        (["-m", "H2", "--enable-performance-monitoring", "--performance-interval", "0"], "--performance-interval=0"),
        (
            ["-m", "H2", "--enable-performance-monitoring", "--performance-export-format", "prometheus"],
            "needs the URL",
        ),
        (["-f", "no-such-file.json"], "no-such-file.json"),
        (["-f", "some.json", "-m", "H2"], "one of the two"),
        ([], "molecule"),
    ],
)
def test_bad_input_is_refused_before_any_work_naming_it(home: Path, arguments: list[str], named: str) -> None:
    result = qpipe("simulate", *arguments)
    assert result.exit_code == 2
    # A message of the parser is framed and broken into lines.
    assert named in " ".join(result.stderr.replace("│", " ").split())
    assert not home.exists()


@pytest.mark.parametrize("index", ["-1", "1", "99"])
def test_an_index_outside_the_file_is_refused(home: Path, molecule_file: Callable[..., str], index: str) -> None:
    result = qpipe("simulate", "-f", molecule_file(**HYDROGEN), "--molecule-index", index)
    assert result.exit_code == 2
    assert f"molecule index is {index}" in result.stderr
    assert not home.exists()


def test_the_installed_command_refuses_too_without_loading_anything_heavy(home: Path) -> None:
    program = (
        "import sys; sys.argv = ['qpipe', 'simulate', '-m', 'H2', '--shots', '0']\n"
        "from qpipe_cli.main import run\n"
        "try: run()\n"
        "except SystemExit as end: print(end.code, sorted({'pyscf', 'qiskit', 'dagster', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 []"
    assert "--shots='0'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_output_folder_that_cannot_be_is_refused_before_any_work(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "taken"
    file.write_text("")
    result = qpipe("simulate", "-m", "H2", "--output-dir", str(file))
    assert result.exit_code == 2
    assert result.stderr == f"error: --output-dir is {str(file)!r}, which is a file, expected a folder: name another\n"
    beneath = qpipe("simulate", "-m", "H2", "--output-dir", str(file / "below"))
    assert beneath.exit_code == 2
    assert "cannot be made (Not a directory)" in beneath.stderr


def test_a_report_of_each_run_is_written_where_it_is_told(home: Path, tmp_path: Path) -> None:
    assert qpipe("simulate", "-m", "H2", "--report").exit_code == 0
    out = tmp_path / "out"
    result = qpipe("simulate", "-m", "H2", "--report", "--output-dir", str(out))
    assert result.exit_code == 0
    (record,) = records(home)
    for folder in (Path("reports"), out):
        written = {path.suffix: path for path in folder.iterdir() if path.suffix != ".json"}
        assert set(written) == {".html", ".pdf"}
        assert all(record.experiment_id[:8] in path.name for path in written.values())
        assert written[".pdf"].read_bytes().startswith(b"%PDF")
    assert str(out) in result.stderr


def test_a_report_folder_that_cannot_be_is_refused_before_any_work(home: Path) -> None:
    Path("reports").write_text("taken")
    result = qpipe("simulate", "-m", "H2", "--report")
    assert result.exit_code == 2
    assert "the folder of the reports is 'reports', which is a file" in result.stderr
    assert not home.exists()


def test_the_log_level_decides_what_is_told_on_standard_error(home: Path) -> None:
    assert qpipe("simulate", "-m", "H2", "--log-level", "ERROR").stderr == ""
    assert qpipe("simulate", "-m", "H2", "--log-level", "WARNING").stderr == ""
    assert "already computed" in qpipe("simulate", "-m", "H2").stderr
    (record,) = records(home)
    debug = qpipe("simulate", "-m", "H2", "--log-level", "DEBUG").stderr
    assert record.experiment_id in debug
    assert "DEBUG" in debug and "DEBUG qiskit" not in debug


def test_a_watched_run_has_its_snapshots_in_the_record_and_in_files(home: Path) -> None:
    watched = ("--enable-performance-monitoring", "--performance-interval", "1", "--performance-export-format", "json")
    assert qpipe("simulate", "-m", "H2", *watched).exit_code == 0
    (record,) = records(home)
    start, end = (
        SystemSnapshot.model_validate_json(text) for text in (record.performance_start, record.performance_end)
    )
    usage = Usage.between(start, end)
    assert 0 < usage.seconds <= record.wall_time + 1
    files = sorted(Path("gen/performance_metrics").iterdir())
    assert len(files) >= 2
    assert all(path.name.startswith("system_metrics_unknown_") for path in files)


def test_without_being_asked_nothing_is_watched(home: Path) -> None:
    assert qpipe("simulate", "-m", "H2").exit_code == 0
    (record,) = records(home)
    assert (record.performance_start, record.performance_end) == (None, None)
    assert not Path("gen").exists()


def test_a_gateway_that_is_down_ends_no_run(home: Path) -> None:
    gateway = ("--performance-pushgateway", "http://127.0.0.1:9", "--performance-export-format", "prometheus")
    result = qpipe("simulate", "-m", "H2", "--enable-performance-monitoring", *gateway)
    assert result.exit_code == 0
    assert "127.0.0.1:9" in result.stderr
    assert len(records(home)) == 1


def test_recommended_options_are_those_of_the_molecule_and_give_way_to_flags(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = qpipe(
        "simulate", "-m", "N2", "--recommended", "--active-space", "6,6", "--output-dir", str(out), "--format", "json"
    )
    (row,) = rows(result)
    record = VQEDecoratedResult.model_validate_json(next(out.iterdir()).read_bytes())
    assert record.vqe_result.initial_data.ansatz_reps == 2, "recommended"
    assert (row["qubits"], record.active_space.orbitals) == (12, 6), "asked"
    different = qpipe("simulate", "-m", "N2", "-m", "H2", "--recommended")
    assert different.exit_code == 2 and "one at a time" in different.stderr
