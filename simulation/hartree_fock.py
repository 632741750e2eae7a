"""Hartree-Fock orbitals: at a minimum, in one order, with fixed signs, the same bytes in every process."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from simulation.molecules import Molecule, partition_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CONVERGENCE_HARTREE = 1e-12
_MAX_CYCLES = 200
_MAX_DESCENTS = 10
_FLAT = 1e-5
"""Curvature (Hartree per squared radian) below which a direction does not count as leading down."""

_MOST_ROTATIONS = 200
"""Orbital rotations up to which their curvature is computed whole."""

_STEP_DOWN = 0.3
"""Rotation (radian) by which a saddle point is left."""

_DEGENERATE_HARTREE = 1e-6
_TIE = 1e-6


class SCFConvergenceError(RuntimeError):
    """Hartree-Fock did not converge, so there are no orbitals to build a Hamiltonian from."""


def canonical_orbitals(mol: Any, molecule: Molecule) -> tuple[NDArray[np.float64], float]:
    """Orbital coefficients in the order doubly, singly, not occupied, and the total Hartree-Fock energy."""
    field = _stable_field(mol, molecule)
    # Stable: within one occupation the orbitals stay in order of energy.
    order = np.argsort(-field.mo_occ, kind="stable")
    energies, occupations = field.mo_energy[order], field.mo_occ[order]
    overlap_root = square_root(field.get_ovlp())
    orthonormal = overlap_root @ field.mo_coeff[:, order]
    for first, last in _degenerate_runs(energies, occupations):
        orthonormal[:, first:last] = _aligned(orthonormal[:, first:last])
    return np.linalg.solve(overlap_root, orthonormal), float(field.e_tot)


def _stable_field(mol: Any, molecule: Molecule) -> Any:
    """Converged restricted Hartree-Fock that no rotation of its orbitals lowers.

    At stretched bonds the iteration can settle on a saddle point 0.2 Hartree above the minimum. The directions that
    lead down from it are followed, both ways (Seeger and Pople, J. Chem. Phys. 66, 3045 (1977)), until there is none.
    """
    from pyscf import scf

    field = scf.ROHF(mol) if molecule.multiplicity > 1 else scf.RHF(mol)
    field.conv_tol = _CONVERGENCE_HARTREE
    field.max_cycle = _MAX_CYCLES
    field.kernel()
    if not field.converged:
        field = field.newton()
        field.kernel()
    for _ in range(_MAX_DESCENTS):
        if not field.converged:
            raise SCFConvergenceError(
                f"Hartree-Fock of {partition_key(molecule)} ({mol.basis}) did not converge in {_MAX_CYCLES} cycles, "
                "nor by second-order steps: check the geometry, or try another multiplicity"
            )
        lower = _lower_orbitals(field)
        if not lower:
            return field
        fields = [field.newton().run(orbitals, field.mo_occ) for orbitals in lower]
        field = min(fields, key=lambda found: (not found.converged, found.e_tot))
    raise SCFConvergenceError(
        f"Hartree-Fock of {partition_key(molecule)} ({mol.basis}) is no minimum after {_MAX_DESCENTS} descents: "
        "check the geometry, or try another multiplicity"
    )


def _lower_orbitals(field: Any) -> list[NDArray[np.float64]]:
    """Orbitals a step down each way from a stationary point that is no minimum; none at a minimum.

    The matrix of second derivatives of the energy over orbital rotations is diagonalised whole where it is small (the
    iterative search of PySCF's own stability analysis fails for the smallest molecules), else its lowest direction is
    searched from a fixed start.
    """
    from pyscf.scf import hf, rohf
    from pyscf.soscf import newton_ah
    from scipy.linalg import expm
    from scipy.sparse.linalg import LinearOperator, eigsh

    second_order = newton_ah.gen_g_hop_rohf if isinstance(field, rohf.ROHF) else newton_ah.gen_g_hop_rhf
    gradient, product, _ = second_order(field, field.mo_coeff, field.mo_occ)
    if not len(gradient):
        return []
    if len(gradient) > _MOST_ROTATIONS:
        values, directions = eigsh(
            LinearOperator((len(gradient),) * 2, matvec=product, dtype=np.float64),
            k=1,
            which="SA",
            v0=np.ones(len(gradient)),
            tol=_FLAT,
        )
    else:
        curvature = np.array([product(direction) for direction in np.eye(len(gradient))])
        values, directions = np.linalg.eigh((curvature + curvature.T) / 2)
    down = directions[:, values < -_FLAT].T
    rotations = [hf.unpack_uniq_var(sign * _STEP_DOWN * way, field.mo_occ) for way in down for sign in (1, -1)]
    return [field.mo_coeff @ expm(rotation) for rotation in rotations]


def square_root(overlap: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric square root of an overlap matrix, shape `(n, n)`."""
    values, vectors = np.linalg.eigh(overlap)
    return (vectors * np.sqrt(values)) @ vectors.T


def _degenerate_runs(energies: NDArray[np.float64], occupations: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Half-open ranges of orbitals of one occupation and, within a threshold, one energy."""
    breaks = np.flatnonzero((np.abs(np.diff(energies)) > _DEGENERATE_HARTREE) | (np.diff(occupations) != 0)) + 1
    edges = [0, *breaks.tolist(), len(energies)]
    return list(pairwise(edges))


def _aligned(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The orthonormal basis of a space that follows the coordinate axes most closely, largest component positive.

    An eigensolver may return any rotation of a degenerate space. Repeatedly projecting the axis that lies most in the
    space (the first of equals) onto it, and removing the projection, depends on the space alone.
    """
    remaining, chosen = vectors, []
    for _ in range(vectors.shape[1]):
        lengths = np.linalg.norm(remaining, axis=1)
        axis = int(np.flatnonzero(lengths > lengths.max() - _TIE)[0])
        direction = remaining @ remaining[axis] / lengths[axis]
        chosen.append(direction)
        remaining = remaining - np.outer(direction, direction @ remaining)
    return np.stack(chosen, axis=1)
