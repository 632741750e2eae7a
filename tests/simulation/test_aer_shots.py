import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from simulation.ansatz import ANSAETZE
from simulation.engines import sampling_kernels
from simulation.engines.aer import AerEngine
from simulation.engines.aer_backend import build_simulator
from simulation.engines.aer_shots import AerShotsEngine
from simulation.engines.circuit_states import CircuitStates
from simulation.engines.measurement import constant_of, measurement_groups
from simulation.engines.sampling import CircuitSampler, StateSampler
from simulation.options import VQEOptions
from tests._slow import measurement as slow

SEEDS = st.integers(0, 2**32 - 1)


def options(**given):
    return VQEOptions.model_validate({"shots": 1000, "seed": 7, "optimizer": "COBYLA"} | given).resolved()


def build(problems, molecule="H2", ansatz="EfficientSU2", **given):
    problem, hamiltonian = problems(molecule)
    trial = ANSAETZE[ansatz](problem.num_orbitals, problem.num_particles)
    parameters = np.random.default_rng(3).normal(size=trial.num_parameters)
    return trial, hamiltonian, parameters, AerShotsEngine(trial, hamiltonian, options(ansatz=ansatz, **given))


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_sampling_kernels_equal_their_plain_twin(seed):
    rng = np.random.default_rng(seed)
    state = rng.normal(size=16) + 1j * rng.normal(size=16)
    x, z = (int(mask) for mask in rng.integers(0, 16, size=2))
    turned = state.copy()
    sampling_kernels.turn_to_basis(turned, x, z)
    np.testing.assert_allclose(turned, slow.turn_to_basis(state, x, z), atol=1e-12)
    outcomes, supports, coefficients = (
        rng.integers(0, 2**40, size=9),
        rng.integers(0, 2**40, size=5),
        rng.normal(size=5),
    )
    values = np.empty(9)
    sampling_kernels.outcome_values(outcomes, supports, coefficients, values)
    expected = [slow.outcome_value(int(k), supports.tolist(), coefficients) for k in outcomes]
    np.testing.assert_allclose(values, expected, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(0, 15), st.integers(0, 15))
def test_measuring_a_group_gives_the_expectation_value_of_its_strings(seed, x, z):
    rng = np.random.default_rng(seed)
    state = rng.normal(size=16) + 1j * rng.normal(size=16)
    state /= np.linalg.norm(state)
    expected = np.vdot(state, slow.pauli_string(x, z, 4) @ state).real
    sampling_kernels.turn_to_basis(state, x, z)
    values = np.empty(16)
    sampling_kernels.outcome_values(np.arange(16), np.array([x | z]), np.ones(1), values)
    assert np.abs(state) ** 2 @ values == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("molecule", ["H2", "LiH", "BeH"])
def test_groups_hold_every_term_once_and_commute_qubit_by_qubit(problems, molecule):
    _, hamiltonian = problems(molecule)
    groups = measurement_groups(hamiltonian)
    assert sum(len(group.supports) for group in groups) == len(hamiltonian) - 1
    assert constant_of(hamiltonian) == hamiltonian.coefficients[(hamiltonian.x | hamiltonian.z) == 0][0]
    strings = {}
    for group in groups:
        for support, coefficient in zip(group.supports.tolist(), group.coefficients, strict=True):
            strings[group.x & support, group.z & support] = coefficient
    expected = zip(hamiltonian.x.tolist(), hamiltonian.z.tolist(), hamiltonian.coefficients, strict=True)
    assert strings == {(x, z): value for x, z, value in expected if x | z}


def test_groups_are_far_fewer_than_terms_and_the_same_each_time(problems):
    _, hamiltonian = problems("LiH")
    groups = measurement_groups(hamiltonian)
    assert len(groups) < len(hamiltonian) / 4
    again = measurement_groups(hamiltonian)
    assert [(group.x, group.z) for group in groups] == [(group.x, group.z) for group in again]


@pytest.mark.parametrize("ansatz", ["UCCSD", "EfficientSU2"])
def test_estimates_scatter_about_the_exact_energy_by_their_standard_error(problems, ansatz):
    trial, hamiltonian, parameters, engine = build(problems, ansatz=ansatz, shots=200)
    exact = AerEngine(trial, hamiltonian).energy(parameters).energy
    found = [engine.energy(parameters) for _ in range(400)]
    scores = np.array([(evaluation.energy - exact) / evaluation.standard_error for evaluation in found])
    assert abs(scores.mean()) < 5 / np.sqrt(len(scores))
    assert scores.std() == pytest.approx(1.0, abs=0.2)
    assert not engine.exact


