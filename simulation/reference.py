"""The exact energy of an electronic problem (FCI, or CASCI in a part of the orbitals), where it is feasible."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simulation.problem import ElectronicProblem

MAX_DETERMINANTS = 100_000
"""Largest space that is diagonalised: seconds on one core (N2/STO-3G has 14,400, CO2/STO-3G 1,863,225)."""

_CONVERGENCE_HARTREE = 1e-11
_ROOTS = 2  # Davidson's method keeps to the symmetry of its guess: alone, the lowest root can be an excited state
_MAX_CYCLES = 200


@dataclass(frozen=True)
class ExactReference:
    """Lowest total energy (Hartree) with the molecule's electrons and spin, and the name of the method."""

    energy: float
    method: str


def num_determinants(num_orbitals: int, num_particles: tuple[int, int]) -> int:
    """Size of the space of fixed (N_alpha, N_beta): C(n, N_alpha) C(n, N_beta)."""
    return math.comb(num_orbitals, num_particles[0]) * math.comb(num_orbitals, num_particles[1])


def exact_reference(problem: ElectronicProblem, *, max_determinants: int = MAX_DETERMINANTS) -> ExactReference | None:
    """The exact energy in the problem's orbitals with total spin S = S_z, or None where that is not feasible.

    PySCF's determinant FCI (`direct_spin1`) with a spin penalty (`fix_spin`); called FCI when every orbital of the
    basis is correlated, CASCI otherwise. None also when the Davidson iteration does not converge: a reference that
    may be wrong is worse than none.
    """
    if num_determinants(problem.num_orbitals, problem.num_particles) > max_determinants:
        return None
    from pyscf import lib
    from pyscf.fci import addons, direct_spin1

    spin = (problem.num_particles[0] - problem.num_particles[1]) / 2
    with lib.with_omp_threads(1):
        solver = addons.fix_spin_(direct_spin1.FCI(), ss=spin * (spin + 1))
        solver.conv_tol = _CONVERGENCE_HARTREE
        solver.max_cycle = _MAX_CYCLES
        solver.nroots = min(_ROOTS, num_determinants(problem.num_orbitals, problem.num_particles))
        energies, _ = solver.kernel(
            problem.h1,
            problem.h2,
            problem.num_orbitals,
            problem.num_particles,
            ecore=problem.constant + problem.nuclear_repulsion,
        )
    if not np.all(solver.converged):
        return None
    return ExactReference(float(np.min(energies)), "FCI" if problem.full_space else "CASCI")
