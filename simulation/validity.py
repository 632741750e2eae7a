"""The verdict on a result: whether it is about the molecule asked.

An ansatz that conserves neither electrons nor spin can end in another charge state: HeH+ drifts to neutral HeH, 162 mHa
"below" the cation's exact energy. That the optimiser converged says nothing about it.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulation.observables import Observables

PARTICLE_TOLERANCE = 1e-3
SPIN_Z_TOLERANCE = 1e-3
SPIN_SQUARED_TOLERANCE = 0.1
"""Far below what another spin adds (2 from singlet to triplet), above what a good minimum has of one (1e-5)."""

BELOW_EXACT_TOLERANCE_HARTREE = 1e-6
BELOW_EXACT_STANDARD_ERRORS = 5.0


@dataclass(frozen=True)
class Verdict:
    """Whether a result is valid, and if not, why."""

    valid: bool
    reason: str | None = None


def judge(
    observables: Observables,
    *,
    num_electrons: int,
    multiplicity: int,
    total_energy: float,
    exact_energy: float | None,
    standard_error: float = 0.0,
) -> Verdict:
    """The verdict on an optimum.

    Args:
        observables: Measured at the optimum, frozen electrons included.
        num_electrons: Electrons of the molecule.
        multiplicity: Its spin multiplicity; S_z is expected at its maximum, (multiplicity - 1) / 2.
        total_energy: Of the optimum (Hartree).
        exact_energy: FCI or CASCI total energy in the same orbitals (Hartree), None when unknown.
        standard_error: Statistical error of a sampled energy (Hartree), which may be below the exact one by chance.
    """
    reasons = []
    if abs(observables.particle_number - num_electrons) > PARTICLE_TOLERANCE:
        reasons.append(f"<N> is {observables.particle_number:.6f}, the molecule has {num_electrons} electrons")
    spin_z = (multiplicity - 1) / 2
    if abs(observables.spin_z - spin_z) > SPIN_Z_TOLERANCE:
        reasons.append(f"<S_z> is {observables.spin_z:.6f}, multiplicity {multiplicity} has {spin_z:g}")
    spin_squared = spin_z * (spin_z + 1)
    if abs(observables.spin_squared - spin_squared) > SPIN_SQUARED_TOLERANCE:
        reasons.append(
            f"<S^2> is {observables.spin_squared:.6f}, multiplicity {multiplicity} has {spin_squared:g}: "
            "another spin is mixed in"
        )
    allowed = BELOW_EXACT_TOLERANCE_HARTREE + BELOW_EXACT_STANDARD_ERRORS * standard_error
    if exact_energy is not None and total_energy < exact_energy - allowed:
        below = 1000 * (exact_energy - total_energy)
        reasons.append(f"the energy is {below:.6f} mHa below the exact energy of the molecule")
    return Verdict(not reasons, "; ".join(reasons) or None)
