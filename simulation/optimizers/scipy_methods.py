r"""SciPy's methods: how each is called, when it stops, and what a threshold on the energy means to it.

Every gradient is the engine's exact one, never a difference of energies. Second derivatives, where a method wants them,
are differences of exact gradients.

A threshold :math:`\epsilon` (Hartree) becomes each method's own criterion:

- L-BFGS-B, SLSQP, TNC, Powell, Nelder-Mead compare energies: a step (for Nelder-Mead the simplex) that changes the
  energy by no more than :math:`\epsilon`. L-BFGS-B and Powell take it relative to the energy's magnitude.
- BFGS, CG, Newton-CG and the trust-region methods know the gradient only, so the step is watched here, the same rule.
- COBYLA and COBYQA end at a radius :math:`\rho` (radian). With a curvature of 2 Hartree per square radian, typical of
  excitation amplitudes, n parameters that far from the minimum cost :math:`n\rho^2`: :math:`\rho = \sqrt{\epsilon/n}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from simulation.optimizers.base import Limits, Needs, Objective, Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FromThreshold = Callable[[Limits, int], Mapping[str, float]]

_UNLIMITED = 1_000_000_000

FIRST_STEP = 0.1
"""First trust region of COBYQA and first simplex of Nelder-Mead (radian): the size of the larger amplitudes."""

COBYLA_FIRST_STEP = 0.2

LAST_STEP = 1e-4
"""Last trust region of COBYLA and COBYQA (radian); the energy's error goes with its square."""

CURVATURE_STEP = 1e-5
"""Distance (radian) over which gradients are differenced, on both sides: errors near 1e-10 of exact gradients."""


@dataclass(frozen=True)
class ScipyMethod:
    """One of SciPy's methods.

    Args:
        name: SciPy's, and that of the options.
        needs: What it asks of the objective.
        tight: Its options when no threshold is given.
        from_threshold: Those that a threshold replaces, None for a method whose steps are watched instead.
        evaluation_limits: Its own limits, by name: None is lifted for good, a number holds where no cap is given; a run
            that meets it ends without success. Methods without gradients need one: with many parameters they are the
            wrong choice and would go on for days.
        hessian: Second derivatives that it takes: products with a vector, or the whole matrix.
        simplex: Whether it starts from a simplex.
    """

    name: str
    needs: Needs
    tight: Mapping[str, Any]
    from_threshold: FromThreshold | None = None
    evaluation_limits: Mapping[str, int | None] = field(default_factory=lambda: {"maxiter": None})
    hessian: str | None = None
    simplex: bool = False

    def minimise(self, objective: Objective, start: NDArray[np.float64], limits: Limits) -> Outcome:
        """Minimise; see `base.Minimiser`.

        SciPy's linear algebra runs on one thread: on more the sums are split, and another number of cores would lead
        to another path and, from a stationary point, to another end.
        """
        from scipy.optimize import minimize
        from threadpoolctl import threadpool_limits

        arguments: dict[str, Any] = {}
        if self.needs == "energy":
            function: Callable[..., Any] = objective.energy
        else:
            function, arguments["jac"] = objective.energy_and_gradient, True
        if self.hessian == "product":
            arguments["hessp"] = lambda x, direction: _hessian_product(objective, x, direction)
        elif self.hessian == "matrix":
            arguments["hess"] = lambda x: _hessian(objective, x)
        watched = limits.threshold is not None and self.from_threshold is None
        watch = _Watch(objective, limits.threshold if watched else None)
        with threadpool_limits(1, user_api="blas"):
            result = minimize(
                function,
                start,
                method=self.name,
                options=self.options(start, limits),
                callback=watch.watched_step if watched else watch.step,
                **arguments,
            )
        if watch.converged:
            return Outcome(True, f"a step lowered the energy by no more than {limits.threshold} Hartree")
        maxcv = result.get("maxcv")
        return Outcome(bool(result.success), str(result.message), None if maxcv is None else float(maxcv))

    def options(self, start: NDArray[np.float64], limits: Limits) -> dict[str, Any]:
        """SciPy's options for these limits."""
        options: dict[str, Any] = dict(self.tight)
        for name, limit in self.evaluation_limits.items():
            options[name] = _UNLIMITED if limit is None or limits.max_evaluations is not None else limit
        if limits.threshold is not None and self.from_threshold is not None:
            options |= self.from_threshold(limits, len(start))
        if self.simplex:
            options["initial_simplex"] = np.vstack([start, start + FIRST_STEP * np.eye(len(start))])
        return options


