r"""Linear fermion-to-qubit encodings: how determinants and Pauli masks look on the qubits of a mapping.

An encoding is an invertible matrix A over GF(2) that takes the occupation of spin orbitals (the Jordan-Wigner basis,
alpha orbitals first) to the values of qubits, :math:`|n\rangle \to |A n \bmod 2\rangle`. A string of Pauli matrices
written as :math:`X^x Z^z` becomes :math:`X^{A x} Z^{A^{-T} z}` with no change of sign, so Hamiltonians, excitations and
states of every such mapping follow from Jordan-Wigner's (Seeley, Richard and Love, J. Chem. Phys. 137, 224109 (2012)).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class OrbitalStrings(NamedTuple):
    """X and Z of one spin orbital on the qubits.

    Args:
        flips: Mask of the qubits that X_p flips, fixed ones left out.
        phases: Mask of the qubits whose parity is the occupation; bit `num_qubits` is set where fixed qubits invert it.
    """

    flips: int
    phases: int


@dataclass(frozen=True)
class Encoding:
    """A linear encoding of 2n spin orbitals, perhaps without qubits whose value symmetry fixes.

    Args:
        name: Of the mapping, as in the options.
        num_orbitals: Spatial orbitals n.
        columns: For each spin orbital p, the mask of the qubits that its occupation flips: column p of A.
        fixed: Qubits that are left out, in increasing order, with the value each has in the sector.
    """

    name: str
    num_orbitals: int
    columns: tuple[int, ...]
    fixed: tuple[tuple[int, int], ...] = field(default=())

    @property
    def num_qubits(self) -> int:
        """Qubits that remain."""
        return 2 * self.num_orbitals - len(self.fixed)

    def encode(self, words: NDArray[np.int64]) -> NDArray[np.int64]:
        """Determinants (words of 2n bits, alpha first) as qubit values, shape as given."""
        return self._without_fixed(_product(self.columns, words))

    def decode(self, words: NDArray[np.int64]) -> NDArray[np.int64]:
        """Qubit values as determinants: the inverse of `encode`."""
        return _product(self._inverse_columns, self._with_fixed(words))

    def pauli(
        self, x: NDArray[np.int64], z: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Jordan-Wigner strings X^x Z^z on the qubits: the new (x, z), and the sign that fixed qubits leave.

        Raises:
            ValueError: a string flips a fixed qubit, so it does not conserve what fixes it.
        """
        flips = _product(self.columns, x)
        phases = _product(self._dual_columns, z)
        sign = np.ones(len(flips))
        for qubit, value in self.fixed:
            if ((flips >> qubit) & 1).any():
                raise ValueError(f"a string flips qubit {qubit}, which the {self.name} encoding holds fixed")
            if value:
                sign *= 1.0 - 2.0 * ((phases >> qubit) & 1)
        return self._without_fixed(flips), self._without_fixed(phases), sign

    @cached_property
    def orbital_strings(self) -> tuple[OrbitalStrings, ...]:
        """X_p and Z_p of each spin orbital p on the qubits, as integers; those of products are their exclusive or."""
        orbitals = 1 << np.arange(2 * self.num_orbitals, dtype=np.int64)
        flips = self._without_fixed(np.array(self.columns, dtype=np.int64))
        _, phases, signs = self.pauli(np.zeros_like(orbitals), orbitals)
        odd = np.where(signs < 0, np.int64(1) << self.num_qubits, 0)
        return tuple(map(OrbitalStrings, flips.tolist(), (phases | odd).tolist()))

    @cached_property
    def _inverse_columns(self) -> tuple[int, ...]:
        return _inverse(self.columns)

    @cached_property
    def _dual_columns(self) -> tuple[int, ...]:
        """Columns of the transposed inverse."""
        inverse = self._inverse_columns
        size = len(inverse)
        return tuple(sum((inverse[q] >> p & 1) << q for q in range(size)) for p in range(size))

    def _without_fixed(self, words: NDArray[np.int64]) -> NDArray[np.int64]:
        for qubit, _ in reversed(self.fixed):
            low = words & ((1 << qubit) - 1)
            words = low | (words >> (qubit + 1) << qubit)
        return words

    def _with_fixed(self, words: NDArray[np.int64]) -> NDArray[np.int64]:
        for qubit, value in self.fixed:
            low = words & ((1 << qubit) - 1)
            words = low | (words >> qubit << (qubit + 1)) | (value << qubit)
        return words


