"""Measuring a Hamiltonian: its terms in groups that one setting of single-qubit measurements yields at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.mapping import QubitHamiltonian


@dataclass(frozen=True, eq=False)
class MeasurementGroup:
    """Terms that agree in the letter of every qubit on which several of them act.

    Args:
        x: Mask of the qubits that are measured in the basis of X or Y.
        z: Mask of the qubits that are measured in the basis of Z or Y.
        supports: For each term the mask of the qubits whose outcomes multiply to its value, int64, shape `(terms,)`.
        coefficients: Of the terms (Hartree).
    """

    x: int
    z: int
    supports: NDArray[np.int64]
    coefficients: NDArray[np.float64]

    @property
    def bound(self) -> float:
        """The largest absolute value (Hartree) that one sample of the group can have."""
        return float(np.abs(self.coefficients).sum())


def constant_of(hamiltonian: QubitHamiltonian) -> float:
    """Coefficient of the identity (Hartree), which needs no measurement."""
    return float(hamiltonian.coefficients[(hamiltonian.x | hamiltonian.z) == 0].sum())


def measurement_groups(hamiltonian: QubitHamiltonian) -> list[MeasurementGroup]:
    """The terms but the identity in qubit-wise commuting groups.

    Sorted insertion: the largest coefficients first, each term into the first group that takes it (Crawford et al.,
    Quantum 5, 385 (2021), where groups commute in the wider sense). The same Hamiltonian gives the same groups.
    """
    measured = np.flatnonzero((hamiltonian.x | hamiltonian.z) != 0)
    order = measured[np.argsort(-np.abs(hamiltonian.coefficients[measured]), kind="stable")]
    x, z = hamiltonian.x[order], hamiltonian.z[order]
    group_x, group_z = np.zeros_like(x), np.zeros_like(z)
    member = np.empty(len(order), dtype=np.int64)
    count = 0
    for term, (flips, phases) in enumerate(zip(x.tolist(), z.tolist(), strict=True)):
        differs = (group_x[:count] ^ flips) | (group_z[:count] ^ phases)
        shared = (group_x[:count] | group_z[:count]) & (flips | phases)
        (taking,) = np.nonzero((differs & shared) == 0)
        group = int(taking[0]) if len(taking) else count
        count = max(count, group + 1)
        group_x[group] |= flips
        group_z[group] |= phases
        member[term] = group
    supports, coefficients = x | z, hamiltonian.coefficients[order]
    return [
        MeasurementGroup(int(group_x[g]), int(group_z[g]), supports[member == g], coefficients[member == g])
        for g in range(count)
    ]
