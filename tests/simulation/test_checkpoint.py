import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.adapt import AdaptSolver
from simulation.ansatz import UCCSD, AdaptAnsatz
from simulation.checkpoint import CheckpointError, checkpointed
from simulation.engines.aer_shots import AerShotsEngine
from simulation.engines.base import Engine, Evaluation
from simulation.engines.sector import SectorEngine
from simulation.excitations import generalised_pool
from simulation.mapping import JordanWignerMapper
from simulation.molecules import catalogue
from simulation.optimizers import get_optimizer
from simulation.options import VQEOptions
from simulation.problem import build_problem
from simulation.solver import VQESolver

EXPERIMENT = "ab" * 32
RUNS = {
    "L-BFGS-B": {"molecule": "LiH"},
    "COBYLA": {"molecule": "LiH", "cap": 150},
    "Newton-CG": {"molecule": "LiH"},
    "SPSA under shots": {"molecule": "H2", "cap": 80},
    "L-BFGS-B under shots": {"molecule": "H2", "cap": 12},
    "ADAPT": {"molecule": "LiH", "cap": 120},
}


def engine_of(kind, molecule):
    problem = build_problem(catalogue()[molecule])
    hamiltonian = JordanWignerMapper().map(problem)
    space = (problem.num_orbitals, problem.num_particles)
    if kind == "ADAPT":
        return SectorEngine(AdaptAnsatz(*space), hamiltonian), AdaptAnsatz(*space)
    if "shots" in kind:
        options = VQEOptions.model_validate({"shots": 200, "seed": 7, "optimizer": "COBYLA"}).resolved()
        return AerShotsEngine(UCCSD(*space), hamiltonian, options), UCCSD(*space)
    return SectorEngine(UCCSD(*space), hamiltonian), UCCSD(*space)


def solved(kind, molecule, cap=None, *, path=None, on_evaluation=None):
    """What ends up in the record, and how many evaluations were really computed."""
    engine, ansatz = engine_of(kind, molecule)
    computed = []
    for name in ("_energy", "_energy_and_gradient"):
        compute = getattr(engine, name)
        setattr(engine, name, lambda parameters, compute=compute: computed.append(1) or compute(parameters))
    options = {"max_evaluations": cap, "seed": 3, "on_evaluation": on_evaluation}

    def solve(engine):
        optimizer = get_optimizer("L-BFGS-B" if kind == "ADAPT" else kind.removesuffix(" under shots"))
        if kind == "ADAPT":
            pool = generalised_pool(ansatz.num_orbitals, ansatz.num_particles)
            return AdaptSolver(engine, ansatz, pool, optimizer, gradient_threshold=1e-3, **options).solve()
        return VQESolver(engine, optimizer, ansatz.hartree_fock_parameters(), **options).solve()

    if path is None:
        solution = solve(engine)
    else:
        with checkpointed(engine, path, EXPERIMENT, sync_seconds=0.0) as logged:
            solution = solve(logged)
    record = {
        "iterations": [row.model_dump() for row in solution.iterations],
        "best": solution.best.iteration,
        "steps": solution.steps,
        "success": solution.success,
        "message": solution.message,
        "energy_evaluations": engine.energy_evaluations,
        "gradient_evaluations": engine.gradient_evaluations,
    }
    return json.loads(json.dumps(record)), len(computed)


IMPORTED_LAZILY = (
    "pyscf.gto",
    "pyscf.scf",
    "qiskit",
    "qiskit_aer",
    "scipy.optimize",
    "scipy.sparse",
    "simulation.adapt_kernels",
    "simulation.engines.sampling_kernels",
    "simulation.engines.sector_kernels",
    "simulation.pauli_kernels",
)


def linger(path, most, _):
    """Leave time for a kill; a run whose log has become this large waits for it, so that some of it is left to do."""
    time.sleep(0.002)
    if size(path) >= most:
        signal.pause()


def serve():
    """Fork a process for every run named on standard input and report its number; at the next line, how it ended.

    A fork costs milliseconds, a new interpreter seconds. The server runs no thread of its own.
    """
    for name in IMPORTED_LAZILY:
        importlib.import_module(name)
    for line in sys.stdin:
        kind, path, most = json.loads(line)
        if len(os.listdir("/proc/self/task")) != 1:
            raise RuntimeError("the server runs threads: forks of it are not clean")
        child = os.fork()
        if child == 0:
            solved(kind, **RUNS[kind], path=Path(path), on_evaluation=partial(linger, Path(path), most))
            os._exit(0)
        print(child, flush=True)
        sys.stdin.readline()
        print(os.waitpid(child, 0)[1], flush=True)


