"""From a molecule to its electronic problem: integrals over molecular orbitals, core energy, Hartree-Fock reference.

Everything that can be refused is refused before the self-consistent field starts. The exact reference energy is not
computed here (see `reference`), so that the time it takes never counts as the time to build the Hamiltonian.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulation.elements import core_orbitals
from simulation.hartree_fock import canonical_orbitals, square_root
from simulation.molecules import Molecule, partition_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.record import ActiveSpace

BASES = ("sto3g", "6-31g", "cc-pvdz")

MAX_QUBITS = 28
"""Largest problem that is set up unless the caller allows another: two qubits an orbital."""


class ProblemError(ValueError):
    """What was asked cannot be set up: basis, active space or size; the message names the value and the remedy."""


@dataclass(frozen=True, eq=False)
class ElectronicProblem:
    r"""Electrons in a set of spatial orbitals, energies in Hartree.

    .. math:: H = E_c + \sum_{pq\sigma} h_{pq} a^\dagger_{p\sigma} a_{q\sigma}
              + \frac12 \sum_{pqrs\sigma\tau} (pq|rs) a^\dagger_{p\sigma} a^\dagger_{r\tau} a_{s\tau} a_{q\sigma}

    Args:
        h1: One-electron integrals including the mean field of the frozen core, shape `(n, n)`.
        h2: Two-electron integrals `(pq|rs)` in chemists' notation, shape `(n, n, n, n)`.
        constant: Energy `E_c` of the frozen core, 0 without one; it is part of the Hamiltonian.
        nuclear_repulsion: Repulsion of the nuclei; total energy = <H> + nuclear repulsion.
        num_particles: Correlated electrons (N_alpha, N_beta); orbitals are ordered so that the lowest are occupied.
        hf_energy: Total Hartree-Fock energy.
        frozen_orbitals: Doubly occupied orbitals below the correlated ones.
        deleted_orbitals: Empty orbitals above the correlated ones.
        orbitals: The correlated orbitals over Loewdin's orthogonalised atomic orbitals, shape `(basis functions, n)`;
            None where nobody compares them with those of another geometry.
    """

    h1: NDArray[np.float64]
    h2: NDArray[np.float64]
    constant: float
    nuclear_repulsion: float
    num_particles: tuple[int, int]
    hf_energy: float
    frozen_orbitals: int = 0
    deleted_orbitals: int = 0
    orbitals: NDArray[np.float64] | None = None

    @property
    def num_orbitals(self) -> int:
        """Spatial orbitals that are correlated."""
        return len(self.h1)

    @property
    def num_qubits(self) -> int:
        """Spin orbitals, one qubit each: alpha orbitals are qubits 0 to n - 1, beta n to 2n - 1."""
        return 2 * self.num_orbitals

    @property
    def full_space(self) -> bool:
        """Whether every orbital of the basis is correlated."""
        return self.frozen_orbitals == 0 and self.deleted_orbitals == 0


@dataclass(frozen=True)
class OrbitalWindow:
    """Which orbitals are correlated: `frozen` doubly occupied ones stay below, then come `active` ones."""

    frozen: int
    active: int
    num_particles: tuple[int, int]


def build_problem(
    molecule: Molecule,
    basis: str = "sto3g",
    *,
    frozen_core: bool = False,
    active_space: ActiveSpace | None = None,
    max_qubits: int = MAX_QUBITS,
) -> ElectronicProblem:
    """The electronic problem of a molecule by restricted (open-shell) Hartree-Fock.

    The orbitals are canonical; degenerate ones are turned onto the atomic orbitals and every sign is fixed, and all
    arithmetic runs on one thread, so the integrals are the same bytes in every process.

    Args:
        molecule: What to compute.
        basis: One of `BASES`.
        frozen_core: Keep the noble-gas core of every atom doubly occupied.
        active_space: Correlate only these electrons in these orbitals around the Fermi level.
        max_qubits: Refuse a problem that needs more.

    Raises:
        ProblemError: unknown basis or one without functions for an element, an impossible active space, or too many
            qubits; all before any integral is computed.
        SCFConvergenceError: Hartree-Fock does not converge.
    """
    mol, window = _plan(molecule, basis, frozen_core, active_space)
    _check_size(molecule, basis, window, max_qubits)
    from pyscf import lib

    with lib.with_omp_threads(1):
        orbitals, energy = canonical_orbitals(mol, molecule)
        orbitals = orbitals[:, : window.frozen + window.active]
        h1 = _transform_one(mol.intor("int1e_kin") + mol.intor("int1e_nuc"), orbitals)
        h2 = _transform_two(mol.intor("int2e"), orbitals)
        nuclear_repulsion = float(mol.energy_nuc())
        orthogonal = square_root(mol.intor("int1e_ovlp")) @ orbitals
    core = slice(0, window.frozen)
    active = slice(window.frozen, window.frozen + window.active)
    constant, h1_active = _fold_in_core(h1, h2, core, active)
    return ElectronicProblem(
        h1=h1_active,
        h2=np.ascontiguousarray(h2[active, active, active, active]),
        constant=constant,
        nuclear_repulsion=nuclear_repulsion,
        num_particles=window.num_particles,
        hf_energy=energy,
        frozen_orbitals=window.frozen,
        deleted_orbitals=mol.nao - window.frozen - window.active,
        orbitals=orthogonal[:, active],
    )


def plan_problem(
    molecule: Molecule,
    basis: str = "sto3g",
    *,
    frozen_core: bool = False,
    active_space: ActiveSpace | None = None,
) -> OrbitalWindow:
    """The orbitals and electrons that `build_problem` would correlate, without computing anything, of any size.

    Raises:
        ProblemError: as `build_problem`, but for the size.
    """
    return _plan(molecule, basis, frozen_core, active_space)[1]


def orbital_window(
    molecule: Molecule, num_orbitals: int, *, frozen_core: bool = False, active_space: ActiveSpace | None = None
) -> OrbitalWindow:
    """Which of a basis's orbitals are correlated.

    Raises:
        ProblemError: the electrons do not fit the orbitals, leave an odd core, or pair up unpaired ones.
    """
    electrons, unpaired = molecule.num_electrons, molecule.multiplicity - 1
    frozen, active = 0, num_orbitals
    if frozen_core:
        # An ion can have fewer electrons than its atoms' cores would hold (Li+ has all of them in its core).
        frozen = min(sum(map(core_orbitals, molecule.symbols)), (electrons - unpaired) // 2)
        active = num_orbitals - frozen
        if electrons == 2 * frozen:
            raise ProblemError(
                f"freezing the core of {partition_key(molecule)} leaves no electron: do without frozen_core"
            )
    elif active_space is not None:
        frozen = _frozen_below(active_space, electrons, unpaired, num_orbitals)
        active = active_space.orbitals
    correlated = electrons - 2 * frozen
    alpha = (correlated + unpaired) // 2
    if alpha > active:
        raise ProblemError(
            f"{alpha} alpha electrons do not fit in {active} orbitals: take a larger basis or active space"
        )
    return OrbitalWindow(frozen, active, (alpha, correlated - alpha))


def _plan(
    molecule: Molecule, basis: str, frozen_core: bool, active_space: ActiveSpace | None
) -> tuple[Any, OrbitalWindow]:
    if basis not in BASES:
        raise ProblemError(f"basis is {basis!r}, expected one of {BASES}")
    if frozen_core and active_space is not None:
        raise ProblemError("frozen_core and active_space exclude each other: give one")
    mol = _pyscf_molecule(molecule, basis)
    window = orbital_window(molecule, mol.nao, frozen_core=frozen_core, active_space=active_space)
    return mol, window


def _frozen_below(space: ActiveSpace, electrons: int, unpaired: int, num_orbitals: int) -> int:
    what = f"active space ({space.electrons} electrons, {space.orbitals} orbitals)"
    if space.electrons > electrons:
        raise ProblemError(f"{what}: the molecule has only {electrons} electrons")
    if (electrons - space.electrons) % 2:
        raise ProblemError(
            f"{what}: leaves {electrons - space.electrons} electrons in the core, expected an even number; "
            f"try {space.electrons - 1} or {space.electrons + 1} electrons"
        )
    if space.electrons < unpaired:
        raise ProblemError(f"{what}: {unpaired} electrons are unpaired and all of them must be active")
    if 2 * space.orbitals < space.electrons:
        raise ProblemError(f"{what}: at most two electrons fit in an orbital")
    frozen = (electrons - space.electrons) // 2
    if frozen + space.orbitals > num_orbitals:
        raise ProblemError(
            f"{what}: the basis has {num_orbitals} orbitals, {frozen} of them are the core; "
            f"at most {num_orbitals - frozen} can be active"
        )
    return frozen


def _check_size(molecule: Molecule, basis: str, window: OrbitalWindow, max_qubits: int) -> None:
    qubits = 2 * window.active
    if qubits > max_qubits:
        core = sum(map(core_orbitals, molecule.symbols))
        hint = f" (frozen core: {qubits - 2 * core} qubits)" if core and not window.frozen else ""
        raise ProblemError(
            f"{partition_key(molecule)} in {basis} needs {qubits} qubits, at most {max_qubits} are allowed here: "
            f"use frozen_core{hint} or an active_space of at most {max_qubits // 2} orbitals"
        )


def _pyscf_molecule(molecule: Molecule, basis: str) -> Any:
    from pyscf import gto
    from pyscf.lib.exceptions import BasisNotFoundError

    atoms = [(s, tuple(x)) for s, x in zip(molecule.symbols, molecule.coords_angstrom.tolist(), strict=True)]
    try:
        with warnings.catch_warnings():
            # PySCF warns of another package that might know the basis; the error below says what is needed.
            warnings.simplefilter("ignore", UserWarning)
            return gto.M(
                atom=atoms,
                unit="Angstrom",
                basis=basis,
                charge=molecule.charge,
                spin=molecule.multiplicity - 1,
                verbose=0,
                parse_arg=False,
            )
    except (BasisNotFoundError, KeyError) as error:
        raise ProblemError(
            f"basis {basis!r} has no functions for every element of {', '.join(sorted(set(molecule.symbols)))}"
        ) from error


def _transform_one(integrals: NDArray[np.float64], orbitals: NDArray[np.float64]) -> NDArray[np.float64]:
    transformed = orbitals.T @ integrals @ orbitals
    return (transformed + transformed.T) / 2


def _transform_two(integrals: NDArray[np.float64], orbitals: NDArray[np.float64]) -> NDArray[np.float64]:
    # One index at a time. einsum's own loop: a threaded BLAS could split the sums differently from run to run.
    for _ in range(4):
        integrals = np.einsum("pqrs,pi->qrsi", integrals, orbitals)
    return integrals


def _fold_in_core(
    h1: NDArray[np.float64], h2: NDArray[np.float64], core: slice, active: slice
) -> tuple[float, NDArray[np.float64]]:
    coulomb = np.einsum("pqcc->pq", h2[:, :, core, core])
    exchange = np.einsum("pccq->pq", h2[:, core, core, :])
    mean_field = 2 * coulomb - exchange
    constant = float(np.trace((2 * h1 + mean_field)[core, core]))
    return constant, np.ascontiguousarray((h1 + mean_field)[active, active])
