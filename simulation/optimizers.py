"""Classical optimisers by name, with defaults that converge, behind one call.

An optimiser sees an objective with an energy and, if it wants, the exact gradient. The cap on evaluations is the
objective's business (it raises), so it holds for every optimiser, whatever its own counting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENERGY_TOLERANCE = 1e-12
"""Relative decrease of the energy in a step below which L-BFGS-B stops."""

GRADIENT_TOLERANCE = 1e-6
"""Largest component of the gradient (Hartree per radian) below which L-BFGS-B stops."""

COBYLA_FIRST_STEP = 0.2
COBYLA_LAST_STEP = 1e-4
"""Trust region of COBYLA (radian) at the start and at the end; the energy's error goes with its square."""

COBYLA_MAX_EVALUATIONS = 1000
"""Where COBYLA gives up by itself; with many parameters it is the wrong method, and its records are long."""

_UNLIMITED = 1_000_000


class Objective(Protocol):
    """What an optimiser minimises."""

    def energy(self, parameters: NDArray[np.float64]) -> float:
        """The energy (Hartree)."""

    def energy_and_gradient(self, parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """The energy and its gradient (Hartree per radian)."""

    def step_done(self) -> None:
        """Tell that a step of the optimiser is complete."""


@dataclass(frozen=True)
class Limits:
    """When to stop.

    Args:
        threshold: Convergence threshold on the energy (Hartree), None for the optimiser's tight default.
        energy_scale: Magnitude of the energies (Hartree), to turn the threshold into a relative one.
    """

    threshold: float | None = None
    energy_scale: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """How an optimiser ended; `maxcv` is the largest constraint violation, of optimisers that know constraints."""

    success: bool
    message: str
    maxcv: float | None = None


Minimiser = Callable[["Objective", "NDArray[np.float64]", Limits], Outcome]


@dataclass(frozen=True)
class Optimizer:
    """An optimiser that options can name."""

    name: str
    minimise: Minimiser
    uses_gradient: bool


def _minimise_lbfgsb(objective: Objective, start: NDArray[np.float64], limits: Limits) -> Outcome:
    from scipy.optimize import minimize

    threshold = limits.threshold
    options = {
        "maxiter": _UNLIMITED,
        "maxfun": _UNLIMITED,
        "ftol": ENERGY_TOLERANCE if threshold is None else threshold / max(limits.energy_scale, 1.0),
        "gtol": GRADIENT_TOLERANCE if threshold is None else threshold,
    }
    result = minimize(
        objective.energy_and_gradient,
        start,
        jac=True,
        method="L-BFGS-B",
        options=options,
        callback=lambda _: objective.step_done(),
    )
    return Outcome(bool(result.success), str(result.message))


def _minimise_cobyla(objective: Objective, start: NDArray[np.float64], limits: Limits) -> Outcome:
    from scipy.optimize import minimize

    result = minimize(
        objective.energy,
        start,
        method="COBYLA",
        tol=COBYLA_LAST_STEP if limits.threshold is None else min(limits.threshold, COBYLA_FIRST_STEP / 2),
        options={"maxiter": COBYLA_MAX_EVALUATIONS, "rhobeg": COBYLA_FIRST_STEP},
        callback=lambda _: objective.step_done(),
    )
    return Outcome(bool(result.success), str(result.message), _optional_float(result.get("maxcv")))


def _optional_float(value: Any) -> float | None:
    return None if value is None else float(value)


_OPTIMIZERS: dict[str, Optimizer] = {}


def register_optimizer(name: str, minimise: Minimiser, *, uses_gradient: bool) -> Optimizer:
    """Make an optimiser available by name.

    Raises:
        ValueError: the name is taken.
    """
    if name in _OPTIMIZERS:
        raise ValueError(f"an optimizer called {name!r} is registered already: choose another name")
    _OPTIMIZERS[name] = Optimizer(name, minimise, uses_gradient)
    return _OPTIMIZERS[name]


def get_optimizer(name: str) -> Optimizer:
    """The optimiser of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in _OPTIMIZERS:
        raise ValueError(f"optimizer is {name!r}, expected one of {sorted(_OPTIMIZERS)}")
    return _OPTIMIZERS[name]


register_optimizer("L-BFGS-B", _minimise_lbfgsb, uses_gradient=True)
register_optimizer("COBYLA", _minimise_cobyla, uses_gradient=False)