@pytest.fixture(scope="module")
def killed():
    """Runs in a real process that gets SIGKILL when its log has grown to a size, which is at most `most`."""
    root = Path(__file__).parents[2]
    server = subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(root)},
    )

    def run(kind, path, moment, most):
        server.stdin.write(json.dumps([kind, str(path), most]) + "\n")
        server.stdin.flush()
        child = int(server.stdout.readline())
        deadline = time.monotonic() + 60
        while size(path) < moment:
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        os.kill(child, signal.SIGKILL)  # the number is its own until the server waits for it
        server.stdin.write("\n")
        server.stdin.flush()
        assert os.WTERMSIG(int(server.stdout.readline())) == signal.SIGKILL

    yield run
    server.stdin.close()
    assert server.wait() == 0


def size(path):
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize("kind", RUNS)
def test_killed_run_goes_on_and_ends_in_the_record_of_an_undisturbed_one(kind, killed, tmp_path):
    expected, needed = solved(kind, **RUNS[kind])
    grown = []
    solved(kind, **RUNS[kind], path=tmp_path / "whole", on_evaluation=lambda _: grown.append(size(tmp_path / "whole")))
    path = tmp_path / "checkpoints" / "log"
    for moment in np.sort(np.random.default_rng(len(kind)).uniform(0.05, 1.0, 3)) * grown[-2]:
        killed(kind, path, moment, grown[-2])
    resumed, computed = solved(kind, **RUNS[kind], path=path)
    assert resumed == expected
    assert 0 < computed < needed


class Counting(Engine):
    """Evaluations that are a function of their number and the parameters, as a sampled engine's are."""

    name = "counting"
    exact = False
    gradient_method = "made up"

    def __init__(self, with_variance=True):
        super().__init__(2)
        self._with_variance = with_variance

    def _energy(self, parameters):
        energy = float(np.sin(parameters @ [1.0, 2.0]) + self.energy_evaluations / 7)
        return Evaluation(energy, None, 0.1 if self._with_variance else None, energy / 9)

    def _energy_and_gradient(self, parameters):
        plain = self._energy(parameters)
        return Evaluation(plain.energy, np.cos(parameters) / 3, plain.variance, plain.standard_error)

    def _observables(self, parameters):
        return f"observables at {parameters}"


def evaluate(path, points, *, experiment=EXPERIMENT, sync_seconds=0.0, engine=None):
    """Energies and gradients by turns at the points; what they gave, and the engine."""
    engine = engine or Counting()
    with checkpointed(engine, path, experiment, sync_seconds=sync_seconds) as logged:
        found = [
            (logged.energy if index % 2 else logged.energy_and_gradient)(np.array(point))
            for index, point in enumerate(points)
        ]
    return found, engine


def same(one, other):
    return len(one) == len(other) and all(
        (a.energy, a.variance, a.standard_error) == (b.energy, b.variance, b.standard_error)
        and (a.gradient is None) == (b.gradient is None)
        and (a.gradient is None or a.gradient.tobytes() == b.gradient.tobytes())
        for a, b in zip(one, other, strict=True)
    )


NUMBERS = st.floats(-1e3, 1e3)
POINTS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8)
TEN = [(k / 3, -k / 7) for k in range(10)]


@given(points=POINTS, known=st.integers(0, 8), with_variance=st.booleans())
@settings(max_examples=40, deadline=None)
def test_answers_from_the_log_are_the_same_bits_and_the_rest_goes_on_from_there(
    tmp_path_factory, points, known, with_variance
):
    path = tmp_path_factory.mktemp("log") / "log"
    expected, undisturbed = evaluate(path.with_name("other"), points, engine=Counting(with_variance))
    evaluate(path, points[:known], engine=Counting(with_variance))
    found, engine = evaluate(path, points, engine=Counting(with_variance))
    assert same(found, expected)
    assert (engine.energy_evaluations, engine.gradient_evaluations) == (
        undisturbed.energy_evaluations,
        undisturbed.gradient_evaluations,
    )


def test_log_cut_anywhere_loses_its_tail_only(tmp_path):
    expected, _ = evaluate(tmp_path / "whole", TEN)
    content = (tmp_path / "whole").read_bytes()
    for cut in range(0, len(content), 13):
        path = tmp_path / "cut"
        path.write_bytes(content[:cut])
        found, _ = evaluate(path, TEN, sync_seconds=60.0)
        assert same(found, expected)
        assert path.read_bytes() == content


@pytest.fixture(scope="module")
def whole_log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log"
    return evaluate(path, TEN)[0], path.read_bytes()


