"""The sector engine: excitation ansaetze on the real CI vector of fixed (N_alpha, N_beta), exact gradients.

An excitation rotation is a Givens rotation of pairs of determinants, so a state of 20 qubits with 14 electrons is
14,400 real numbers instead of a million complex ones. The gradient comes from one reverse pass (adjoint
differentiation; Jones and Gacon, arXiv:2009.02823) and costs about as much as two energies.
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import numpy as np

from simulation.ansatz import ExcitationAnsatz
from simulation.determinants import DeterminantSpace, hartree_fock_word
from simulation.engines.base import Engine, EngineError, Evaluation
from simulation.observables import Observables, measure
from simulation.reference import num_determinants

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.ansatz import Ansatz
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
        self._num_orbitals = ansatz.num_orbitals
        self._space = DeterminantSpace.sector(ansatz.num_orbitals, ansatz.num_particles)
        self._matrix = hamiltonian.csr(self._space)
        self._reference = int(
            self._space.positions(np.array([hartree_fock_word(ansatz.num_orbitals, ansatz.num_particles)]))[0]
        )
        self._indices = np.array(ansatz.parameter_indices, dtype=np.int64)
        self._pairs = _rotation_pairs(ansatz, self._space)

    def state(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """The CI vector, shape `(number of determinants,)`."""
        from simulation.engines.sector_kernels import rotate

        state = np.zeros(len(self._space))
        state[self._reference] = 1.0
        rotate(state, self._angles(parameters), *self._pairs)
        return state

    def observables(self, parameters: NDArray[np.float64]) -> Observables:
        """<N>, <S_z> and <S^2>; the first two are exact by construction."""
        return measure(self._space.words, self.state(parameters), self._num_orbitals)

    def _energy(self, parameters: NDArray[np.float64]) -> Evaluation:
        from simulation.engines.sector_kernels import dot

        state = self.state(parameters)
        image = self._matrix @ state
        energy = dot(state, image)
        return Evaluation(energy, variance=max(dot(image, image) - energy**2, 0.0))

    def _energy_and_gradient(self, parameters: NDArray[np.float64]) -> Evaluation:
        from simulation.engines.sector_kernels import dot, reverse

        state = self.state(parameters)
        image = self._matrix @ state
        energy = dot(state, image)
        variance = max(dot(image, image) - energy**2, 0.0)
        slopes = np.empty(len(self._indices))
        reverse(state, image, self._angles(parameters), *self._pairs, slopes)
        gradient = np.bincount(self._indices, weights=slopes, minlength=self.num_parameters).astype(np.float64)
        return Evaluation(energy, gradient, variance)

    def _angles(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.ascontiguousarray(np.asarray(parameters, dtype=np.float64)[self._indices])


def _rotation_pairs(
    ansatz: ExcitationAnsatz, space: DeterminantSpace
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int8], NDArray[np.int64]]:
    """(lower, upper, sign, first): the pairs of determinants that each rotation mixes, one after the other."""
    words = space.words
    lower, upper, sign, counts = [], [], [], [0]
    for excitation in ansatz.excitations:
        excited, returned, signs = excitation.applied(words)
        lower.append(space.positions(returned).astype(np.int32))
        upper.append(excited.astype(np.int32))
        sign.append(signs.astype(np.int8))
        counts.append(len(excited))
    empty = np.zeros(0, dtype=np.int32)
    return (
        np.concatenate([empty, *lower]),
        np.concatenate([empty, *upper]),
        np.concatenate([empty.astype(np.int8), *sign]),
        np.cumsum(counts, dtype=np.int64),
    )
