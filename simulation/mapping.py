"""From an electronic problem to qubits: the Hamiltonian as a sum of Pauli strings, by vectorised bit masks."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simulation.bits import bit, signs
from simulation.determinants import DeterminantSpace
from simulation.encoding import bravyi_kitaev, parity

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit.quantum_info import SparsePauliOp  # type: ignore[import-untyped]
    from scipy.sparse import csr_array

    from simulation.encoding import Encoding
    from simulation.problem import ElectronicProblem

_NEGLIGIBLE_HARTREE = 1e-12
_ROWS_AT_ONCE = 4096
_LETTERS = np.array(list("IXZY"))


@dataclass(frozen=True, eq=False)
class QubitHamiltonian:
    """A real sum of Pauli strings, ordered by (x, z).

    Args:
        x: Mask of the qubits on which the string has X or Y, int64, shape `(terms,)`.
        z: Mask of the qubits on which the string has Z or Y.
        coefficients: Real coefficients (Hartree) of the strings as written, Y counted as Y.
        num_qubits: Number of qubits.
    """

    x: NDArray[np.int64]
    z: NDArray[np.int64]
    coefficients: NDArray[np.float64]
    num_qubits: int

    def __len__(self) -> int:
        return len(self.coefficients)

    def digest(self) -> str:
        """SHA-256 of the operator, to the last bit: 64 hexadecimal digits."""
        parts = (self.x, self.z, self.coefficients)
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()

    def to_labels(self) -> list[str]:
        """The strings as text, highest qubit first, in the order of `coefficients`."""
        qubits = np.arange(self.num_qubits - 1, -1, -1)
        letters = (self.x[:, None] >> qubits & 1) + 2 * (self.z[:, None] >> qubits & 1)
        return ["".join(row) for row in _LETTERS[letters]]

    def to_sparse_pauli_op(self) -> SparsePauliOp:
        """The same operator for Qiskit."""
        from qiskit.quantum_info import SparsePauliOp

        return SparsePauliOp(self.to_labels(), self.coefficients)

    def csr(self, space: DeterminantSpace | None = None) -> csr_array:
        """The real sparse matrix (Hartree) on all 2^n basis states, or restricted to a space of determinants.

        Raises:
            ValueError: the operator is not real in this basis (a string with an odd number of Y).
        """
        from scipy.sparse import csr_array

        from simulation.pauli_kernels import fill_rows

        space = DeterminantSpace.full(self.num_qubits // 2) if space is None else space
        words, groups = space.words, self.groups
        buffer = min(len(words), _ROWS_AT_ONCE) * len(groups.x)
        columns, values = np.empty(buffer, dtype=np.int32), np.empty(buffer)
        ends, parts_columns, parts_values = [np.zeros(1, dtype=np.int64)], [], []
        for start in range(0, len(words), _ROWS_AT_ONCE):
            chunk = words[start : start + _ROWS_AT_ONCE]
            chunk_ends = np.empty(len(chunk), dtype=np.int64)
            written = fill_rows(
                chunk,
                *groups,
                space.alpha_rank,
                space.beta_rank,
                space.num_orbitals,
                len(space.alpha),
                chunk_ends,
                columns,
                values,
            )
            parts_columns.append(columns[:written].copy())
            parts_values.append(values[:written].copy())
            ends.append(ends[-1][-1] + chunk_ends)
        return csr_array(
            (np.concatenate(parts_values), np.concatenate(parts_columns), np.concatenate(ends)),
            shape=(len(words), len(words)),
        )

    def encoded(self, encoding: Encoding) -> QubitHamiltonian:
        """This Jordan-Wigner operator in another encoding.

        Raises:
            ValueError: a term does not conserve what the encoding leaves out.
        """
        x, z, signs = encoding.pauli(self.x, self.z)
        values = self.coefficients * _phases(self.x, self.z) * signs
        # The identity may be missing here and all other terms may cancel.
        return _collected(np.append(x, 0), np.append(z, 0), np.append(values, 0.0), encoding.num_qubits)

    @cached_property
    def groups(self) -> PauliGroups:
        """The terms grouped by x, as the compiled kernels take them.

        Raises:
            ValueError: a string has an odd number of Y.
        """
        y_count = np.bitwise_count(self.x & self.z)
        if (y_count & 1).any():
            label = self.to_labels()[int(np.flatnonzero(y_count & 1)[0])]
            raise ValueError(f"the string {label} has an odd number of Y: expected a real Hamiltonian")
        unique, first = np.unique(self.x, return_index=True)
        return PauliGroups(
            unique,
            np.append(first, len(self)).astype(np.int64),
            self.z,
            self.coefficients * _phases(self.x, self.z),
        )


class PauliGroups(NamedTuple):
    """The terms of a Hamiltonian grouped by their x mask; group g has the terms `first[g]` to `first[g + 1] - 1`."""

    x: NDArray[np.int64]
    first: NDArray[np.int64]
    z: NDArray[np.int64]
    coefficients: NDArray[np.float64]


class Mapper(ABC):
    """A fermion-to-qubit mapping."""

    name: str

    @abstractmethod
    def map(self, problem: ElectronicProblem) -> QubitHamiltonian:
        """The Hamiltonian of the problem on qubits, its constant as the identity (an empty one as 0 times it)."""


class JordanWignerMapper(Mapper):
    r"""Spin orbital p is qubit p, with the parity of those below it in a chain of Z.

    .. math:: a^\dagger_p = \tfrac12 (X_p - i Y_p) Z_{p-1} \cdots Z_0

    Alpha orbitals come first. The result equals qiskit-nature's `JordanWignerMapper`, coefficient by coefficient.
    """

    name = "jordan_wigner"

    def map(self, problem: ElectronicProblem) -> QubitHamiltonian:
        """The Hamiltonian of the problem; see `Mapper.map`."""
        n = problem.num_orbitals
        strings = _Strings()
        strings.add_constant(problem.constant)
        p, q = np.nonzero(np.abs(problem.h1) > _NEGLIGIBLE_HARTREE)
        for spin in (0, n):
            strings.add([p + spin], [q + spin], problem.h1[p, q])
        p, q, r, s = np.nonzero(np.abs(problem.h2) > _NEGLIGIBLE_HARTREE)
        # Terms come twice, as (pq|rs) and (rs|pq): one of them counts double. a+_p a+_p = 0 = a_q a_q of one spin.
        same = (p < r) & (s != q)
        i, j, k, m = (index[same] for index in (p, r, s, q))
        for spin in (0, n):
            strings.add([i + spin, j + spin], [k + spin, m + spin], problem.h2[i, m, j, k])
        strings.add([p, r + n], [s + n, q], problem.h2[p, q, r, s])
        return strings.collect(2 * n)


class ParityMapper(Mapper):
    """Qubit p is the parity of spin orbitals 0 to p; the two that N_alpha and N_beta fix are left out.

    The result equals qiskit-nature's `ParityMapper(num_particles)`, coefficient by coefficient; it describes these
    numbers of electrons (and others of the same parities) only.
    """

    name = "parity"

    def map(self, problem: ElectronicProblem) -> QubitHamiltonian:
        """The Hamiltonian of the problem; see `Mapper.map`."""
        return JordanWignerMapper().map(problem).encoded(parity(problem.num_orbitals, problem.num_particles))


class BravyiKitaevMapper(Mapper):
    """Qubits are parities of blocks of a binary tree: strings of length O(log n) instead of Jordan-Wigner's O(n).

    The result equals qiskit-nature's `BravyiKitaevMapper`, coefficient by coefficient.
    """

    name = "bravyi_kitaev"

    def map(self, problem: ElectronicProblem) -> QubitHamiltonian:
        """The Hamiltonian of the problem; see `Mapper.map`."""
        return JordanWignerMapper().map(problem).encoded(bravyi_kitaev(problem.num_orbitals))


class _Strings:
    """Products of ladder operators, expanded into strings X^x Z^z and summed."""

    def __init__(self) -> None:
        self._x: list[NDArray[np.int64]] = []
        self._z: list[NDArray[np.int64]] = []
        self._values: list[NDArray[np.float64]] = []

    def add_constant(self, value: float) -> None:
        self._append(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), np.array([value]))

    def add(self, creators: list[Any], annihilators: list[Any], values: NDArray[np.float64]) -> None:
        """Add sum_k values[k] a+_{creators[0][k]} a+_{creators[1][k]} ... a_{annihilators[0][k]} ...

        With Y = i X Z a ladder operator is X^b Z^(b-1) (1 +- Z^b) / 2, + for a creator: two strings an operator.
        """
        operators = [(indices, 1.0) for indices in creators] + [(indices, -1.0) for indices in annihilators]
        x, z = np.zeros(len(values), dtype=np.int64), np.zeros((1, len(values)), dtype=np.int64)
        factors = values[None, :] * 0.5 ** len(operators)
        for indices, sign in operators:
            flip = bit(indices)
            factors = factors * signs(z & flip)  # the Z gathered so far pass the new X
            x, z = x ^ flip, z ^ (flip - 1)
            z, factors = np.concatenate([z, z ^ flip]), np.concatenate([factors, sign * factors])
        self._append(np.broadcast_to(x, z.shape).ravel(), z.ravel(), factors.ravel())

    def collect(self, num_qubits: int) -> QubitHamiltonian:
        return _collected(np.concatenate(self._x), np.concatenate(self._z), np.concatenate(self._values), num_qubits)

    def _append(self, x: NDArray[np.int64], z: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        self._x.append(x)
        self._z.append(z)
        self._values.append(values)


def _collected(
    x: NDArray[np.int64], z: NDArray[np.int64], values: NDArray[np.float64], num_qubits: int
) -> QubitHamiltonian:
    """The sum of values X^x Z^z with equal strings added up and negligible ones left out."""
    order = np.lexsort((z, x))
    x, z, values = x[order], z[order], values[order]
    starts = np.flatnonzero(np.append(True, (np.diff(x) != 0) | (np.diff(z) != 0)))
    x, z, values = x[starts], z[starts], np.add.reduceat(values, starts)
    keep = np.abs(values) > _NEGLIGIBLE_HARTREE
    if not keep.any():
        keep[0] = True  # the identity sorts first and is always there: add_constant
    x, z, values = x[keep], z[keep], values[keep]
    return QubitHamiltonian(x, z, values * _phases(x, z), num_qubits)


def _phases(x: NDArray[np.int64], z: NDArray[np.int64]) -> NDArray[np.float64]:
    """P = X^x Z^z times this: i^(number of Y); odd numbers of Y cancel in a real Hermitian operator."""
    return 1.0 - (np.bitwise_count(x & z) & 2)


MAPPERS: dict[str, type[Mapper]] = {
    mapper.name: mapper for mapper in (JordanWignerMapper, ParityMapper, BravyiKitaevMapper)
}
"""Every mapper by its name in the options."""
