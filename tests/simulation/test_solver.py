import math
from itertools import pairwise

import numpy as np
import pytest

from simulation.engines.base import Engine, Evaluation
from simulation.observables import Observables
from simulation.optimizers import Outcome, get_optimizer, register_optimizer
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

    def observables(self, parameters):
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

    register_optimizer("guess", at_once, uses_gradient=False)
    assert solved("guess").best.result == -1.0
    with pytest.raises(ValueError, match="guess"):
        register_optimizer("guess", at_once, uses_gradient=False)
    with pytest.raises(ValueError, match=r"'SPSA'.*guess"):
        get_optimizer("SPSA")
