import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from simulation.ansatz import UCCSD, EfficientSU2
from simulation.engines.aer import AerEngine
from simulation.engines.base import Engine, Evaluation
from simulation.engines.sector import SectorEngine
from simulation.initial_point import initial_point
from simulation.observables import Observables
from simulation.optimizers import Limits, get_optimizer, optimizer_names
from simulation.optimizers.scipy_methods import METHODS, ScipyMethod
from simulation.optimizers.spsa import CALIBRATIONS, minimise_spsa
from simulation.reference import exact_reference
from simulation.solver import Observer, VQESolver

EIGHT = ("L-BFGS-B", "COBYLA", "SLSQP", "Nelder-Mead", "Powell", "BFGS", "CG", "TNC")
"""Those that the field's tools configure (features A9)."""

FURTHER = ("COBYQA", "Newton-CG", "trust-constr", "trust-ncg", "trust-krylov", "trust-exact")
USING_GRADIENTS = [method.name for method in METHODS if method.needs != "energy"]
METHOD = {method.name: method for method in METHODS}


def run(problems, molecule, name, kind=UCCSD, reps=1, **options):
    problem, hamiltonian = problems(molecule)
    ansatz = kind(problem.num_orbitals, problem.num_particles, reps)
    engine = (SectorEngine if kind is UCCSD else AerEngine)(ansatz, hamiltonian)
    options = {"energy_scale": abs(problem.hf_energy - problem.nuclear_repulsion), "seed": 1} | options
    start = initial_point("hf", ansatz, seed=0)
    solution = VQESolver(engine, get_optimizer(name), start, **options).solve()
    error = 1000 * (solution.best.result + problem.nuclear_repulsion - exact_reference(problem).energy)
    return solution, engine, error


def test_every_name_is_offered_once():
    assert set(optimizer_names()) == {*EIGHT, *FURTHER, "SPSA"}
    assert [name for name in optimizer_names() if get_optimizer(name).stochastic] == ["SPSA"]


def test_names_of_scipy_that_cannot_work_are_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"'dogleg'.*L-BFGS-B.*positive definite Hessian"):
        get_optimizer("dogleg")
    with pytest.raises(ValueError, match=r"'custom'.*register_optimizer"):
        get_optimizer("custom")
    with pytest.raises(ValueError, match=r"'Adam'.*expected one of"):
        get_optimizer("Adam")


def test_import_is_light():
    code = "import sys, simulation.optimizers; print(sorted({'scipy', 'numba', 'qiskit', 'pyscf'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("name", [*EIGHT, *FURTHER, "SPSA"])
def test_h2_is_within_chemical_accuracy_and_the_optimizer_says_so(problems, name):
    solution, _, error = run(problems, "H2", name)
    assert -1e-6 < error < 1.6
    assert solution.success and solution.steps > 0


@pytest.mark.parametrize("name", [*EIGHT, *FURTHER])
def test_h2_with_a_hardware_efficient_circuit_is_within_chemical_accuracy(problems, name):
    _, _, error = run(problems, "H2", name, EfficientSU2, 3, threshold=1e-4)
    assert -1e-6 < error < 1.6


@pytest.mark.parametrize("name", sorted({*EIGHT, *FURTHER} - {"COBYLA"}))
def test_lih_is_within_chemical_accuracy(problems, name):
    solution, _, error = run(problems, "LiH", name)
    assert -1e-6 < error < 0.1
    assert solution.success


@pytest.mark.parametrize("name", sorted({*EIGHT, *FURTHER} - {"COBYLA"}))
def test_threshold_is_met_in_the_energy_and_a_looser_one_is_cheaper(problems, name):
    loose, tight = (run(problems, "LiH", name, threshold=threshold) for threshold in (1e-3, 1e-6))
    assert loose[0].success and tight[0].success
    # Methods whose steps are short near the end stop a few steps' worth above the minimum.
    best = 0.0106
    assert loose[2] - best < 1.0 and tight[2] - best < 0.005
    assert loose[1].energy_evaluations < tight[1].energy_evaluations


@pytest.mark.parametrize("name", USING_GRADIENTS)
def test_gradients_are_the_engines_never_differences_of_energies(problems, name):
    _, engine, _ = run(problems, "LiH", name)
    assert engine.gradient_evaluations == engine.energy_evaluations
    if get_optimizer(name).needs == "gradient":
        assert engine.energy_evaluations < 100  # a difference of energies would take 45 for each gradient


@pytest.mark.parametrize("name", [*EIGHT, *FURTHER, "SPSA"])
@pytest.mark.parametrize("cap", [1, 3, 8])
def test_cap_holds_in_every_optimizer(problems, name, cap):
    solution, engine, _ = run(problems, "LiH", name, max_evaluations=cap)
    assert len(solution.iterations) <= engine.energy_evaluations <= cap
    assert not solution.success
    assert solution.best.result == min(row.result for row in solution.iterations)


