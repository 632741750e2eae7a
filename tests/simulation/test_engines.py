import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.ansatz import UCCSD, EfficientSU2
from simulation.engines import circuit_kernels, sector_kernels
from simulation.engines.aer import AerEngine
from simulation.engines.base import EngineError
from simulation.engines.choice import choose_engine
from simulation.engines.sector import SectorEngine, check_fits, matrix_elements
from simulation.observables import measure
from tests._slow.circuits import PAULI, gate_matrix, on_qubit
from tests._slow.rotations import annihilator, rotate

SEEDS = st.integers(0, 2**32 - 1)


def central_differences(engine, parameters, step=1e-5):
    slopes = []
    for index in range(len(parameters)):
        shift = np.zeros(len(parameters))
        shift[index] = step
        slopes.append((engine.energy(parameters + shift).energy - engine.energy(parameters - shift).energy) / 2 / step)
    return np.array(slopes)


def random_rotations(seed, dimension=12, count=5):
    rng = np.random.default_rng(seed)
    lower, upper, first = [], [], [0]
    for _ in range(count):
        chosen = rng.permutation(dimension)[: 2 * rng.integers(0, dimension // 2 + 1)]
        lower.extend(chosen[::2])
        upper.extend(chosen[1::2])
        first.append(len(lower))
    sign = rng.choice([-1, 1], size=len(lower)).astype(np.int8)
    pairs = np.array(lower, dtype=np.int32), np.array(upper, dtype=np.int32), sign, np.array(first, dtype=np.int64)
    return rng, rng.normal(size=count), pairs


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_rotation_kernels_equal_their_plain_twin(seed):
    rng, angles, pairs = random_rotations(seed)
    state = rng.normal(size=12)
    matrix = rng.normal(size=(12, 12))
    matrix = matrix + matrix.T
    expected = rotate(state, angles, *pairs)
    turned = state.copy()
    sector_kernels.rotate(turned, angles, *pairs)
    np.testing.assert_allclose(turned, expected, atol=1e-13)

    def energy(at):
        rotated = rotate(state, at, *pairs)
        return rotated @ matrix @ rotated

    slopes = np.empty(len(angles))
    sector_kernels.reverse(turned, matrix @ turned, angles, *pairs, slopes)
    np.testing.assert_allclose(turned, state, atol=1e-12)
    for index in range(len(angles)):
        shift = 1e-5 * np.eye(len(angles))[index]
        assert slopes[index] == pytest.approx((energy(angles + shift) - energy(angles - shift)) / 2e-5, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_gate_kernels_equal_their_plain_twin(seed):
    rng = np.random.default_rng(seed)
    qubits, count = 3, 12
    names = rng.choice(list(circuit_kernels.KINDS), size=count)
    wires = np.array([rng.permutation(qubits)[:2] for _ in range(count)])
    angles = np.where([name.startswith("r") for name in names], rng.normal(size=count), 0.0)
    start = rng.normal(size=8) + 1j * rng.normal(size=8)
    operator = rng.normal(size=(8, 8)) + 1j * rng.normal(size=(8, 8))
    operator = operator + operator.conj().T
    matrices = [gate_matrix(n, a, b, t, qubits) for n, (a, b), t in zip(names, wires, angles, strict=True)]
    states = [start]
    for matrix in matrices:
        states.append(matrix @ states[-1])
    expected, adjoint = np.zeros(count), operator @ states[-1]
    for g in range(count - 1, -1, -1):
        if names[g].startswith("r"):
            pauli = on_qubit(PAULI[names[g][1].upper()], wires[g][0], qubits)
            expected[g] = np.vdot(adjoint, pauli @ states[g + 1]).imag
        adjoint = matrices[g].conj().T @ adjoint

    kind = np.array([circuit_kernels.KINDS[name] for name in names], dtype=np.int64)
    a, b = (np.ascontiguousarray(wires[:, k]).astype(np.int64) for k in (0, 1))
    state = start.astype(np.complex128)
    for g in range(count):
        circuit_kernels.apply_gate(state, kind[g], a[g], b[g], angles[g])
    np.testing.assert_allclose(state, states[-1], atol=1e-12)
    slopes = np.zeros(count)
    circuit_kernels.reverse(state, operator @ state, kind, a, b, angles, slopes)
    np.testing.assert_allclose(state, start, atol=1e-12)
    np.testing.assert_allclose(slopes, expected, atol=1e-10)


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


def test_auto_takes_the_sector_for_ucc_and_aer_for_circuits():
    assert choose_engine("auto", "UCCSD").name == "sector"
    assert choose_engine("auto", "EfficientSU2").name == "aer"
    assert choose_engine("aer", "UCCSD").reason == "requested"


def test_impossible_engines_are_refused(problems):
    with pytest.raises(EngineError, match="EfficientSU2"):
        choose_engine("sector", "EfficientSU2")
    with pytest.raises(EngineError, match="qasm"):
        choose_engine("qasm", "UCCSD")
    with pytest.raises(EngineError, match="EfficientSU2"):
        SectorEngine(EfficientSU2(2, (1, 1)), problems("H2")[1])


def test_sector_that_does_not_fit_is_refused_before_it_is_built():
    with pytest.raises(EngineError, match="active_space"):
        check_fits(15, (11, 11))


def test_matrix_elements_bound_the_matrix(problems):
    problem, hamiltonian = problems("BeH")
    engine = SectorEngine(UCCSD(problem.num_orbitals, problem.num_particles), hamiltonian)
    assert engine._matrix.nnz <= matrix_elements(problem.num_orbitals, problem.num_particles)
