"""The optimisation loop: an engine, an optimiser and a starting point in, every evaluation and the best of them out."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulation.optimizers import Limits, Optimizer, Outcome
from simulation.record import VQEProcess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.engines.base import Engine, Evaluation

EvaluationCallback = Callable[[VQEProcess], None]


class NonFiniteEnergyError(ArithmeticError):
    """An energy or gradient is not a finite number; the message names the evaluation."""


class EvaluationLimitReached(Exception):  # noqa: N818  (not an error: it ends the loop at the cap)
    """The cap on energy evaluations is used up."""


@dataclass(frozen=True)
class Solution:
    """What an optimisation produced.

    Args:
        iterations: One observation an energy evaluation, in order.
        best: The evaluation with the lowest energy (the first of equals). From a sampled engine it is the last one: the
            optimum measured again, because the lowest of many noisy energies is too low.
        success: Whether the optimiser says it converged; False at the cap.
        message: The optimiser's own words.
        steps: Complete steps of the optimiser.
        maxcv: Largest constraint violation, where the optimiser reports one.
        seconds: Wall time of the loop.
    """

    iterations: list[VQEProcess]
    best: VQEProcess
    success: bool
    message: str
    steps: int
    maxcv: float | None
    seconds: float


class Solver(ABC):
    """Something that finds a low energy."""

    @abstractmethod
    def solve(self) -> Solution:
        """Run to the end."""


class VQESolver(Solver):
    """The variational quantum eigensolver: minimise an engine's energy over the ansatz's parameters.

    Args:
        engine: Computes energies and gradients.
        optimizer: Chooses the next parameters.
        start: Initial parameters (radian), shape `(num_parameters,)`.
        max_evaluations: Hard cap on energy evaluations, None for no cap. Of a sampled engine the last one is kept for
            measuring the optimum again.
        threshold: Convergence threshold on the energy (Hartree), None for the optimiser's default.
        energy_scale: Magnitude of the energies (Hartree); optimisers with relative tolerances need it.
        seed: Of a stochastic optimiser.
        on_evaluation: Called with every observation as it is made.

    Raises:
        ValueError: `start` has the wrong shape, the cap is less than 1, or a stochastic optimiser has no seed.
    """

    def __init__(
        self,
        engine: Engine,
        optimizer: Optimizer,
        start: NDArray[np.float64],
        *,
        max_evaluations: int | None = None,
        threshold: float | None = None,
        energy_scale: float = 1.0,
        seed: int | None = None,
        on_evaluation: EvaluationCallback | None = None,
    ) -> None:
        if np.shape(start) != (engine.num_parameters,):
            raise ValueError(f"start has the shape {np.shape(start)}, expected ({engine.num_parameters},)")
        check_limits(optimizer, max_evaluations, seed)
        self._engine = engine
        self._optimizer = optimizer
        self._start = start
        for_optimizer = max_evaluations if max_evaluations is None or engine.exact else max_evaluations - 1
        self._limits = Limits(threshold, energy_scale, for_optimizer, seed)
        self._observer = Observer(engine, for_optimizer, on_evaluation)

    def solve(self) -> Solution:
        """Optimise; can be called once.

        Raises:
            NonFiniteEnergyError: an energy is NaN or infinite.
        """
        began = time.perf_counter()
        outcome = self._minimise()
        observer = self._observer
        if not self._engine.exact:
            self._measure_again(outcome.parameters)
        assert observer.best is not None  # every path evaluates at least once
        return Solution(
            iterations=observer.iterations,
            best=observer.best if self._engine.exact else observer.iterations[-1],
            success=outcome.success,
            message=outcome.message,
            steps=observer.steps,
            maxcv=outcome.maxcv,
            seconds=time.perf_counter() - began,
        )

    def _minimise(self) -> Outcome:
        observer = self._observer
        if len(self._start) == 0:
            if self._engine.exact:
                observer.energy(self._start)
            return Outcome(True, "nothing to optimise: the ansatz has no parameters")
        try:
            return self._optimizer.minimise(observer, self._start, self._limits)
        except EvaluationLimitReached:
            used = observer.evaluations if self._engine.exact else observer.evaluations + 1
            return Outcome(False, f"stopped at the cap of {used} energy evaluations")

    def _measure_again(self, found: NDArray[np.float64] | None) -> None:
        best = self._observer.best
        if found is None:
            found = self._start if best is None else np.array(best.parameters)
        self._observer.cap = None
        self._observer.energy(found)


def check_limits(optimizer: Optimizer, max_evaluations: int | None, seed: int | None) -> None:
    """Refuse limits under which no optimisation can be run or repeated.

    Raises:
        ValueError: the cap is less than 1, or a stochastic optimiser has no seed.
    """
    if max_evaluations is not None and max_evaluations < 1:
        raise ValueError(f"max_evaluations is {max_evaluations}, expected at least 1")
    if optimizer.stochastic and seed is None:
        raise ValueError(f"optimizer {optimizer.name} is random and cannot be repeated without a seed: give one")


class Observer:
    """The objective that optimisers see: evaluates, caps, records and reports.

    Args:
        engine: Computes energies and gradients.
        cap: Evaluations that are allowed, None for any number.
        callback: Called with every observation as it is made.
    """

    def __init__(self, engine: Engine, cap: int | None, callback: EvaluationCallback | None) -> None:
        self._engine = engine
        self._callback = callback
        self._probes = 0
        self.cap = cap
        self.iterations: list[VQEProcess] = []
        self.best: VQEProcess | None = None
        self.steps = 0

    @property
    def evaluations(self) -> int:
        """Energies computed so far, those of gradient probes included."""
        return len(self.iterations) + self._probes

    def energy(self, parameters: NDArray[np.float64]) -> float:
        """See `optimizers.Objective`."""
        self._check_cap()
        return self._record(parameters, self._engine.energy(parameters))

    def energy_and_gradient(self, parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """See `optimizers.Objective`."""
        self._check_cap()
        evaluation = self._engine.energy_and_gradient(parameters)
        energy = self._record(parameters, evaluation)
        assert evaluation.gradient is not None
        return energy, evaluation.gradient

    def gradient_probe(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `optimizers.Objective`."""
        self._check_cap()
        evaluation = self._engine.energy_and_gradient(parameters)
        self._probes += 1
        _check_finite(evaluation, self.evaluations, parameters)
        assert evaluation.gradient is not None
        return evaluation.gradient

    def step_done(self) -> None:
        """See `optimizers.Objective`."""
        self.steps += 1

    def _check_cap(self) -> None:
        if self.cap is not None and self.evaluations >= self.cap:
            raise EvaluationLimitReached

    def _record(self, parameters: NDArray[np.float64], evaluation: Evaluation) -> float:
        gradient_norm = _check_finite(evaluation, self.evaluations + 1, parameters)
        values = [float(value) for value in parameters]
        previous = self.iterations[-1] if self.iterations else None
        lowest = evaluation.energy if self.best is None else min(self.best.result, evaluation.energy)
        process = VQEProcess(
            iteration=len(self.iterations) + 1,
            parameters=values,
            result=evaluation.energy,
            std=evaluation.standard_error,
            energy_delta=None if previous is None else evaluation.energy - previous.result,
            parameter_delta_norm=None if previous is None else _distance(values, previous.parameters),
            cumulative_min_energy=lowest,
            gradient_norm=gradient_norm,
            energy_variance=evaluation.variance,
        )
        self.iterations.append(process)
        if self.best is None or evaluation.energy < self.best.result:
            self.best = process
        if self._callback is not None:
            self._callback(process)
        return evaluation.energy


def _check_finite(evaluation: Evaluation, number: int, parameters: NDArray[np.float64]) -> float | None:
    """The norm of the gradient, if there is one."""
    gradient_norm = None if evaluation.gradient is None else math.hypot(*evaluation.gradient)
    if not math.isfinite(evaluation.energy) or not math.isfinite(gradient_norm or 0.0):
        raise NonFiniteEnergyError(
            f"evaluation {number} returned the energy {evaluation.energy!r} "
            f"(gradient norm {gradient_norm!r}) at parameters of norm "
            f"{np.linalg.norm(parameters):.3g}: expected a finite number; try another initial point or optimizer"
        )
    return gradient_norm


def _distance(values: list[float], previous: list[float]) -> float:
    """Euclidean distance; parameters that one of the points does not have yet are zero there."""
    length = max(len(values), len(previous))
    return math.dist(values + [0.0] * (length - len(values)), previous + [0.0] * (length - len(previous)))
