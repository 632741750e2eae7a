"""The sector engine: excitation ansaetze on the real CI vector of fixed (N_alpha, N_beta), exact gradients.

An excitation rotation is a Givens rotation of pairs of determinants, so a state of 20 qubits with 14 electrons is
14,400 real numbers instead of a million complex ones. The gradient comes from one reverse pass (adjoint
differentiation; Jones and Gacon, arXiv:2009.02823) and costs about as much as two energies.
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulation.ansatz import ExcitationAnsatz
from simulation.determinants import DeterminantSpace, hartree_fock_word
from simulation.engines.base import Engine, EngineError, Evaluation
from simulation.observables import Observables, measure
from simulation.reference import num_determinants

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from simulation.ansatz import Ansatz
    from simulation.excitations import Excitation
    from simulation.mapping import QubitHamiltonian

MAX_MATRIX_ELEMENTS = 150_000_000
"""Largest Hamiltonian that is stored (12 bytes an element: 1.8 GB)."""


def matrix_elements(num_orbitals: int, num_particles: tuple[int, int]) -> int:
    """Upper bound of the elements that couple determinants of the sector: at most two electrons move."""
    singles, pairs = [], []
    for count in num_particles:
        singles.append(count * (num_orbitals - count))
        pairs.append(comb(count, 2) * comb(num_orbitals - count, 2))
    row = 1 + sum(singles) + sum(pairs) + singles[0] * singles[1]
    return row * num_determinants(num_orbitals, num_particles)


def check_fits(num_orbitals: int, num_particles: tuple[int, int]) -> None:
    """Refuse a sector whose Hamiltonian would not fit.

    Raises:
        EngineError: more than `MAX_MATRIX_ELEMENTS`.
    """
    elements = matrix_elements(num_orbitals, num_particles)
    if elements > MAX_MATRIX_ELEMENTS:
        raise EngineError(
            f"{num_particles} electrons in {num_orbitals} orbitals couple {elements:,} pairs of determinants, "
            f"at most {MAX_MATRIX_ELEMENTS:,} fit: use frozen_core or a smaller active_space"
        )


class SectorEngine(Engine):
    """Energies and gradients of an excitation ansatz, exact to rounding.

    Args:
        ansatz: An `ExcitationAnsatz` (the UCC family).
        hamiltonian: Jordan-Wigner Hamiltonian on the same orbitals.

    Raises:
        EngineError: the ansatz is of another kind, or the Hamiltonian of the sector does not fit.
    """

    name = "sector"
    gradient_method = "adjoint"

    def __init__(self, ansatz: Ansatz, hamiltonian: QubitHamiltonian) -> None:
        if not isinstance(ansatz, ExcitationAnsatz):
            raise EngineError(f"the sector engine runs the UCC family, not {ansatz.name}: use the aer engine")
        check_fits(ansatz.num_orbitals, ansatz.num_particles)
        super().__init__(ansatz.num_parameters)
        self._space = DeterminantSpace.sector(ansatz.num_orbitals, ansatz.num_particles)
        self._matrix = _SymmetricMatrix.upper_triangle(hamiltonian.csr(self._space))
        self._rotations = _rotations(ansatz, self._space)

    def state(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """The CI vector, shape `(number of determinants,)`."""
        from simulation.engines.sector_kernels import prepare

        self._check_shape(parameters)
        space = self._space
        state, alpha, beta = (np.empty(size) for size in (len(space), len(space.alpha), len(space.beta)))
        prepare(np.asarray(parameters, dtype=np.float64), *self._rotations, alpha, beta, state)
        return state

    @property
    def space(self) -> DeterminantSpace:
        """The determinants that CI vectors are over."""
        return self._space

    def product(self, state: NDArray[np.float64]) -> NDArray[np.float64]:
        """H (Hartree) times a CI vector, shape `(len(space),)`."""
        from simulation.engines.sector_kernels import multiply

        image = np.empty_like(state)
        multiply(*self._matrix, state, image)
        return image

    def use(self, ansatz: ExcitationAnsatz) -> None:
        """Go on with another ansatz on the same orbitals and electrons; the Hamiltonian and the counts stay."""
        self.num_parameters = ansatz.num_parameters
        self._rotations = _rotations(ansatz, self._space)

    def _observables(self, parameters: NDArray[np.float64]) -> Observables:
        """<N>, <S_z> and <S^2>; the first two are exact by construction."""
        return measure(self._space.words, self.state(parameters), self._space.num_orbitals)

    def _energy(self, parameters: NDArray[np.float64]) -> Evaluation:
        from simulation.engines.sector_kernels import moments

        state = self.state(parameters)
        energy, square = moments(state, self.product(state))
        return Evaluation(energy, variance=max(square - energy**2, 0.0))

    def _energy_and_gradient(self, parameters: NDArray[np.float64]) -> Evaluation:
        from simulation.engines.sector_kernels import differentiate

        parameters = np.asarray(parameters, dtype=np.float64)
        gradient = np.zeros(self.num_parameters)
        energy, square = differentiate(parameters, *self._rotations, len(self._space.alpha), *self._matrix, gradient)
        return Evaluation(energy, gradient, max(square - energy**2, 0.0))


class _SymmetricMatrix(NamedTuple):
    """A real symmetric matrix as the compiled kernels take it: its diagonal, and above it the elements row by row."""

    diagonal: NDArray[np.float64]
    first: NDArray[np.uint64]
    columns: NDArray[np.uint32]
    values: NDArray[np.float64]

    @classmethod
    def upper_triangle(cls, matrix: csr_array) -> _SymmetricMatrix:
        """The upper triangle of a symmetric matrix, whose own arrays are used up."""
        from simulation.engines.sector_kernels import keep_upper_triangle

        size = matrix.shape[0]
        diagonal, first = np.empty(size), np.empty(size + 1, dtype=np.uint64)
        ends = matrix.indptr.astype(np.int64)
        columns = matrix.indices.astype(np.int32, copy=False)
        kept = keep_upper_triangle(ends, columns, matrix.data, diagonal, first)
        return cls(diagonal, first, columns[:kept].astype(np.uint32), matrix.data[:kept].copy())


class _Rotations(NamedTuple):
    """The rotations as the compiled kernels take them; `sector_kernels.prepare` says what each array is."""

    parameter_of: NDArray[np.int64]
    lower: NDArray[np.uint32]
    upper: NDArray[np.uint32]
    first: NDArray[np.uint64]
    counts: NDArray[np.int64]
    start: NDArray[np.int64]


def _rotations(ansatz: ExcitationAnsatz, space: DeterminantSpace) -> _Rotations:
    """Every rotation of the ansatz as pairs: leading ones of one spin on its strings, the others on determinants."""
    n = space.num_orbitals
    steps = list(zip(ansatz.excitations, ansatz.parameter_indices, strict=True))
    spins = [_spin(excitation, n) for excitation, _ in steps]
    leading = spins.index(None) if None in spins else len(steps)
    alpha, beta = ([step for step, s in zip(steps[:leading], spins, strict=False) if s == spin] for spin in (0, 1))
    words, beta_words = space.words, space.beta << n
    strings = [
        *(_pairs(excitation, space.alpha, lambda moved: space.alpha_rank[moved]) for excitation, _ in alpha),
        *(_pairs(excitation, beta_words, lambda moved: space.beta_rank[moved >> n]) for excitation, _ in beta),
    ]
    pairs = [*strings, *(_pairs(excitation, words, space.positions) for excitation, _ in steps[leading:])]
    lower, upper = (np.concatenate([np.zeros(0, dtype=np.uint32), *(pair[side] for pair in pairs)]) for side in (0, 1))
    occupied = hartree_fock_word(n, ansatz.num_particles)
    return _Rotations(
        np.array([parameter for _, parameter in (*alpha, *beta, *steps[leading:])], dtype=np.int64),
        lower,
        upper,
        np.cumsum([0, *(len(pair[0]) for pair in pairs)], dtype=np.uint64),
        np.array([len(alpha), len(beta)]),
        np.array([space.alpha_rank[occupied & ((1 << n) - 1)], space.beta_rank[occupied >> n]], dtype=np.int64),
    )


def _spin(excitation: Excitation, num_orbitals: int) -> int | None:
    """0 if the excitation moves alpha electrons alone, 1 if beta electrons, None if both."""
    spins = {orbital // num_orbitals for orbital in (*excitation.occupied, *excitation.virtual)}
    return spins.pop() if len(spins) == 1 else None


def _pairs(
    excitation: Excitation, words: NDArray[np.int64], positions: Callable[[NDArray[np.int64]], NDArray]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """(lower, upper) positions of the words that the rotation mixes, in the order that makes the sign positive."""
    excited, returned, signs = excitation.applied(words)
    ordered = np.where(signs > 0, [positions(returned), excited], [excited, positions(returned)])
    lower, upper = ordered.astype(np.uint32)
    return lower, upper
