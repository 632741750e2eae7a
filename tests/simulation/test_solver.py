import math
from itertools import pairwise

import numpy as np
import pytest

from simulation.engines.base import Engine, Evaluation
from simulation.observables import Observables
from simulation.optimizers import Limits, Outcome, get_optimizer, register_optimizer
from simulation.solver import NonFiniteEnergyError, VQESolver


class Bowl(Engine):
    """E = sum over k of (theta_k - k)^2 - 1, in place of a molecule."""

    name = "bowl"

    def __init__(self, num_parameters=3, broken_at=None):
        super().__init__(num_parameters)
        self._broken_at = broken_at

    def _energy(self, parameters):
        if self.energy_evaluations == self._broken_at:
            return Evaluation(math.nan)
        return Evaluation(float(np.sum((parameters - np.arange(len(parameters))) ** 2)) - 1.0)

    def _energy_and_gradient(self, parameters):
        gradient = 2 * (parameters - np.arange(len(parameters)))
        return Evaluation(self._energy(parameters).energy, gradient, 0.25)

    def _observables(self, parameters):
        return Observables(0.0, 0.0, 0.0)


def solved(name="L-BFGS-B", engine=None, **options):
    engine = engine or Bowl()
    return VQESolver(engine, get_optimizer(name), np.zeros(engine.num_parameters), **options).solve()


@pytest.mark.parametrize("name", ["L-BFGS-B", "COBYLA"])
def test_optimizer_finds_the_minimum(name):
    solution = solved(name)
    assert solution.best.result == pytest.approx(-1.0, abs=1e-7)
    assert solution.success and solution.steps > 0


@pytest.mark.parametrize("name", ["L-BFGS-B", "COBYLA"])
def test_there_is_one_observation_an_evaluation_with_its_differences(name):
    seen = []
    engine = Bowl()
    solution = solved(name, engine, on_evaluation=seen.append)
    rows = solution.iterations
    assert seen == rows
    assert len(rows) == engine.energy_evaluations
    assert [row.iteration for row in rows] == list(range(1, len(rows) + 1))
    assert rows[0].energy_delta is None and rows[0].parameter_delta_norm is None
    for before, row in pairwise(rows):
        assert row.energy_delta == row.result - before.result
        assert row.parameter_delta_norm == pytest.approx(
            np.linalg.norm(np.subtract(row.parameters, before.parameters)), rel=1e-12
        )
    assert [row.cumulative_min_energy for row in rows] == np.minimum.accumulate([r.result for r in rows]).tolist()
    assert solution.best.result == min(row.result for row in rows)


def test_gradient_norm_is_recorded_where_there_is_a_gradient():
    first = solved("L-BFGS-B").iterations[0]
    assert first.gradient_norm == pytest.approx(2 * math.sqrt(5))
    assert first.energy_variance == 0.25
    assert solved("COBYLA").iterations[0].gradient_norm is None


@pytest.mark.parametrize("name", ["L-BFGS-B", "COBYLA"])
@pytest.mark.parametrize("cap", [1, 2])
def test_cap_holds_and_returns_the_best_seen_without_success(name, cap):
    solution = solved(name, Bowl(8), max_evaluations=cap)
    assert len(solution.iterations) == cap
    assert not solution.success
    assert solution.best.result == min(row.result for row in solution.iterations)


def test_looser_threshold_stops_earlier():
    assert len(solved("COBYLA", threshold=1e-2).iterations) < len(solved("COBYLA").iterations)


def test_ansatz_without_parameters_is_evaluated_once():
    solution = solved(engine=Bowl(0))
    assert (len(solution.iterations), solution.success, solution.best.result) == (1, True, -1.0)


@pytest.mark.parametrize("name", ["L-BFGS-B", "COBYLA"])
def test_energy_that_is_not_finite_is_an_error_naming_the_evaluation(name):
    with pytest.raises(NonFiniteEnergyError, match="evaluation 2"):
        solved(name, Bowl(broken_at=2))


def test_wrong_start_and_cap_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\)"):
        VQESolver(Bowl(), get_optimizer("COBYLA"), np.zeros(2))
    with pytest.raises(ValueError, match="max_evaluations is 0"):
        solved(max_evaluations=0)


