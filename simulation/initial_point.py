"""Where an optimisation starts: one function a strategy, never another strategy than the one asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from simulation.compatibility import SEEDED_START

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.ansatz import Ansatz
    from simulation.problem import ElectronicProblem

STRATEGIES = ("hf", "zeros", "random", "mp2", "previous")

DISPLACEMENT = 1e-3
"""Largest displacement (radian) of a parameter from the Hartree-Fock point of a circuit that is stationary there.

Small enough that the energy stays within 1 mHa although emptying a core orbital costs 20 Hartree, large enough that its
gradient is far above any optimiser's tolerance."""


def initial_point(
    strategy: str,
    ansatz: Ansatz,
    *,
    seed: int | None = None,
    problem: ElectronicProblem | None = None,
    previous: Sequence[float] | None = None,
) -> NDArray[np.float64]:
    """Initial parameters (radian), shape `(num_parameters,)`.

    Args:
        strategy: `hf`: exactly the Hartree-Fock state for UCCSD and ADAPT; for ansaetze that are stationary or too
            symmetric there (`SEEDED_START`), with a seeded displacement of at most `DISPLACEMENT` in each parameter.
            `zeros`: all zero. `random`: uniform in [0, 2 pi). `mp2`: amplitudes of second-order perturbation theory.
            `previous`: the parameters given.
        ansatz: What the parameters are of.
        seed: Seed of NumPy's default generator; needed for `random` and for a displacement.
        problem: The molecule's integrals; needed for `mp2`.
        previous: Parameters of another optimum; needed for `previous`.

    Raises:
        ValueError: unknown strategy, what it needs is not given, the ansatz has no amplitudes for `mp2`, or `previous`
            has another length than the ansatz.
    """
    if strategy == "hf":
        return _hartree_fock(ansatz, seed)
    if strategy == "zeros":
        return np.zeros(ansatz.num_parameters)
    if strategy == "random":
        return _generator("random", seed).uniform(0.0, 2.0 * np.pi, ansatz.num_parameters)
    if strategy == "mp2":
        return _mp2(ansatz, problem)
    if strategy == "previous":
        return _previous(ansatz, previous)
    raise ValueError(f"init strategy is {strategy!r}, expected one of {STRATEGIES}")


def _hartree_fock(ansatz: Ansatz, seed: int | None) -> NDArray[np.float64]:
    parameters = ansatz.hartree_fock_parameters()
    if ansatz.name not in SEEDED_START:
        return parameters
    return parameters + _generator("hf", seed).uniform(-DISPLACEMENT, DISPLACEMENT, len(parameters))


def _mp2(ansatz: Ansatz, problem: ElectronicProblem | None) -> NDArray[np.float64]:
    """Each repetition gets an equal part of an excitation's amplitude."""
    from simulation.ansatz import ExcitationAnsatz
    from simulation.mp2 import MP2Amplitudes

    if not isinstance(ansatz, ExcitationAnsatz):
        raise ValueError(
            f"init strategy 'mp2' gives excitation amplitudes, which {ansatz.name} does not have: use 'hf'"
        )
    if problem is None:
        raise ValueError("init strategy 'mp2' needs the molecule's integrals: give the problem")
    amplitudes = MP2Amplitudes(problem)
    angles = np.array([amplitudes.amplitude(excitation) for excitation in ansatz.excitations])
    indices = np.array(ansatz.parameter_indices, dtype=np.int64)
    shares = np.bincount(indices, minlength=ansatz.num_parameters)
    totals = np.bincount(indices, weights=angles, minlength=ansatz.num_parameters)
    return totals / np.maximum(shares, 1) / ansatz.reps


def _previous(ansatz: Ansatz, previous: Sequence[float] | None) -> NDArray[np.float64]:
    if previous is None:
        raise ValueError("init strategy 'previous' needs the parameters of another optimum: give them")
    parameters = np.array(previous, dtype=np.float64)
    if parameters.shape != (ansatz.num_parameters,):
        raise ValueError(
            f"the previous optimum has {parameters.size} parameters, {ansatz.name} here has {ansatz.num_parameters}: "
            "start from a run with the same ansatz and orbitals"
        )
    if not np.isfinite(parameters).all():
        raise ValueError("the previous optimum holds a parameter that is not a finite number")
    return parameters


def _generator(strategy: str, seed: int | None) -> np.random.Generator:
    if seed is None:
        raise ValueError(f"init strategy {strategy!r} without a seed cannot be repeated: give a seed")
    return np.random.default_rng(seed)
