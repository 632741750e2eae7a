"""Electron number and spin of a state: what tells whether a result is about the molecule asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulation.bits import bit, signs

_NEGLIGIBLE_AMPLITUDE = 1e-12


@dataclass(frozen=True)
class Observables:
    """Expectation values: electron number <N>, spin projection <S_z> and total spin <S^2> (hbar = 1)."""

    particle_number: float
    spin_z: float
    spin_squared: float


def measure(words: NDArray[np.int64], amplitudes: NDArray, num_orbitals: int) -> Observables:
    r"""Observables of a normalised state given as determinants and their amplitudes.

    .. math:: S^2 = S_- S_+ + S_z (S_z + 1), \qquad S_+ = \sum_p a^\dagger_{p\alpha} a_{p\beta}

    so <S^2> is the squared norm of S_+ psi plus a diagonal part.

    Args:
        words: Determinants, alpha orbitals in the low `num_orbitals` bits, shape `(d,)`.
        amplitudes: Real or complex, shape `(d,)`.
        num_orbitals: Spatial orbitals.
    """
    relevant = np.abs(amplitudes) > _NEGLIGIBLE_AMPLITUDE
    words, amplitudes = words[relevant], amplitudes[relevant]
    weights = np.abs(amplitudes) ** 2
    alpha = np.bitwise_count(words & ((1 << num_orbitals) - 1)).astype(np.float64)
    beta = np.bitwise_count(words >> num_orbitals).astype(np.float64)
    spin_z = (alpha - beta) / 2
    raised = _raised_norm(words, amplitudes, num_orbitals)
    return Observables(
        particle_number=float(np.sum(weights * (alpha + beta))),
        spin_z=float(np.sum(weights * spin_z)),
        spin_squared=float(raised + np.sum(weights * spin_z * (spin_z + 1))),
    )


def _raised_norm(words: NDArray[np.int64], amplitudes: NDArray, num_orbitals: int) -> float:
    """Squared norm of S_+ psi."""
    targets, values = [], []
    for orbital in range(num_orbitals):
        up, down = bit(orbital), bit(orbital + num_orbitals)
        flippable = (words & (up | down)) == down
        source = words[flippable]
        lowered = source ^ down
        targets.append(lowered ^ up)
        values.append(amplitudes[flippable] * signs(source & (down - 1)) * signs(lowered & (up - 1)))
    unique, inverse = np.unique(np.concatenate(targets), return_inverse=True)
    total = np.zeros(len(unique), dtype=amplitudes.dtype)
    np.add.at(total, inverse, np.concatenate(values))
    return float(np.sum(np.abs(total) ** 2))