def test_optimizer_can_be_registered_once(monkeypatch):
    monkeypatch.setattr("simulation.optimizers._OPTIMIZERS", {})

    def at_once(objective, start, limits):
        objective.energy(np.arange(3.0))
        return Outcome(True, "guessed")

    register_optimizer("guess", at_once, needs="energy")
    assert solved("guess").best.result == -1.0
    with pytest.raises(ValueError, match="guess"):
        register_optimizer("guess", at_once, needs="energy")
    with pytest.raises(ValueError, match=r"'SPSA'.*guess"):
        get_optimizer("SPSA")


def test_registered_optimizer_is_told_the_limits(monkeypatch):
    monkeypatch.setattr("simulation.optimizers._OPTIMIZERS", {})
    told = []

    def attentive(objective, start, limits):
        told.append(limits)
        objective.energy(start)
        return Outcome(True, "heard")

    register_optimizer("attentive", attentive, needs="energy", stochastic=True)
    solved("attentive", threshold=1e-3, energy_scale=7.0, seed=5)
    assert told == [Limits(threshold=1e-3, energy_scale=7.0, max_evaluations=None, seed=5)]
    with pytest.raises(ValueError, match="attentive is random and cannot be repeated without a seed"):
        solved("attentive")


class NoisyBowl(Bowl):
    """The bowl under noise of standard deviation 0.1, drawn for each evaluation from the seed and its number."""

    exact = False

    def __init__(self, num_parameters=3, seed=0):
        super().__init__(num_parameters)
        self._seed = seed

    def _energy(self, parameters):
        exact = super()._energy(parameters).energy
        noise = np.random.default_rng((self._seed, self.energy_evaluations)).normal(scale=0.1)
        return Evaluation(exact + noise, standard_error=0.1)


@pytest.mark.parametrize("name", ["COBYLA", "SPSA"])
def test_optimum_of_a_sampled_engine_is_measured_again_and_that_is_the_result(name):
    engine = NoisyBowl()
    solution = solved(name, engine, max_evaluations=200, seed=0)
    rows = solution.iterations
    assert solution.best is rows[-1] and len(rows) == engine.energy_evaluations <= 200
    assert solution.best.std == 0.1
    exact = Bowl()._energy(np.array(solution.best.parameters)).energy
    assert solution.best.result == pytest.approx(exact, abs=0.5)


def test_lowest_of_noisy_energies_is_too_low_and_the_remeasured_one_is_not():
    lowest, measured = [], []
    for seed in range(60):
        solution = solved("SPSA", NoisyBowl(seed=seed), max_evaluations=60, seed=seed)
        exact = Bowl()._energy(np.array(solution.best.parameters)).energy
        measured.append(solution.best.result - exact)
        best = min(solution.iterations, key=lambda row: row.result)
        lowest.append(best.result - Bowl()._energy(np.array(best.parameters)).energy)
    assert np.mean(lowest) < -0.05
    assert abs(np.mean(measured)) < 3 * 0.1 / math.sqrt(60)


@pytest.mark.parametrize("cap", [1, 2, 5])
def test_cap_of_a_sampled_engine_counts_the_last_measurement(cap):
    engine = NoisyBowl()
    solution = solved("COBYLA", engine, max_evaluations=cap)
    assert len(solution.iterations) == engine.energy_evaluations == cap
    assert solution.best is solution.iterations[-1] and not solution.success
    assert f"cap of {cap} energy" in solution.message


def test_sampled_engine_without_parameters_is_measured_once():
    solution = solved(engine=NoisyBowl(0))
    assert (len(solution.iterations), solution.success) == (1, True)


def test_gradients_probed_for_curvature_count_but_are_no_points_of_the_optimisation():
    engine = Bowl()
    solution = solved("Newton-CG", engine)
    assert len(solution.iterations) < engine.energy_evaluations == engine.gradient_evaluations
    assert all(row.parameter_delta_norm > 1e-3 for row in solution.iterations[1:])
    capped = Bowl()
    stopped = solved("Newton-CG", capped, max_evaluations=3)
    assert capped.energy_evaluations == 3 and not stopped.success
