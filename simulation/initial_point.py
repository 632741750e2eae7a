"""Where an optimisation starts: the Hartree-Fock state, all zeros, or a seeded random point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.ansatz import Ansatz

STRATEGIES = ("hf", "zeros", "random")


def initial_point(strategy: str, ansatz: Ansatz, seed: int | None = None) -> NDArray[np.float64]:
    """Initial parameters (radian), shape `(num_parameters,)`.

    Args:
        strategy: `hf` (exactly the Hartree-Fock state), `zeros`, or `random` (uniform in [0, 2 pi)).
        ansatz: What the parameters are of.
        seed: Seed of NumPy's default generator; needed for `random`.

    Raises:
        ValueError: unknown strategy, or `random` without a seed (it could not be repeated).
    """
    if strategy == "hf":
        return ansatz.hartree_fock_parameters()
    if strategy == "zeros":
        return np.zeros(ansatz.num_parameters)
    if strategy == "random":
        if seed is None:
            raise ValueError("init strategy 'random' without a seed cannot be repeated: give a seed")
        return np.random.default_rng(seed).uniform(0.0, 2.0 * np.pi, ansatz.num_parameters)
    raise ValueError(f"init strategy is {strategy!r}, expected one of {STRATEGIES}")
