import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.ansatz import ANSAETZE
from simulation.encoding import encoding
from simulation.engines.aer import AerEngine
from simulation.engines.parameter_shift import ParameterShift, shift_rule
from simulation.mapping import MAPPERS

COMBINATIONS = [
    (name, mapper)
    for name in sorted(ANSAETZE)
    for mapper in ("jordan_wigner", "parity")
    if (name, mapper) != ("ExcitationPreserving", "parity")  # refused: the mapping would not mean what the name says
]


def exact_energies(ansatz, hamiltonian, shift, points):
    """Exact energies at angles of the unshared circuit, by the same engine on that circuit."""

    class Unshared:
        program, num_parameters, encoding = shift.circuit, shift.circuit.num_parameters, ansatz.encoding

    engine = AerEngine(Unshared(), hamiltonian)
    return np.array([engine.energy(point).energy for point in points])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_the_rule_differentiates_trigonometric_polynomials(frequencies, seed):
    rng = np.random.default_rng(seed)
    orders = np.arange(frequencies + 1)
    cosine, sine = rng.normal(size=(2, frequencies + 1))
    at = rng.uniform(-np.pi, np.pi)
    shifts, weights = shift_rule(frequencies)
    values = np.cos(np.outer(at + shifts, orders)) @ cosine + np.sin(np.outer(at + shifts, orders)) @ sine
    slope = (orders * (-cosine * np.sin(orders * at) + sine * np.cos(orders * at))).sum()
    assert weights @ values == pytest.approx(slope, abs=1e-12)


def test_rotations_take_two_terms_and_excitations_four():
    assert [len(shift_rule(frequencies)[0]) for frequencies in (1, 2)] == [2, 4]
    np.testing.assert_allclose(shift_rule(1)[1], [0.5, -0.5])


@pytest.mark.parametrize(("name", "mapper"), COMBINATIONS)
def test_parameter_shift_equals_the_adjoint_gradient(problems, name, mapper):
    problem, _ = problems("H2")
    ansatz = ANSAETZE[name](
        problem.num_orbitals, problem.num_particles, 2, encoding(mapper, problem.num_orbitals, problem.num_particles)
    )
    hamiltonian = MAPPERS[mapper]().map(problem)
    engine = AerEngine(ansatz, hamiltonian)
    parameters = np.random.default_rng(5).normal(size=ansatz.num_parameters)
    shift = ParameterShift(ansatz.program)
    gradient = shift.gradient(exact_energies(ansatz, hamiltonian, shift, shift.points(parameters)))
    np.testing.assert_allclose(gradient, engine.energy_and_gradient(parameters).gradient, atol=1e-10)
    step = 1e-5
    for index in range(len(parameters)):
        ahead, behind = parameters.copy(), parameters.copy()
        ahead[index] += step
        behind[index] -= step
        slope = (engine.energy(ahead).energy - engine.energy(behind).energy) / (2 * step)
        assert gradient[index] == pytest.approx(slope, abs=1e-6)


def test_a_parameter_shared_by_many_instructions_collects_their_slopes(problems):
    problem, hamiltonian = problems("LiH", frozen_core=True)
    ansatz = ANSAETZE["UCCSD"](problem.num_orbitals, problem.num_particles)
    shift = ParameterShift(ansatz.program)
    assert shift.circuit.num_parameters > ansatz.num_parameters
    parameters = np.random.default_rng(6).normal(size=ansatz.num_parameters)
    adjoint = AerEngine(ansatz, hamiltonian).energy_and_gradient(parameters).gradient
    exact = exact_energies(ansatz, hamiltonian, shift, shift.points(parameters))
    np.testing.assert_allclose(shift.gradient(exact), adjoint, atol=1e-10)