def test_sampling_the_state_is_what_aer_samples(problems):
    trial, hamiltonian, parameters, _ = build(problems)
    groups, shots, asked = measurement_groups(hamiltonian), 20_000, options(shots=20_000)
    simulator = build_simulator(asked, "CPU")
    ours = StateSampler(CircuitStates(trial.program, simulator), groups, shots)
    aers = CircuitSampler(trial.program, groups, shots, simulator, None, 3)
    points = np.stack([parameters, parameters + 0.3])
    statistic = cells = 0
    drawn = zip(ours.draw(points, np.random.default_rng(1)), aers.draw(points, np.random.default_rng(2)), strict=True)
    for left, right in drawn:
        for one, other, group in zip(left, right, groups, strict=True):
            measured = group.x | group.z
            first, second = np.zeros(16), np.zeros(16)
            np.add.at(first, one.outcomes & measured, one.counts)
            np.add.at(second, other.outcomes, other.counts)
            seen = first + second > 20
            statistic += ((first - second)[seen] ** 2 / (first + second)[seen]).sum()
            cells += seen.sum() - 1
    assert statistic < chi2.ppf(1 - 1e-4, cells)
    assert statistic > chi2.ppf(1e-4, cells)


def test_two_engines_with_one_seed_agree_to_the_last_bit_and_another_seed_differs(problems):
    *_, parameters, engine = build(problems)
    *_, again = build(problems)
    *_, other = build(problems, seed=8)
    first = [engine.energy(parameters), engine.energy_and_gradient(parameters), engine.energy(parameters)]
    second = [again.energy(parameters), again.energy_and_gradient(parameters), again.energy(parameters)]
    for one, two in zip(first, second, strict=True):
        assert (one.energy, one.standard_error) == (two.energy, two.standard_error)
    np.testing.assert_array_equal(first[1].gradient, second[1].gradient)
    assert len({evaluation.energy for evaluation in first}) == 3
    assert other.energy(parameters).energy != first[0].energy


@pytest.mark.parametrize("given", [{}, {"noise_rates": {"one_qubit": 0.01, "two_qubit": 0.02}, "shots": 50}])
def test_an_engine_that_skips_evaluations_goes_on_as_if_it_had_made_them(problems, given):
    *_, parameters, engine = build(problems, **given)
    engine.energy(parameters)
    engine.energy(parameters + 0.1)
    *_, resumed = build(problems, **given)
    resumed.skip(2)
    assert resumed.energy(parameters + 0.2) == engine.energy(parameters + 0.2)
    assert (resumed.energy_evaluations, resumed.gradient_evaluations) == (3, 0)


def test_the_gradient_is_unbiased_and_the_energy_does_not_depend_on_it(problems):
    trial, hamiltonian, parameters, engine = build(problems, shots=500)
    exact = AerEngine(trial, hamiltonian).energy_and_gradient(parameters).gradient
    found = np.array([engine.energy_and_gradient(parameters).gradient for _ in range(60)])
    scores = (found.mean(axis=0) - exact) / (found.std(axis=0, ddof=1) / np.sqrt(len(found)))
    assert np.abs(scores).max() < 5
    *_, energies_only = build(problems, shots=500)
    *_, with_gradient = build(problems, shots=500)
    assert energies_only.energy(parameters).energy == with_gradient.energy_and_gradient(parameters).energy


def test_one_shot_has_the_largest_possible_error_not_none(problems):
    *_, hamiltonian, parameters, engine = build(problems, shots=1)
    bound = sum(group.bound**2 for group in measurement_groups(hamiltonian)) ** 0.5
    assert engine.energy(parameters).standard_error == pytest.approx(bound)


@pytest.mark.parametrize("method", ["density_matrix", "matrix_product_state", "automatic"])
def test_the_simulation_method_reaches_aer_and_gives_the_same_energy(problems, method):
    trial, hamiltonian, parameters, engine = build(problems, simulation_method=method, shots=4000)
    evaluation = engine.energy(parameters)
    exact = AerEngine(trial, hamiltonian).energy(parameters).energy
    assert abs(evaluation.energy - exact) < 5 * evaluation.standard_error
    assert engine.backend == f"aer_simulator_{method}"
    if method != "automatic":
        assert engine._sampler._simulator.options.method == method


def test_observables_are_those_of_the_trial_state(problems):
    *_, engine = build(problems, ansatz="UCCSD")
    found = engine.observables(np.full(engine.num_parameters, 0.1))
    assert (found.particle_number, found.spin_z) == pytest.approx((2.0, 0.0), abs=1e-12)


def test_options_that_are_not_resolved_are_refused(problems):
    trial, hamiltonian, *_ = build(problems)
    with pytest.raises(ValueError, match="resolved"):
        AerShotsEngine(trial, hamiltonian, VQEOptions(shots=10, optimizer="COBYLA"))
