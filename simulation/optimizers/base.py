"""What an optimiser is given and what it says at the end: the interface, no algorithm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Objective(Protocol):
    """What an optimiser minimises."""

    def energy(self, parameters: NDArray[np.float64]) -> float:
        """The energy (Hartree)."""

    def energy_and_gradient(self, parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """The energy and its gradient (Hartree per radian)."""

    def gradient_probe(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """The gradient at a point visited only to differentiate it: it counts, but is no point of the optimisation."""

    def step_done(self) -> None:
        """Tell that a step of the optimiser is complete."""


@dataclass(frozen=True)
class Limits:
    """When to stop, and where randomness comes from.

    Args:
        threshold: Convergence threshold on the energy (Hartree), None for the optimiser's tight default.
        energy_scale: Magnitude of the energies (Hartree), to turn the threshold into a relative one.
        max_evaluations: Energies that may be asked for, None for no cap. The objective enforces it; an optimiser may
            plan with it.
        seed: Of everything random in a stochastic optimiser.
    """

    threshold: float | None = None
    energy_scale: float = 1.0
    max_evaluations: int | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How an optimiser ended.

    Args:
        success: Whether it converged.
        message: Its own words.
        maxcv: Largest constraint violation, of optimisers that know constraints.
        parameters: The point it found (radian), None for the one with the lowest energy it saw.
    """

    success: bool
    message: str
    maxcv: float | None = None
    parameters: NDArray[np.float64] | None = None


Needs = Literal["energy", "gradient", "curvature"]
"""Energies alone, exact gradients too, or gradients that may be differentiated numerically."""

Minimiser = Callable[[Objective, "NDArray[np.float64]", Limits], Outcome]


@dataclass(frozen=True)
class Optimizer:
    """An optimiser that options can name."""

    name: str
    minimise: Minimiser
    needs: Needs
    stochastic: bool = False