def jordan_wigner(num_orbitals: int) -> Encoding:
    """Qubit p is the occupation of spin orbital p."""
    return Encoding("jordan_wigner", num_orbitals, tuple(1 << p for p in range(2 * num_orbitals)))


def parity(num_orbitals: int, num_particles: tuple[int, int]) -> Encoding:
    """Qubit p is the parity of spin orbitals 0 to p, without the two that N_alpha and N_alpha + N_beta fix.

    A single orbital keeps its two qubits, or nothing would remain. Bravyi, Gambetta, Mezzacapo and Temme,
    arXiv:1701.08213.
    """
    size = 2 * num_orbitals
    alpha, beta = num_particles
    fixed = ((num_orbitals - 1, alpha & 1), (size - 1, (alpha + beta) & 1)) if num_orbitals > 1 else ()
    return Encoding("parity", num_orbitals, tuple((1 << size) - (1 << p) for p in range(size)), fixed)


def bravyi_kitaev(num_orbitals: int) -> Encoding:
    """Qubits hold parities of the blocks of a binary (Fenwick) tree; Seeley, Richard and Love (2012), section III."""
    size = 2 * num_orbitals
    length = 1 << (size - 1).bit_length()
    return Encoding(
        "bravyi_kitaev", num_orbitals, tuple(_tree_column(p, length) & ((1 << size) - 1) for p in range(size))
    )


def encoding(mapper: str, num_orbitals: int, num_particles: tuple[int, int]) -> Encoding:
    """The encoding of a mapper by its name in the options.

    Raises:
        ValueError: there is no such mapper.
    """
    if mapper == "jordan_wigner":
        return jordan_wigner(num_orbitals)
    if mapper == "parity":
        return parity(num_orbitals, num_particles)
    if mapper == "bravyi_kitaev":
        return bravyi_kitaev(num_orbitals)
    raise ValueError(f"mapper is {mapper!r}, expected 'jordan_wigner', 'parity' or 'bravyi_kitaev'")


def _tree_column(orbital: int, length: int) -> int:
    """The nodes on the way from a leaf to the root: node q sums the orbitals from q - lowbit(q + 1) + 1 to q."""
    mask, node = 0, orbital + 1
    while node <= length:
        mask |= 1 << (node - 1)
        node += node & -node
    return mask


def _product(columns: tuple[int, ...], words: NDArray[np.int64]) -> NDArray[np.int64]:
    """A w over GF(2) for every word w."""
    words = np.asarray(words, dtype=np.int64)
    result = np.zeros_like(words)
    for p, column in enumerate(columns):
        result ^= np.where((words >> p) & 1, np.int64(column), np.int64(0))
    return result


def _inverse(columns: tuple[int, ...]) -> tuple[int, ...]:
    """Columns of the inverse, by elimination."""
    size = len(columns)
    rows = [(column, 1 << p) for p, column in enumerate(columns)]
    for bit in range(size):
        pivot = next(i for i in range(bit, size) if rows[i][0] >> bit & 1)
        rows[bit], rows[pivot] = rows[pivot], rows[bit]
        for i in range(size):
            if i != bit and rows[i][0] >> bit & 1:
                rows[i] = (rows[i][0] ^ rows[bit][0], rows[i][1] ^ rows[bit][1])
    return tuple(combination for _, combination in rows)