class _Watch:
    """Counts steps, and stops methods that have no criterion on the energy."""

    def __init__(self, objective: Objective, threshold: float | None) -> None:
        self._objective = objective
        self._threshold = threshold
        self._last: tuple[NDArray[np.float64], float] | None = None
        self.converged = False

    def step(self, *_: Any) -> None:
        self._objective.step_done()

    def watched_step(self, intermediate_result: Any) -> None:  # SciPy goes by the argument's name
        self._objective.step_done()
        assert self._threshold is not None
        x, energy = intermediate_result.x, float(intermediate_result.fun)
        last, self._last = self._last, (np.array(x), energy)
        # A trust region that rejected its step reports the old point again, which says nothing about convergence.
        if last is not None and not np.array_equal(last[0], x) and last[1] - energy <= self._threshold:
            self.converged = True
            raise StopIteration


def _hessian_product(
    objective: Objective, parameters: NDArray[np.float64], direction: NDArray[np.float64]
) -> NDArray[np.float64]:
    length = float(np.linalg.norm(direction))
    if length == 0.0:
        return np.zeros_like(parameters)
    step = (CURVATURE_STEP / length) * direction
    difference = objective.gradient_probe(parameters + step) - objective.gradient_probe(parameters - step)
    return difference * (length / (2 * CURVATURE_STEP))


def _hessian(objective: Objective, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    columns = [_hessian_product(objective, parameters, unit) for unit in np.eye(len(parameters))]
    matrix = np.array(columns)
    return (matrix + matrix.T) / 2


def _relative(name: str) -> FromThreshold:
    return lambda limits, _: {name: (limits.threshold or 0.0) / max(limits.energy_scale, 1.0)}


def _absolute(name: str) -> FromThreshold:
    return lambda limits, _: {name: limits.threshold or 0.0}


def _radius(name: str, first: float) -> FromThreshold:
    def options(limits: Limits, num_parameters: int) -> Mapping[str, float]:
        return {name: min(math.sqrt((limits.threshold or 0.0) / num_parameters), first / 2)}

    return options


def _lbfgsb(limits: Limits, _: int) -> Mapping[str, float]:
    # A gradient below the threshold leaves far less energy than the threshold: never the looser of the two criteria.
    return {**_relative("ftol")(limits, _), "gtol": limits.threshold or 0.0}


METHODS = (
    ScipyMethod(
        "L-BFGS-B",
        "gradient",
        {"ftol": 1e-12, "gtol": 1e-6},
        _lbfgsb,
        evaluation_limits={"maxiter": None, "maxfun": None},
    ),
    ScipyMethod(
        "COBYLA",
        "energy",
        {"rhobeg": COBYLA_FIRST_STEP, "tol": LAST_STEP},
        _radius("tol", COBYLA_FIRST_STEP),
        evaluation_limits={"maxiter": 5000},
    ),
    ScipyMethod("SLSQP", "gradient", {"ftol": 1e-11}, _absolute("ftol")),
    ScipyMethod(
        "Nelder-Mead",
        "energy",
        {"fatol": 1e-8, "xatol": 1e-3, "adaptive": True},
        _absolute("fatol"),
        evaluation_limits={"maxiter": None, "maxfev": 5000},
        simplex=True,
    ),
    ScipyMethod(
        "Powell",
        "energy",
        {"ftol": 1e-9, "xtol": 1e-4},
        _relative("ftol"),
        evaluation_limits={"maxiter": None, "maxfev": 10_000},
    ),
    ScipyMethod("BFGS", "gradient", {"gtol": 1e-5}),
    ScipyMethod("CG", "gradient", {"gtol": 1e-5}),
    ScipyMethod(
        "TNC", "gradient", {"ftol": 1e-11, "gtol": 1e-6}, _absolute("ftol"), evaluation_limits={"maxfun": None}
    ),
    ScipyMethod(
        "COBYQA",
        "energy",
        {"initial_tr_radius": FIRST_STEP, "final_tr_radius": LAST_STEP},
        _radius("final_tr_radius", FIRST_STEP),
        evaluation_limits={"maxiter": None, "maxfev": 5000},
    ),
    ScipyMethod("Newton-CG", "curvature", {"xtol": 1e-7}, hessian="product"),
    ScipyMethod("trust-constr", "curvature", {"gtol": 1e-5, "xtol": 1e-8}, hessian="product"),
    ScipyMethod("trust-ncg", "curvature", {"gtol": 1e-5}, hessian="product"),
    ScipyMethod("trust-krylov", "curvature", {"gtol": 1e-5}, hessian="product"),
    ScipyMethod("trust-exact", "curvature", {"gtol": 1e-5}, hessian="matrix"),
)
"""What is offered, with the tolerances it stops at; gradients are in Hartree per radian.

A gradient of 1e-5 leaves about 1e-10 Hartree; below that the line searches of BFGS and CG drown in rounding."""

REFUSED = {
    "dogleg": "needs a positive definite Hessian, which the energy has near its minimum only: use trust-exact",
    "custom": "is a callable: give it a name with register_optimizer",
}
"""Names of SciPy's that are not offered, and why."""
