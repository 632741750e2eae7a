"""The determinants that states are written in: those of fixed (N_alpha, N_beta), or all of them.

A determinant is a word of 2n bits, alpha orbitals in bits 0 to n - 1 and beta in n to 2n - 1, as the qubits of the
Jordan-Wigner mapping.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class DeterminantSpace:
    """A product of alpha and beta occupation strings; the alpha string runs fastest.

    Args:
        num_orbitals: Spatial orbitals n.
        alpha: Alpha strings in increasing order, shape `(num_alpha,)`.
        beta: Beta strings likewise.
        alpha_rank: Position of each of the 2^n strings among `alpha`, -1 for those that are not there, shape `(2^n,)`.
        beta_rank: The same for `beta`.
    """

    num_orbitals: int
    alpha: NDArray[np.int64]
    beta: NDArray[np.int64]
    alpha_rank: NDArray[np.int32]
    beta_rank: NDArray[np.int32]

    @classmethod
    def sector(cls, num_orbitals: int, num_particles: tuple[int, int]) -> DeterminantSpace:
        """All determinants with N_alpha alpha and N_beta beta electrons."""
        strings = np.arange(1 << num_orbitals, dtype=np.int64)
        occupied = np.bitwise_count(strings)
        alpha, beta = (strings[occupied == count] for count in num_particles)
        return cls(num_orbitals, alpha, beta, _ranks(alpha, num_orbitals), _ranks(beta, num_orbitals))

    @classmethod
    def full(cls, num_orbitals: int) -> DeterminantSpace:
        """All 4^n determinants; a state vector of 2n qubits in the usual order."""
        strings = np.arange(1 << num_orbitals, dtype=np.int64)
        ranks = strings.astype(np.int32)
        return cls(num_orbitals, strings, strings, ranks, ranks)

    def __len__(self) -> int:
        return len(self.alpha) * len(self.beta)

    @property
    def words(self) -> NDArray[np.int64]:
        """The determinants, shape `(len(self),)`."""
        return (self.alpha[None, :] | (self.beta[:, None] << self.num_orbitals)).ravel()

    def positions(self, words: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where each of these determinants stands in the space; all of them must be in it."""
        low = words & ((1 << self.num_orbitals) - 1)
        return self.alpha_rank[low] + len(self.alpha) * self.beta_rank[words >> self.num_orbitals].astype(np.int64)


def hartree_fock_word(num_orbitals: int, num_particles: tuple[int, int]) -> int:
    """The determinant with the lowest orbitals occupied."""
    alpha, beta = ((1 << count) - 1 for count in num_particles)
    return alpha | beta << num_orbitals


def _ranks(strings: NDArray[np.int64], num_orbitals: int) -> NDArray[np.int32]:
    ranks = np.full(1 << num_orbitals, -1, dtype=np.int32)
    ranks[strings] = np.arange(len(strings), dtype=np.int32)
    return ranks