@given(position=st.integers(0, 10**6), flip=st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_a_broken_byte_never_gives_a_wrong_number(tmp_path_factory, whole_log, position, flip):
    expected, content = whole_log
    broken = bytearray(content)
    broken[position % len(content)] ^= flip
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_bytes(broken)
    found, _ = evaluate(path, TEN, sync_seconds=60.0)
    assert same(found, expected)


def test_other_parameters_drop_the_rest_of_the_log_with_a_warning(tmp_path, caplog):
    evaluate(tmp_path / "log", TEN)
    changed = [*TEN[:4], (9.0, 9.0), *TEN[5:]]
    expected, _ = evaluate(tmp_path / "changed", changed)
    with caplog.at_level(logging.WARNING):
        found, _ = evaluate(tmp_path / "log", changed)
    assert same(found, expected)
    assert "6 evaluations are dropped" in caplog.text
    assert (tmp_path / "log").read_bytes() == (tmp_path / "changed").read_bytes()


def test_gradient_is_not_answered_by_an_energy(tmp_path):
    with checkpointed(Counting(), tmp_path / "log", EXPERIMENT, sync_seconds=0.0) as logged:
        logged.energy(np.zeros(2))
    with checkpointed(Counting(), tmp_path / "log", EXPERIMENT, sync_seconds=0.0) as logged:
        assert logged.energy_and_gradient(np.zeros(2)).gradient is not None


def test_log_of_another_experiment_is_refused(tmp_path):
    evaluate(tmp_path / "log", TEN)
    with pytest.raises(CheckpointError, match=f"experiment {EXPERIMENT}, expected {'cd' * 32}"):
        evaluate(tmp_path / "log", TEN, experiment="cd" * 32)


def test_log_of_other_versions_is_started_anew_with_a_warning(tmp_path, caplog, monkeypatch):
    evaluate(tmp_path / "log", TEN)
    monkeypatch.setattr("simulation.provenance.versions", lambda: json.dumps({"numpy": "0.1"}))
    engine = Counting()
    computed = mock.Mock(side_effect=engine._energy)
    monkeypatch.setattr(engine, "_energy", computed)
    evaluate(tmp_path / "log", TEN, engine=engine)
    assert computed.call_count == len(TEN)
    assert "other versions" in caplog.text


def test_log_of_another_hamiltonian_or_device_is_started_anew(tmp_path, caplog):
    def energies(problem, backend):
        engine = Counting()
        engine.backend = backend
        with checkpointed(engine, tmp_path / "log", EXPERIMENT, problem=problem, sync_seconds=0.0) as logged:
            logged.energy(np.zeros(2))
        return engine

    energies("one", "here")
    for problem, backend in (("other", "here"), ("other", "there")):
        energies(problem, backend)
        assert "another Hamiltonian, engine or device" in caplog.text
        caplog.clear()
    energies("other", "there")
    assert caplog.text == ""


def test_short_run_never_touches_the_disk(tmp_path):
    evaluate(tmp_path / "folder" / "log", TEN, sync_seconds=60.0)
    assert list(tmp_path.iterdir()) == []


def test_run_that_has_a_log_completes_it_when_it_ends(tmp_path):
    evaluate(tmp_path / "log", TEN[:2])
    evaluate(tmp_path / "log", TEN, sync_seconds=60.0)
    evaluate(tmp_path / "whole", TEN)
    assert (tmp_path / "log").read_bytes() == (tmp_path / "whole").read_bytes()


def test_second_process_on_the_same_log_is_refused(tmp_path):
    path = tmp_path / "log"
    with checkpointed(Counting(), path, EXPERIMENT, sync_seconds=0.0) as first:
        with checkpointed(Counting(), path, EXPERIMENT, sync_seconds=0.0) as second:
            first.energy(np.zeros(2))
            with pytest.raises(CheckpointError, match="in use"):
                second.energy(np.zeros(2))  # it started before there was a file
        with pytest.raises(CheckpointError, match="in use"), checkpointed(Counting(), path, EXPERIMENT):
            pass
    assert evaluate(path, [(0.0, 0.0)])


def test_log_removed_and_made_again_by_another_is_not_overwritten_by_the_first(tmp_path):
    path = tmp_path / "log"
    with checkpointed(Counting(), path, EXPERIMENT, sync_seconds=0.0) as first:
        first.energy(np.zeros(2))
        path.unlink()
        evaluate(path, TEN)
        content = path.read_bytes()
        first.energy(np.ones(2))
    assert path.read_bytes() == content


def test_logged_engine_is_its_engine_in_everything_else(tmp_path):
    engine = Counting()
    with checkpointed(engine, tmp_path / "log", EXPERIMENT) as logged:
        logged.energy(np.zeros(2))
        assert isinstance(logged, Counting)
        assert (logged.name, logged.exact, logged.gradient_method, logged.backend) == (
            "counting",
            False,
            "made up",
            engine.backend,
        )
        assert (logged.num_parameters, logged.energy_evaluations) == (2, 1)
        assert logged.observables(np.zeros(2)) == "observables at [0. 0.]"


def test_failed_run_keeps_what_it_logged(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        checkpointed(Counting(), tmp_path / "log", EXPERIMENT, sync_seconds=0.0) as e,
    ):
        e.energy(np.zeros(2))
        raise ZeroDivisionError
    engine = Counting()
    with checkpointed(engine, tmp_path / "log", EXPERIMENT) as logged:
        engine._energy = None  # nothing is computed
        assert logged.energy(np.zeros(2)).energy == pytest.approx(1 / 7)
