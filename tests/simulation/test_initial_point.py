import math

import numpy as np
import pytest

from simulation.ansatz import UCCSD, AdaptAnsatz, EfficientSU2, ExcitationPreserving, KUpCCGSD, RealAmplitudes
from simulation.engines.aer import AerEngine
from simulation.engines.sector import SectorEngine
from simulation.initial_point import STRATEGIES, initial_point
from simulation.molecules import catalogue
from simulation.mp2 import MP2Amplitudes
from simulation.optimizers import get_optimizer
from simulation.problem import build_problem
from simulation.reference import exact_reference
from simulation.solver import VQESolver

HARDWARE_EFFICIENT = [EfficientSU2, RealAmplitudes, ExcitationPreserving]


def ansatz_of(problem, kind, reps=1):
    return kind(problem.num_orbitals, problem.num_particles, reps)


def electronic_hf(problem):
    return problem.hf_energy - problem.nuclear_repulsion


@pytest.mark.parametrize("kind", [UCCSD])
@pytest.mark.parametrize("name", ["LiH", "BeH"])
def test_hf_is_exactly_hartree_fock_for_products_of_excitations(problems, name, kind):
    problem, hamiltonian = problems(name)
    ansatz = ansatz_of(problem, kind, 2)
    start = initial_point("hf", ansatz)
    assert SectorEngine(ansatz, hamiltonian).energy(start).energy == pytest.approx(electronic_hf(problem), abs=1e-9)


@pytest.mark.parametrize("reps", [1, 2, 3])
@pytest.mark.parametrize("kind", HARDWARE_EFFICIENT)
@pytest.mark.parametrize("name", ["H2", "HeH+", "LiH", "H2O", "BeH"])
def test_hf_of_other_circuits_is_within_a_millihartree_of_hartree_fock(problems, name, kind, reps):
    problem, hamiltonian = problems(name)
    ansatz = ansatz_of(problem, kind, reps)
    evaluation = AerEngine(ansatz, hamiltonian).energy_and_gradient(initial_point("hf", ansatz, seed=5))
    assert abs(evaluation.energy - electronic_hf(problem)) < 1e-3
    assert abs(evaluation.gradient).max() > 1e-5


@pytest.mark.parametrize(("name", "reps"), [("H2", 3), ("HeH+", 2), ("HeH+", 3)])
def test_optimisation_from_hf_goes_below_hartree_fock_where_the_circuit_can(problems, name, reps):
    problem, hamiltonian = problems(name)
    ansatz = ansatz_of(problem, EfficientSU2, reps)
    start = initial_point("hf", ansatz, seed=0)
    solution = VQESolver(AerEngine(ansatz, hamiltonian), get_optimizer("L-BFGS-B"), start).solve()
    assert solution.best.result < electronic_hf(problem) - 1e-2


def test_hartree_fock_is_a_minimum_of_a_short_circuit_and_a_run_from_hf_ends_there(problems):
    # With two repetitions no single rotation reaches a double excitation, and pairs of them cost more than they gain.
    problem, hamiltonian = problems("LiH")
    ansatz = ansatz_of(problem, EfficientSU2, 2)
    start = initial_point("hf", ansatz, seed=0)
    solution = VQESolver(AerEngine(ansatz, hamiltonian), get_optimizer("L-BFGS-B"), start).solve()
    assert solution.best.result == pytest.approx(electronic_hf(problem), abs=1e-6)


@pytest.mark.parametrize("strategy", ["hf", "random"])
def test_random_numbers_come_from_the_seed(problems, strategy):
    ansatz = ansatz_of(problems("H2")[0], EfficientSU2, 2)
    one, again, other = (initial_point(strategy, ansatz, seed=seed) for seed in (1, 1, 2))
    assert one.tobytes() == again.tobytes() != other.tobytes()
    with pytest.raises(ValueError, match=f"'{strategy}' without a seed"):
        initial_point(strategy, ansatz)


def test_random_is_numpys_uniform_over_the_circle(problems):
    ansatz = ansatz_of(problems("LiH")[0], UCCSD)
    expected = np.random.default_rng(7).uniform(0, 2 * math.pi, ansatz.num_parameters)
    assert initial_point("random", ansatz, seed=7).tolist() == expected.tolist()


def test_zeros_are_zeros(problems):
    ansatz = ansatz_of(problems("H2")[0], EfficientSU2, 2)
    assert initial_point("zeros", ansatz).tolist() == [0.0] * ansatz.num_parameters


