import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.quantum_info import Statevector

from simulation.ansatz import UCCSD, EfficientSU2, ExcitationPreserving
from simulation.encoding import encoding
from simulation.engines.aer import AerEngine
from simulation.engines.aer_backend import state_simulator
from simulation.engines.base import EngineError
from simulation.engines.choice import choose_engine
from simulation.engines.circuit_states import CircuitStates
from simulation.engines.sector import SectorEngine, check_fits, matrix_elements
from simulation.mapping import MAPPERS
from simulation.observables import measure
from simulation.options import VQEOptions
from simulation.problem import OrbitalWindow
from tests._slow.rotations import annihilator

SEEDS = st.integers(0, 2**32 - 1)


def central_differences(engine, parameters, step=1e-5):
    slopes = []
    for index in range(len(parameters)):
        shift = np.zeros(len(parameters))
        shift[index] = step
        slopes.append((engine.energy(parameters + shift).energy - engine.energy(parameters - shift).energy) / 2 / step)
    return np.array(slopes)


@pytest.mark.parametrize(
    ("name", "space", "ansatz"),
    [
        ("H2", {}, lambda n, p: UCCSD(n, p, 2)),
        ("LiH", {"frozen_core": True}, UCCSD),
        ("BeH", {"frozen_core": True}, UCCSD),
    ],
)
def test_sector_and_aer_agree_at_random_points(problems, name, space, ansatz):
    problem, hamiltonian = problems(name, **space)
    trial = ansatz(problem.num_orbitals, problem.num_particles)
    sector, aer = SectorEngine(trial, hamiltonian), AerEngine(trial, hamiltonian)
    parameters = np.random.default_rng(1).normal(size=trial.num_parameters)
    one, other = sector.energy_and_gradient(parameters), aer.energy_and_gradient(parameters)
    assert one.energy == pytest.approx(other.energy, abs=1e-11)
    assert one.variance == pytest.approx(other.variance, abs=1e-9)
    np.testing.assert_allclose(one.gradient, other.gradient, atol=1e-10)
    np.testing.assert_allclose(one.gradient, central_differences(sector, parameters), atol=1e-6)
    left, right = sector.observables(parameters), aer.observables(parameters)
    assert (left.particle_number, left.spin_z) == pytest.approx((right.particle_number, right.spin_z), abs=1e-10)
    assert left.spin_squared == pytest.approx(right.spin_squared, abs=1e-10)


@pytest.mark.parametrize("seed", [0, 1])
def test_aer_gradient_of_a_hardware_efficient_circuit(problems, seed):
    problem, hamiltonian = problems("HeH+")
    engine = AerEngine(EfficientSU2(problem.num_orbitals, problem.num_particles), hamiltonian)
    parameters = np.random.default_rng(seed).uniform(0, 2 * np.pi, engine.num_parameters)
    evaluation = engine.energy_and_gradient(parameters)
    np.testing.assert_allclose(evaluation.gradient, central_differences(engine, parameters), atol=1e-6)
    assert evaluation.energy == engine.energy(parameters).energy
    assert evaluation.variance > 0


def test_evaluations_are_counted(problems):
    problem, hamiltonian = problems("H2")
    engine = SectorEngine(UCCSD(problem.num_orbitals, problem.num_particles), hamiltonian)
    engine.energy(np.zeros(2))
    engine.energy_and_gradient(np.zeros(2))
    engine.observables(np.zeros(2))
    assert (engine.energy_evaluations, engine.gradient_evaluations) == (2, 1)


def test_product_without_a_matrix_is_the_same(problems, monkeypatch):
    problem, hamiltonian = problems("LiH", frozen_core=True)
    trial = UCCSD(problem.num_orbitals, problem.num_particles)
    parameters = np.random.default_rng(2).normal(size=trial.num_parameters)
    stored = AerEngine(trial, hamiltonian).energy_and_gradient(parameters)
    monkeypatch.setattr("simulation.engines.aer._MAX_STORED_ELEMENTS", 0)
    streamed = AerEngine(trial, hamiltonian).energy_and_gradient(parameters)
    assert stored.energy == pytest.approx(streamed.energy, abs=1e-12)
    np.testing.assert_allclose(stored.gradient, streamed.gradient, atol=1e-11)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_observables_equal_the_operators(seed):
    orbitals, rng = 2, np.random.default_rng(seed)
    state = rng.normal(size=16) + 1j * rng.normal(size=16)
    state /= np.linalg.norm(state)
    ladder = [annihilator(2 * orbitals, q) for q in range(2 * orbitals)]
    raising = sum(ladder[p].T @ ladder[p + orbitals] for p in range(orbitals))
    numbers = [a.T @ a for a in ladder]
    spin_z = (sum(numbers[:orbitals]) - sum(numbers[orbitals:])) / 2
    spin_squared = raising.T @ raising + spin_z @ spin_z + spin_z
    found = measure(np.arange(16), state, orbitals)
    for value, operator in (
        (found.particle_number, sum(numbers)),
        (found.spin_z, spin_z),
        (found.spin_squared, spin_squared),
    ):
        assert value == pytest.approx(np.vdot(state, operator @ state).real, abs=1e-12)


def choice_of(**given):
    return choose_engine(VQEOptions.model_validate(given).resolved())


