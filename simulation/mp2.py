r"""Second-order Moller-Plesset amplitudes as angles of excitation rotations.

.. math:: t_{ij}^{ab} = \frac{\langle ij||ab\rangle}{\epsilon_i + \epsilon_j - \epsilon_a - \epsilon_b}, \qquad
          E_\mathrm{MP2} = \sum_{i<j,\,a<b} t_{ij}^{ab} \langle ij||ab\rangle

To first order a rotation by :math:`t_{ij}^{ab}` of the excitation (i, j), (a, b), in the convention of `excitations`,
makes the first-order wave function of perturbation theory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.excitations import Excitation
    from simulation.problem import ElectronicProblem


class MP2Amplitudes:
    r"""Amplitudes of one problem, from its own integrals: the frozen core takes no part.

    The Fock matrix of each spin is taken from the Hartree-Fock determinant. In a closed shell its diagonal holds the
    orbital energies and singles vanish (Brillouin's theorem). The orbitals of an open shell are restricted, so the
    Fock matrices are not diagonal: the diagonal still serves as energies, and singles have the amplitudes
    :math:`-f_{ia} / (\epsilon_i - \epsilon_a)`.

    Args:
        problem: Its integrals and electrons.
    """

    def __init__(self, problem: ElectronicProblem) -> None:
        self._h2 = problem.h2
        self._num_orbitals = problem.num_orbitals
        self._num_particles = problem.num_particles
        self._fock = _fock_matrices(problem)

    def amplitude(self, excitation: Excitation) -> float:
        """The angle (radian) of an excitation; 0 unless it joins occupied orbitals with empty ones.

        The inverse of such an excitation, which generalised ansaetze have too, has the opposite angle.
        """
        occupied, virtual = excitation.occupied, excitation.virtual
        if self._is_occupied(virtual) and self._is_empty(occupied):
            return -self._angle(virtual, occupied)
        if self._is_occupied(occupied) and self._is_empty(virtual):
            return self._angle(occupied, virtual)
        return 0.0

    def integral(self, excitation: Excitation) -> float:
        """<ij||ab> of a double excitation (Hartree)."""
        (i, j), (a, b) = excitation.occupied, excitation.virtual
        return self._coulomb(i, a, j, b) - self._coulomb(i, b, j, a)

    def _angle(self, occupied: tuple[int, ...], virtual: tuple[int, ...]) -> float:
        if len(occupied) == 1 and self._num_particles[0] == self._num_particles[1]:
            return 0.0
        gap = sum(map(self._energy, occupied)) - sum(map(self._energy, virtual))
        if len(occupied) == 1:
            (i, spin), (a, _) = map(self._split, (occupied[0], virtual[0]))
            return -float(self._fock[spin][i, a]) / gap
        (i, j), (a, b) = occupied, virtual
        return (self._coulomb(i, a, j, b) - self._coulomb(i, b, j, a)) / gap

    def _split(self, orbital: int) -> tuple[int, int]:
        """Spatial orbital and spin."""
        return orbital % self._num_orbitals, orbital // self._num_orbitals

    def _energy(self, orbital: int) -> float:
        p, spin = self._split(orbital)
        return float(self._fock[spin][p, p])

    def _coulomb(self, p: int, q: int, r: int, s: int) -> float:
        """(pq|rs) over spin orbitals."""
        (p, p_spin), (q, q_spin), (r, r_spin), (s, s_spin) = map(self._split, (p, q, r, s))
        return float(self._h2[p, q, r, s]) if p_spin == q_spin and r_spin == s_spin else 0.0

    def _is_occupied(self, orbitals: tuple[int, ...]) -> bool:
        return all(p < self._num_particles[spin] for p, spin in map(self._split, orbitals))

    def _is_empty(self, orbitals: tuple[int, ...]) -> bool:
        return all(p >= self._num_particles[spin] for p, spin in map(self._split, orbitals))


def _fock_matrices(problem: ElectronicProblem) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fock matrices of alpha and beta electrons, shape `(n, n)` each."""
    filled = [slice(0, count) for count in problem.num_particles]
    coulomb = sum(np.einsum("pqii->pq", problem.h2[:, :, f, f]) for f in filled)
    alpha, beta = (problem.h1 + coulomb - np.einsum("piiq->pq", problem.h2[:, f, f, :]) for f in filled)
    return alpha, beta
