"""ADAPT-VQE: a trial state that grows by the operator that lowers the energy fastest, until none does.

Grimsley, Economou, Barnes and Mayhall, Nat. Commun. 10, 3007 (2019). After every operator all parameters are optimised
again, from the optimum before and zero for the new one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulation.ansatz import AdaptAnsatz
from simulation.optimizers import Limits, Optimizer
from simulation.solver import EvaluationCallback, EvaluationLimitReached, Observer, Solution, Solver, check_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.determinants import DeterminantSpace
    from simulation.engines.sector import SectorEngine
    from simulation.excitations import Excitation, Operator
    from simulation.record import VQEProcess

SMALLEST_GAIN = 1e-10
"""Decrease of the energy (Hartree) by a new operator below which growing on would go round in circles."""


@dataclass(frozen=True)
class AdaptSolution(Solution):
    """What an ADAPT run produced.

    Args:
        ansatz: The trial state it grew. Evaluations made before it was complete have zeros for the parameters of
            operators that came later, whose rotations are the identity there.
    """

    ansatz: AdaptAnsatz


class AdaptSolver(Solver):
    """Grows an ansatz on a sector engine and minimises its energy.

    Args:
        engine: A sector engine of any ansatz on the molecule's orbitals; the run replaces the ansatz.
        ansatz: Where growing starts, as a rule an `AdaptAnsatz` without operators.
        pool: The operators to choose from.
        optimizer: Optimises the parameters after every operator.
        gradient_threshold: Growing ends when no gradient of the pool is larger (Hartree per radian).
        max_evaluations: Hard cap on energy evaluations of the whole run, None for no cap.
        threshold: Convergence threshold on the energy (Hartree) of each optimisation.
        energy_scale: Magnitude of the energies (Hartree).
        seed: Of a stochastic optimiser.
        on_evaluation: Called with every observation as it is made, with the parameters that there are by then.

    Raises:
        ValueError: a limit is not positive, or a stochastic optimiser has no seed.
    """

    def __init__(
        self,
        engine: SectorEngine,
        ansatz: AdaptAnsatz,
        pool: Sequence[Operator],
        optimizer: Optimizer,
        *,
        gradient_threshold: float,
        max_evaluations: int | None = None,
        threshold: float | None = None,
        energy_scale: float = 1.0,
        seed: int | None = None,
        on_evaluation: EvaluationCallback | None = None,
    ) -> None:
        if not gradient_threshold > 0:
            raise ValueError(f"gradient_threshold is {gradient_threshold}, expected a positive number")
        check_limits(optimizer, max_evaluations, seed)
        self._engine = engine
        self._ansatz = ansatz
        self._pool = pool
        self._gradients = PoolGradients(pool, engine.space) if pool else None
        self._optimizer = optimizer
        self._gradient_threshold = gradient_threshold
        self._max_evaluations = max_evaluations
        self._threshold = threshold
        self._energy_scale = energy_scale
        self._seed = seed
        self._observer = Observer(engine, max_evaluations, on_evaluation)

    def solve(self) -> AdaptSolution:
        """Grow and optimise; can be called once.

        Raises:
            NonFiniteEnergyError: an energy is NaN or infinite.
        """
        began = time.perf_counter()
        observer = self._observer
        self._engine.use(self._ansatz)
        observer.energy(np.zeros(self._ansatz.num_parameters))
        try:
            success, message = self._grow()
        except EvaluationLimitReached:
            success, message = False, f"stopped at the cap of {observer.evaluations} energy evaluations"
        length = self._ansatz.num_parameters
        iterations = [_padded(process, length) for process in observer.iterations]
        assert observer.best is not None
        return AdaptSolution(
            iterations=iterations,
            best=iterations[observer.best.iteration - 1],
            success=success,
            message=f"{message}; {length} operators",
            steps=observer.steps,
            maxcv=None,
            seconds=time.perf_counter() - began,
            ansatz=self._ansatz,
        )

    def _grow(self) -> tuple[bool, str]:
        observer = self._observer
        if self._gradients is None:
            return True, "these electrons leave nothing to correlate"
        while True:
            assert observer.best is not None
            energy, optimum = observer.best.result, np.array(observer.best.parameters)
            optimum = np.append(optimum, np.zeros(self._ansatz.num_parameters - len(optimum)))
            state = self._engine.state(optimum)
            slopes = np.abs(self._gradients(state, self._engine.product(state)))
            steepest = int(np.argmax(slopes))
            if slopes[steepest] < self._gradient_threshold:
                return True, f"no gradient of the pool is above {slopes[steepest]:.1e} Hartree per radian"
            self._append(self._pool[steepest])
            outcome = self._optimizer.minimise(observer, np.append(optimum, 0.0), self._limits())
            if energy - observer.best.result < SMALLEST_GAIN:
                return False, (
                    f"an operator of gradient {slopes[steepest]:.1e} Hartree per radian no longer lowers the energy "
                    f"({self._optimizer.name}: {outcome.message})"
                )

    def _append(self, operator: Operator) -> None:
        old = self._ansatz
        self._ansatz = AdaptAnsatz(old.num_orbitals, old.num_particles, (*old.operators, operator), old.encoding)
        self._engine.use(self._ansatz)

    def _limits(self) -> Limits:
        left = None if self._max_evaluations is None else self._max_evaluations - self._observer.evaluations
        # A different stretch of random numbers for every growth, the same in every run.
        seed = None if self._seed is None else self._seed + self._ansatz.num_parameters
        return Limits(self._threshold, self._energy_scale, left, seed)


class PoolGradients:
    r"""Slopes :math:`2 \langle\psi| H \sum (T - T^\dagger) |\psi\rangle` of all operators of a pool at zero angle.

    Args:
        pool: Operators; the excitations of one share a parameter.
        space: The determinants that states are over.
    """

    def __init__(self, pool: Sequence[Operator], space: DeterminantSpace) -> None:
        parts = _StringParts(space)
        rows = [(index, *parts.of(excitation)) for index, operator in enumerate(pool) for excitation in operator]
        operators, alpha, beta, factors = zip(*rows, strict=True)
        self._size = len(pool)
        self._num_alpha = len(space.alpha)
        self._strings = parts.arrays()
        self._excitations = (
            np.array(alpha, dtype=np.int64),
            np.array(beta, dtype=np.int64),
            np.array(factors, dtype=np.float64),
            np.array(operators, dtype=np.int64),
        )

    def __call__(self, state: NDArray[np.float64], image: NDArray[np.float64]) -> NDArray[np.float64]:
        """The slopes (Hartree per radian), shape `(len(pool),)`.

        Args:
            state: CI vector.
            image: H times it.
        """
        from simulation.adapt_kernels import pool_slopes

        slopes = np.zeros(self._size)
        pool_slopes(state, image, self._num_alpha, *self._strings, *self._excitations, slopes)
        return slopes


class _StringParts:
    """The parts of excitations on the strings of one spin, each once: what they take where, and the signs."""

    def __init__(self, space: DeterminantSpace) -> None:
        self._space = space
        self._index: dict[tuple[int, Excitation], int] = {}
        self._tables: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]] = []

    def of(self, excitation: Excitation) -> tuple[int, int, float]:
        """Its alpha part, its beta part, and the sign of both together relative to the product of their signs."""
        n = self._space.num_orbitals
        alpha = self._part(0, _restricted(excitation, 0, n))
        beta = self._part(1, _restricted(excitation, 1, n))
        return alpha, beta, self._joint_sign(excitation, alpha, beta)

    def arrays(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64], NDArray[np.int64]]:
        """(excited, returned, sign, first) of all parts, one after the other."""
        excited, returned, sign = (np.concatenate(column) for column in zip(*self._tables, strict=True))
        return excited, returned, sign, np.cumsum([0, *(len(table[0]) for table in self._tables)], dtype=np.int64)

    def _part(self, spin: int, part: Excitation) -> int:
        if (spin, part) not in self._index:
            space = self._space
            strings, ranks = ((space.alpha, space.alpha_rank), (space.beta, space.beta_rank))[spin]
            excited, returned, sign = part.applied(strings)
            self._index[spin, part] = len(self._tables)
            self._tables.append((excited.astype(np.int32), ranks[returned], sign))
        return self._index[spin, part]

    def _joint_sign(self, excitation: Excitation, alpha: int, beta: int) -> float:
        (a, _, a_sign), (b, _, b_sign) = self._tables[alpha], self._tables[beta]
        if len(a) == 0 or len(b) == 0:
            return 0.0
        word = self._space.alpha[a[:1]] | self._space.beta[b[:1]] << self._space.num_orbitals
        _, _, sign = excitation.applied(word)
        return float(sign[0] * a_sign[0] * b_sign[0])


def _restricted(excitation: Excitation, spin: int, num_orbitals: int) -> Excitation:
    """The orbitals of one spin, counted from 0."""
    occupied, virtual = (
        tuple(p - spin * num_orbitals for p in side if p // num_orbitals == spin)
        for side in (excitation.occupied, excitation.virtual)
    )
    return type(excitation)(occupied, virtual)


def _padded(process: VQEProcess, length: int) -> VQEProcess:
    missing = length - len(process.parameters)
    return process.model_copy(update={"parameters": process.parameters + [0.0] * missing}) if missing else process
