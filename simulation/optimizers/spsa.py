r"""SPSA: simultaneous perturbation stochastic approximation, the optimiser made for noisy energies.

Two energies a step whatever the number of parameters (Spall, IEEE Trans. Aerosp. Electron. Syst. 34, 817 (1998)):

.. math:: \theta_{k+1} = \theta_k - a_k \frac{E(\theta_k + c_k \Delta) - E(\theta_k - c_k \Delta)}{2 c_k} \Delta,
          \qquad a_k = \frac{a}{(A + k + 1)^{0.602}}, \quad c_k = \frac{c}{(k + 1)^{0.101}}

with random signs :math:`\Delta` and A a tenth of the planned steps. The first gain is calibrated on energies around the
start: along :math:`\Delta` the energy is a parabola of curvature :math:`\Delta^T H \Delta`, whose mean is the trace of
the Hessian H, and 1 / tr H is the gain that steps to its bottom. A fixed first step would diverge on molecules with
deep core orbitals, whose excitations curve the energy fifty times more than valence ones.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import fmean, stdev, variance
from typing import TYPE_CHECKING

import numpy as np

from simulation.optimizers.base import Limits, Objective, Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS = 1000
STEPS_PER_PARAMETER = 40
"""Steps that are planned where no cap on evaluations is given: the larger of the two rules. A run that needs more ends
without success."""

CALIBRATIONS = 25
"""Pairs of energies, around that of the start, from which the gain is calibrated; fewer under a small cap."""

PERTURBATION = 0.1
"""c (radian)."""

FIRST_STEP = 0.2
"""Largest typical change of each parameter (radian) in the first step, and the rule where no curvature is seen."""

WINDOW = 50
"""Steps over which energies are averaged to judge convergence."""

TOLERANCE = 1e-3
"""Change of the averaged energy (Hartree) from one window to the next, its standard error included, at which the
optimisation has converged: anything tighter is seldom visible under shots."""

_GAIN_DECAY = 0.602
_PERTURBATION_DECAY = 0.101
_STABILITY = 0.1


def minimise_spsa(objective: Objective, start: NDArray[np.float64], limits: Limits) -> Outcome:
    """Minimise; see `base.Minimiser`.

    It has converged when the energy, averaged over `WINDOW` steps, is seen to change by no more than the threshold
    (`TOLERANCE` when none is given), the standard error of that change included. Where noise hides it, the planned
    steps are made and the outcome is not called a success.

    Raises:
        ValueError: no seed.
    """
    if limits.seed is None:
        raise ValueError("SPSA without a seed cannot be repeated: give a seed")
    random = np.random.default_rng(limits.seed)
    calibrations, steps = _plan(limits.max_evaluations, len(start))
    stability = _STABILITY * steps
    gain = _calibrated_gain(objective, start, random, calibrations) * (stability + 1) ** _GAIN_DECAY
    parameters = np.array(start, dtype=np.float64)
    judge = _Judge(TOLERANCE if limits.threshold is None else limits.threshold)
    for step in range(steps):
        distance = PERTURBATION / (step + 1) ** _PERTURBATION_DECAY
        signs = _signs(random, len(parameters))
        above, below = _pair(objective, parameters, distance * signs)
        slope = (above - below) / (2 * distance)
        parameters = parameters - gain / (stability + step + 1) ** _GAIN_DECAY * slope * signs
        objective.step_done()
        if judge.converged((above + below) / 2):
            objective.energy(parameters)
            return Outcome(True, f"converged: {judge.finding}", parameters=parameters)
    objective.energy(parameters)
    return Outcome(False, f"used up its {steps} steps without converging", parameters=parameters)


class _Judge:
    """Compares the mean energy of one window of steps with that of the window before."""

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._energies: deque[float] = deque(maxlen=2 * WINDOW)
        self._seen = 0
        self.finding = ""

    def converged(self, energy: float) -> bool:
        self._energies.append(energy)
        self._seen += 1
        if self._seen % WINDOW or len(self._energies) < 2 * WINDOW:
            return False
        energies = list(self._energies)
        before, after = energies[:WINDOW], energies[WINDOW:]
        decrease = fmean(before) - fmean(after)
        error = math.sqrt((variance(before) + variance(after)) / WINDOW)
        self.finding = f"{WINDOW} steps lowered the mean energy by {decrease:.1e} +- {error:.1e} Hartree"
        return abs(decrease) + error <= self._tolerance


def _plan(max_evaluations: int | None, num_parameters: int) -> tuple[int, int]:
    """Pairs for the calibration and steps; with the last energy they use no more than the cap, if it allows any."""
    if max_evaluations is None:
        return CALIBRATIONS, max(STEPS, STEPS_PER_PARAMETER * num_parameters)
    calibrations = max(1, min(CALIBRATIONS, max_evaluations // 20))
    return calibrations, max(1, max_evaluations // 2 - 1 - calibrations)


def _calibrated_gain(
    objective: Objective, start: NDArray[np.float64], random: np.random.Generator, calibrations: int
) -> float:
    energy = objective.energy(start)
    slopes, curvatures = [], []
    for _ in range(calibrations):
        above, below = _pair(objective, start, PERTURBATION * _signs(random, len(start)))
        slopes.append(abs(above - below) / (2 * PERTURBATION))
        curvatures.append((above + below - 2 * energy) / PERTURBATION**2)
    slope, curvature = fmean(slopes), fmean(curvatures)
    largest = FIRST_STEP / slope if slope > 0.0 else math.inf
    error = stdev(curvatures) / math.sqrt(calibrations) if calibrations > 1 else 0.0
    if curvature > error:
        return min(1.0 / curvature, largest)
    return largest if math.isfinite(largest) else FIRST_STEP


def _pair(
    objective: Objective, parameters: NDArray[np.float64], displacement: NDArray[np.float64]
) -> tuple[float, float]:
    return objective.energy(parameters + displacement), objective.energy(parameters - displacement)


def _signs(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    return 1.0 - 2.0 * random.integers(0, 2, count).astype(np.float64)
