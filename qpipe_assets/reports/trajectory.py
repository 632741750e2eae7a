"""What a run's evaluations show: total energies, errors to the exact energy, and few enough points to draw."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.record import VQEDecoratedResult

MOST_POINTS = 2000
ERROR_FLOOR_MHA = 1e-9
"""A log axis ends somewhere; below this an error is rounding."""


@dataclass(frozen=True)
class Trajectory:
    """Energies of the evaluations in order, all arrays of the same length.

    `energies` are total energies (Hartree; electronic where the record has no nuclear repulsion), `std` their standard
    errors (Hartree), `errors_mha` their signed distance to the exact energy (mHartree), None without one.
    """

    steps: NDArray[np.int64]
    energies: NDArray[np.float64]
    std: NDArray[np.float64]
    errors_mha: NDArray[np.float64] | None

    @property
    def sampled(self) -> bool:
        """Whether energies have a statistical error."""
        return bool(self.std.any())

    def thinned(self, most: int = MOST_POINTS) -> Trajectory:
        """At most `most` of the evaluations: of every stretch its highest and lowest, and the first and last of all."""
        kept = thinned_indices(self.energies, most)
        errors = None if self.errors_mha is None else self.errors_mha[kept]
        return Trajectory(self.steps[kept], self.energies[kept], self.std[kept], errors)


def trajectory(record: VQEDecoratedResult) -> Trajectory:
    """The evaluations of a run."""
    steps = record.vqe_result.iteration_list
    energies = np.array([step.result for step in steps]) + (offset(record) or 0.0)
    exact = record.fci_energy
    return Trajectory(
        steps=np.array([step.iteration for step in steps]),
        energies=energies,
        std=np.array([step.std for step in steps]),
        errors_mha=None if exact is None or offset(record) is None else 1000 * (energies - exact),
    )


def offset(record: VQEDecoratedResult) -> float | None:
    """Total minus electronic energy (Hartree), None where the record does not tell."""
    if record.total_energy is not None:
        return record.total_energy - record.vqe_result.minimum
    return record.vqe_result.nuclear_repulsion_energy


def total_energy(record: VQEDecoratedResult) -> float | None:
    """Total energy (Hartree), also of records that hold only its two parts."""
    to_total = offset(record)
    return None if to_total is None else record.vqe_result.minimum + to_total


def energy_error_mha(record: VQEDecoratedResult) -> float | None:
    """Total energy minus exact energy (mHartree), None where one of them is unknown."""
    total = total_energy(record)
    return None if total is None or record.fci_energy is None else 1000 * (total - record.fci_energy)


def magnitudes(errors_mha: NDArray[np.float64]) -> NDArray[np.float64]:
    """|error| for a log axis (mHartree)."""
    return np.maximum(np.abs(errors_mha), ERROR_FLOOR_MHA)


def thinned_indices(values: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Indices of at most `most` (4 or more) of the values that keep the shape of their curve, in order."""
    count = len(values)
    if count <= most:
        return np.arange(count)
    edges = np.linspace(1, count - 1, (most - 2) // 2 + 1).astype(np.int64)
    kept = {0, count - 1}
    for start, end in itertools.pairwise(edges):
        stretch = values[start:end]
        kept |= {int(start + stretch.argmin()), int(start + stretch.argmax())}
    return np.array(sorted(kept))