@pytest.mark.parametrize(("name", "space"), [("LiH", {}), ("H2O", {}), ("N2", {}), ("H2O", {"frozen_core": True})])
def test_mp2_amplitudes_give_the_correlation_energy_of_pyscf(problems, name, space):
    from pyscf import gto, mp, scf

    problem, _ = problems(name, **space)
    molecule = catalogue()[name]
    atoms = list(zip(molecule.symbols, molecule.coords_angstrom.tolist(), strict=True))
    field = scf.RHF(gto.M(atom=atoms, basis="sto3g", charge=molecule.charge, verbose=0)).run(conv_tol=1e-12)
    expected = mp.MP2(field, frozen=problem.frozen_orbitals or None).run().e_corr
    amplitudes = MP2Amplitudes(problem)
    doubles = [e for e in ansatz_of(problem, UCCSD).excitations if len(e.occupied) == 2]
    energy = sum(amplitudes.amplitude(double) * amplitudes.integral(double) for double in doubles)
    assert energy == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("kind", [UCCSD, KUpCCGSD])
@pytest.mark.parametrize("name", ["LiH", "H2O", "N2", "BeH"])
def test_mp2_starts_below_hartree_fock_and_above_the_exact_energy(problems, name, kind):
    problem, hamiltonian = problems(name)
    energies = []
    for reps in (1, 2):
        ansatz = ansatz_of(problem, kind, reps)
        start = initial_point("mp2", ansatz, problem=problem)
        energies.append(SectorEngine(ansatz, hamiltonian).energy(start).energy)
    exact = exact_reference(problem).energy - problem.nuclear_repulsion
    assert exact < min(energies) and max(energies) < electronic_hf(problem) - 0.01
    assert energies[0] == pytest.approx(energies[1], abs=1e-3)  # the repetitions share the amplitudes


@pytest.mark.parametrize("name", ["LiH", "H2O"])
def test_mp2_saves_evaluations(problems, name):
    problem, hamiltonian = problems(name)
    ansatz = ansatz_of(problem, UCCSD)
    used = {}
    for strategy in ("hf", "mp2"):
        start = initial_point(strategy, ansatz, problem=problem)
        solution = VQESolver(SectorEngine(ansatz, hamiltonian), get_optimizer("L-BFGS-B"), start).solve()
        used[strategy] = next(
            row.iteration for row in solution.iterations if row.result < solution.best.result + 1.6e-3
        )
    assert used["mp2"] < used["hf"]


def test_mp2_amplitudes_of_spin_partners_agree_and_singles_vanish_in_a_closed_shell(problems):
    problem, _ = problems("H2O")
    amplitudes = MP2Amplitudes(problem)
    for excitation in ansatz_of(problem, UCCSD).excitations:
        partner = excitation.spin_flipped(problem.num_orbitals)
        assert amplitudes.amplitude(excitation) == pytest.approx(amplitudes.amplitude(partner), abs=1e-12)
        assert len(excitation.occupied) == 2 or amplitudes.amplitude(excitation) == 0.0


def test_mp2_of_an_excitation_written_backwards_has_the_opposite_sign(problems):
    problem, _ = problems("LiH")
    amplitudes = MP2Amplitudes(problem)
    double = next(e for e in ansatz_of(problem, UCCSD).excitations if abs(amplitudes.amplitude(e)) > 1e-3)
    backwards = type(double)(double.virtual, double.occupied)
    assert amplitudes.amplitude(backwards) == -amplitudes.amplitude(double) != 0.0


def test_previous_is_the_point_given(problems):
    ansatz = ansatz_of(problems("H2")[0], UCCSD)
    point = [0.1, 0.2]
    assert initial_point("previous", ansatz, previous=point).tolist() == point
    with pytest.raises(ValueError, match="3 parameters, UCCSD here has 2"):
        initial_point("previous", ansatz, previous=[0.0] * 3)
    with pytest.raises(ValueError, match="not a finite number"):
        initial_point("previous", ansatz, previous=[0.0, math.nan])
    with pytest.raises(ValueError, match="give them"):
        initial_point("previous", ansatz)


def test_what_a_strategy_cannot_do_is_an_error_never_another_strategy(problems):
    problem, _ = problems("H2")
    with pytest.raises(ValueError, match="EfficientSU2 does not have"):
        initial_point("mp2", ansatz_of(problem, EfficientSU2, 2), problem=problem)
    with pytest.raises(ValueError, match="give the problem"):
        initial_point("mp2", ansatz_of(problem, UCCSD))
    with pytest.raises(ValueError, match=r"'best'.*expected one of"):
        initial_point("best", ansatz_of(problem, UCCSD))
    assert set(STRATEGIES) == {"hf", "zeros", "random", "mp2", "previous"}


def test_adapt_without_operators_starts_from_no_parameters():
    problem = build_problem(catalogue()["H2"])
    assert len(initial_point("hf", AdaptAnsatz(problem.num_orbitals, problem.num_particles))) == 0