@pytest.mark.parametrize("name", [*EIGHT, *FURTHER, "SPSA"])
def test_same_run_twice_is_the_same_bytes(problems, name):
    first, second = (run(problems, "H2", name)[0] for _ in range(2))
    assert first.iterations == second.iterations


@pytest.mark.parametrize("name", ["L-BFGS-B", "SLSQP", "BFGS", "trust-exact", "COBYQA"])
def test_number_of_blas_threads_does_not_change_a_byte(problems, name):
    found = []
    for threads in (1, 4):
        with threadpool_limits(threads, user_api="blas"):
            found.append(run(problems, "NH3", name, max_evaluations=40)[0].iterations)
    assert found[0] == found[1]


def test_thresholds_become_each_methods_own():
    start, limits = np.zeros(4), Limits(threshold=1e-4, energy_scale=50.0)

    def given(name):
        tight = METHOD[name].options(start, Limits())
        found = METHOD[name].options(start, limits)
        return {key: value for key, value in found.items() if not np.array_equal(tight[key], value)}

    assert given("L-BFGS-B") == {"ftol": 2e-6, "gtol": 1e-4}
    assert given("Powell") == {"ftol": 2e-6}
    assert given("SLSQP") == given("TNC") == {"ftol": 1e-4}
    assert given("Nelder-Mead") == {"fatol": 1e-4}
    assert given("COBYLA") == {"tol": 5e-3} and given("COBYQA") == {"final_tr_radius": 5e-3}
    for watched in ("BFGS", "CG", "Newton-CG", "trust-constr", "trust-ncg", "trust-krylov", "trust-exact"):
        assert given(watched) == {}


def test_methods_own_limit_is_no_success_and_a_cap_replaces_it(problems):
    method = ScipyMethod("COBYLA", "energy", {}, evaluation_limits={"maxiter": 55})
    assert method.options(np.zeros(3), Limits())["maxiter"] == 55
    assert method.options(np.zeros(3), Limits(max_evaluations=99))["maxiter"] > 99
    problem, hamiltonian = problems("LiH")
    ansatz = UCCSD(problem.num_orbitals, problem.num_particles)
    observer = Observer(SectorEngine(ansatz, hamiltonian), None, None)
    outcome = method.minimise(observer, ansatz.hartree_fock_parameters(), Limits())
    assert not outcome.success and observer.evaluations == 55


class Valley(Engine):
    """A parabola with curvatures from 1 to 50 Hartree per square radian, and noise of a given size."""

    name = "valley"

    def __init__(self, noise=0.0):
        super().__init__(6)
        self.exact = noise == 0.0
        self._noise = noise

    def _energy(self, parameters):
        curvatures = np.geomspace(1, 50, 6)
        noise = self._noise * np.random.default_rng(self.energy_evaluations).normal()
        return Evaluation(float(curvatures @ (parameters - 0.3) ** 2) / 2 - 1.0 + noise, standard_error=self._noise)

    def _energy_and_gradient(self, parameters):
        raise AssertionError("SPSA asks for energies only")

    def _observables(self, parameters):
        return Observables(0.0, 0.0, 0.0)


def spsa(engine, **options):
    return VQESolver(engine, get_optimizer("SPSA"), np.zeros(6), **({"seed": 0} | options)).solve()


def test_spsa_finds_the_bottom_of_a_steep_valley():
    solution = spsa(Valley())
    assert solution.best.result == pytest.approx(-1.0, abs=5e-3)


def test_spsa_finds_it_under_noise():
    solution = spsa(Valley(noise=0.02))
    exact = Valley()._energy(np.array(solution.best.parameters)).energy
    assert exact == pytest.approx(-1.0, abs=0.05)


def test_spsa_takes_two_energies_a_step_whatever_the_number_of_parameters():
    solution = spsa(Valley(), max_evaluations=1001)
    assert len(solution.iterations) == 1 + 2 * CALIBRATIONS + 2 * solution.steps + 1 <= 1001


def test_spsa_follows_its_seed():
    one, again, other = (spsa(Valley(), max_evaluations=40, seed=seed).iterations for seed in (1, 1, 2))
    assert one == again != other
    with pytest.raises(ValueError, match="without a seed"):
        minimise_spsa(Observer(Valley(), None, None), np.zeros(6), Limits())


def test_spsa_that_cannot_see_convergence_does_not_claim_it():
    solution = spsa(Valley(noise=0.5), max_evaluations=600)
    assert not solution.success and "without converging" in solution.message