@pytest.mark.parametrize(
    ("given", "name", "reason"),
    [
        ({"ansatz": "UCCSD"}, "sector", "N_alpha"),
        ({"ansatz": "kUpCCGSD"}, "sector", "N_alpha"),
        ({"ansatz": "ADAPT"}, "sector", "pool"),
        ({"ansatz": "EfficientSU2"}, "aer", "circuit"),
        ({"ansatz": "UCCSD", "gpu": True, "cpu_fallback": True}, "aer", "GPU"),
        ({"shots": 10, "optimizer": "COBYLA"}, "aer-shots", "shots"),
        ({"noise": "FakeManilaV2", "optimizer": "COBYLA"}, "aer-shots", "noise"),
        ({"engine": "aer"}, "aer", "requested"),
    ],
)
def test_auto_takes_the_fastest_engine_that_can_and_says_why(given, name, reason):
    choice = choice_of(**given)
    assert choice.name == name
    assert reason in choice.reason


def test_an_engine_that_is_not_for_the_ansatz_is_refused(problems):
    with pytest.raises(ValueError, match="EfficientSU2"):
        choice_of(engine="sector", ansatz="EfficientSU2")
    with pytest.raises(EngineError, match="EfficientSU2"):
        SectorEngine(EfficientSU2(2, (1, 1)), problems("H2")[1])


@pytest.mark.parametrize("mapper", sorted(MAPPERS))
@pytest.mark.parametrize("engine", ["sector", "aer"])
def test_every_mapper_gives_the_same_energies_gradients_and_observables(problems, engine, mapper):
    problem, jordan_wigner = problems("LiH", frozen_core=True)
    trial = UCCSD(problem.num_orbitals, problem.num_particles)
    expected = SectorEngine(trial, jordan_wigner)
    parameters = np.random.default_rng(4).normal(size=trial.num_parameters)
    encoded = UCCSD(
        problem.num_orbitals,
        problem.num_particles,
        encoding=encoding(mapper, problem.num_orbitals, problem.num_particles),
    )
    found = choice_of(engine=engine, mapper=mapper).build(encoded, problem, MAPPERS[mapper]().map(problem))
    one, other = found.energy_and_gradient(parameters), expected.energy_and_gradient(parameters)
    assert one.energy == pytest.approx(other.energy, abs=1e-11)
    np.testing.assert_allclose(one.gradient, other.gradient, atol=1e-10)
    left, right = found.observables(parameters), expected.observables(parameters)
    assert left.particle_number == pytest.approx(right.particle_number, abs=1e-10)
    assert (left.spin_z, left.spin_squared) == pytest.approx((right.spin_z, right.spin_squared), abs=1e-10)


@pytest.mark.parametrize(
    "given",
    [
        {"ansatz": "EfficientSU2"},
        {"ansatz": "EfficientSU2", "mapper": "parity"},
        {"ansatz": "UCCSD"},
        {"ansatz": "UCCSD", "shots": 10, "optimizer": "COBYLA", "simulation_method": "density_matrix"},
    ],
)
@pytest.mark.parametrize(
    "window", [OrbitalWindow(0, 15, (11, 11)), OrbitalWindow(0, 19, (2, 2)), OrbitalWindow(1, 21, (6, 4))]
)
def test_what_does_not_fit_is_refused_with_an_active_space_that_does(given, window):
    choice = choice_of(**given)
    with pytest.raises(EngineError) as refused:
        choice.check(window)
    offered = re.search(r"an active_space of (\d+) electrons in (\d+) orbitals fits", str(refused.value))
    electrons, orbitals = (int(number) for number in offered.groups())
    unpaired = window.num_particles[0] - window.num_particles[1]
    alpha = (electrons + unpaired) // 2
    frozen = window.num_particles[0] - alpha
    choice.check(OrbitalWindow(window.frozen + frozen, orbitals, (alpha, electrons - alpha)))
    assert alpha < orbitals <= window.active - frozen
    assert 2 * orbitals <= choice.max_qubits


@pytest.mark.parametrize("mapper", ["jordan_wigner", "parity"])
def test_the_largest_problem_passes_the_check_and_one_orbital_more_does_not(mapper):
    choice = choice_of(ansatz="EfficientSU2", mapper=mapper)
    choice.check(OrbitalWindow(0, choice.max_qubits // 2, (2, 2)))
    with pytest.raises(EngineError):
        choice.check(OrbitalWindow(0, choice.max_qubits // 2 + 1, (2, 2)))


def test_states_are_the_circuits_states_up_to_a_phase():
    ansatz = ExcitationPreserving(2, (1, 1), 1)
    points = np.random.default_rng(8).normal(size=(3, ansatz.num_parameters))
    circuit = ansatz.circuit()
    found = list(CircuitStates(ansatz.program, state_simulator()).along(points))
    assert len(found) == len(points)
    for state, point in zip(found, points, strict=True):
        expected = Statevector(circuit.assign_parameters(point)).data
        assert abs(np.vdot(state, expected)) == pytest.approx(1.0, abs=1e-12)


def test_states_are_the_same_bytes_with_any_number_of_threads(monkeypatch):
    ansatz = EfficientSU2(8, (2, 2), 1)
    parameters = np.random.default_rng(9).normal(size=ansatz.num_parameters)
    states = []
    for threads in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        states.append(CircuitStates(ansatz.program, state_simulator()).at(parameters).tobytes())
    assert states[0] == states[1]


def test_sector_that_does_not_fit_is_refused_before_it_is_built():
    with pytest.raises(EngineError, match="active_space"):
        check_fits(15, (11, 11))


def test_matrix_elements_bound_the_matrix(problems):
    problem, hamiltonian = problems("BeH")
    engine = SectorEngine(UCCSD(problem.num_orbitals, problem.num_particles), hamiltonian)
    stored = len(engine._matrix.diagonal) + 2 * len(engine._matrix.values)
    assert stored <= matrix_elements(problem.num_orbitals, problem.num_particles)
