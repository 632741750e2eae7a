from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.adapt import AdaptSolver, PoolGradients
from simulation.ansatz import AdaptAnsatz
from simulation.determinants import DeterminantSpace
from simulation.engines.sector import SectorEngine
from simulation.excitations import generalised_pool
from simulation.optimizers import get_optimizer
from simulation.reference import exact_reference
from tests._slow.pool import pool_slopes


def solver_of(problems, name, *, optimizer="L-BFGS-B", gradient_threshold=1e-3, **options):
    problem, hamiltonian = problems(name)
    space = (problem.num_orbitals, problem.num_particles)
    engine = SectorEngine(AdaptAnsatz(*space), hamiltonian)
    scale = abs(problem.hf_energy - problem.nuclear_repulsion)
    return (
        problem,
        engine,
        AdaptSolver(
            engine,
            AdaptAnsatz(*space),
            generalised_pool(*space),
            get_optimizer(optimizer),
            gradient_threshold=gradient_threshold,
            energy_scale=scale,
            **options,
        ),
    )


def error_mha(problem, solution):
    return 1000 * (solution.best.result + problem.nuclear_repulsion - exact_reference(problem).energy)


@pytest.mark.parametrize("name", ["H2", "HeH+", "LiH", "BeH2", "H2O", "BeH"])
def test_adapt_reaches_the_exact_energy_from_hartree_fock(problems, name):
    problem, _, solver = solver_of(problems, name)
    solution = solver.solve()
    assert solution.success
    assert -1e-6 < error_mha(problem, solution) < 0.05
    hartree_fock = problem.hf_energy - problem.nuclear_repulsion
    assert solution.iterations[0].result == pytest.approx(hartree_fock, abs=1e-9)


def test_adapt_ends_when_no_gradient_of_the_pool_is_larger_than_the_threshold(problems):
    problem, engine, solver = solver_of(problems, "LiH", gradient_threshold=1e-2)
    solution = solver.solve()
    state = engine.state(np.array(solution.best.parameters))
    pool = generalised_pool(problem.num_orbitals, problem.num_particles)
    assert abs(pool_slopes(pool, engine.space, state, engine.product(state))).max() < 1e-2
    _, _, further = solver_of(problems, "LiH", gradient_threshold=1e-3)
    assert further.solve().ansatz.num_parameters > solution.ansatz.num_parameters


def test_every_evaluation_has_the_final_length_and_its_own_energy(problems):
    solution = solver_of(problems, "LiH")[2].solve()
    engine = SectorEngine(solution.ansatz, problems("LiH")[1])
    for row in solution.iterations:
        assert len(row.parameters) == solution.ansatz.num_parameters
        assert engine.energy(np.array(row.parameters)).energy == pytest.approx(row.result, abs=1e-11)
    deltas = [row.parameter_delta_norm for row in solution.iterations[1:]]
    points = [row.parameters for row in solution.iterations]
    assert deltas == pytest.approx([np.linalg.norm(np.subtract(b, a)) for a, b in pairwise(points)])


def test_the_operator_with_the_largest_gradient_is_appended(problems):
    problem, engine, solver = solver_of(problems, "LiH", gradient_threshold=0.03)
    solution = solver.solve()
    pool = generalised_pool(problem.num_orbitals, problem.num_particles)
    engine.use(AdaptAnsatz(problem.num_orbitals, problem.num_particles))
    state = engine.state(np.zeros(0))
    slopes = abs(pool_slopes(pool, engine.space, state, engine.product(state)))
    assert solution.ansatz.operators[0] == pool[int(np.argmax(slopes))]


@pytest.mark.parametrize("cap", [1, 7, 40])
def test_cap_holds_over_the_whole_run(problems, cap):
    _, engine, solver = solver_of(problems, "LiH", max_evaluations=cap)
    solution = solver.solve()
    assert len(solution.iterations) == engine.energy_evaluations == cap
    assert not solution.success and f"{cap} energy evaluations" in solution.message
    assert solution.best.result == min(row.result for row in solution.iterations)


@pytest.mark.parametrize("optimizer", ["COBYLA", "SPSA", "Newton-CG"])
def test_any_optimizer_drives_it(problems, optimizer):
    problem, _, solver = solver_of(problems, "H2", optimizer=optimizer, seed=3)
    solution = solver.solve()
    assert error_mha(problem, solution) < 1.6


def test_same_run_twice_is_the_same_bytes(problems):
    first, second = (solver_of(problems, "LiH")[2].solve() for _ in range(2))
    assert first.iterations == second.iterations and first.ansatz.operators == second.ansatz.operators


def test_without_anything_to_correlate_the_result_is_hartree_fock(problems):
    problem, hamiltonian = problems("H2")
    empty = AdaptAnsatz(problem.num_orbitals, problem.num_particles)
    engine = SectorEngine(empty, hamiltonian)
    solution = AdaptSolver(engine, empty, [], get_optimizer("BFGS"), gradient_threshold=1e-3).solve()
    assert solution.success and solution.ansatz.num_parameters == 0 and len(solution.iterations) == 1


def test_impossible_requests_are_refused(problems):
    with pytest.raises(ValueError, match=r"gradient_threshold is 0"):
        solver_of(problems, "H2", gradient_threshold=0.0)
    with pytest.raises(ValueError, match="max_evaluations is 0"):
        solver_of(problems, "H2", max_evaluations=0)
    with pytest.raises(ValueError, match="SPSA is random"):
        solver_of(problems, "H2", optimizer="SPSA")


SPACES = (
    st.integers(2, 4)
    .flatmap(
        lambda n: st.tuples(st.just(n), st.tuples(st.integers(0, n), st.integers(0, n)), st.integers(0, 2**32 - 1))
    )
    .filter(lambda drawn: generalised_pool(drawn[0], drawn[1]))
)


@given(SPACES)
@settings(max_examples=40, deadline=None)
def test_pool_gradients_equal_their_plain_twin(drawn):
    num_orbitals, num_particles, seed = drawn
    space = DeterminantSpace.sector(num_orbitals, num_particles)
    pool = generalised_pool(num_orbitals, num_particles)
    state, image = np.random.default_rng(seed).normal(size=(2, len(space)))
    np.testing.assert_allclose(
        PoolGradients(pool, space)(state, image), pool_slopes(pool, space, state, image), atol=1e-12
    )


@pytest.mark.parametrize("name", ["LiH", "BeH"])
def test_pool_gradients_are_those_of_the_ansatz_with_the_operator_appended(problems, name):
    problem, hamiltonian = problems(name)
    space = (problem.num_orbitals, problem.num_particles)
    pool = generalised_pool(*space)
    start = AdaptAnsatz(*space, pool[3:30:9])
    engine = SectorEngine(start, hamiltonian)
    parameters = np.random.default_rng(0).normal(size=start.num_parameters)
    state = engine.state(parameters)
    slopes = PoolGradients(pool, engine.space)(state, engine.product(state))
    for index in range(0, len(pool), 17):
        engine.use(AdaptAnsatz(*space, (*start.operators, pool[index])))
        gradient = engine.energy_and_gradient(np.append(parameters, 0.0)).gradient
        assert slopes[index] == pytest.approx(gradient[-1], abs=1e-11)
