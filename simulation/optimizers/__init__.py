"""Classical optimisers by name, with defaults that converge, behind one call.

An optimiser sees an objective with an energy and, if it wants, the exact gradient. The cap on evaluations is the
objective's business (it raises), so it holds for every optimiser, whatever its own counting.
"""

from __future__ import annotations

from simulation.optimizers.base import Limits, Minimiser, Needs, Objective, Optimizer, Outcome
from simulation.optimizers.scipy_methods import METHODS, REFUSED
from simulation.optimizers.spsa import minimise_spsa

__all__ = [
    "Limits",
    "Minimiser",
    "Needs",
    "Objective",
    "Optimizer",
    "Outcome",
    "get_optimizer",
    "optimizer_names",
    "register_optimizer",
]

_OPTIMIZERS: dict[str, Optimizer] = {}


def register_optimizer(name: str, minimise: Minimiser, *, needs: Needs, stochastic: bool = False) -> Optimizer:
    """Make an optimiser available by name.

    Args:
        name: How options name it.
        minimise: Called with an objective, the initial parameters (radian, shape `(num_parameters,)`) and the limits;
            evaluates energies through the objective and says how it ended. It need not watch the cap on evaluations.
        needs: 'energy', 'gradient', or 'curvature' when it differentiates gradients numerically.
        stochastic: Whether it draws random numbers, which it must do from `limits.seed`.

    Raises:
        ValueError: the name is taken.
    """
    if name in _OPTIMIZERS:
        raise ValueError(f"an optimizer called {name!r} is registered already: choose another name")
    _OPTIMIZERS[name] = Optimizer(name, minimise, needs, stochastic)
    return _OPTIMIZERS[name]


def optimizer_names() -> list[str]:
    """The names that are registered, in order of registration."""
    return list(_OPTIMIZERS)


def get_optimizer(name: str) -> Optimizer:
    """The optimiser of that name.

    Raises:
        ValueError: there is none; for a method of SciPy that cannot work here the message says why.
    """
    if name not in _OPTIMIZERS:
        why = f" ({name} {REFUSED[name]})" if name in REFUSED else ""
        raise ValueError(f"optimizer is {name!r}, expected one of {optimizer_names()}{why}")
    return _OPTIMIZERS[name]


for _method in METHODS:
    register_optimizer(_method.name, _method.minimise, needs=_method.needs)
register_optimizer("SPSA", minimise_spsa, needs="energy", stochastic=True)
