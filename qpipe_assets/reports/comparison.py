"""The runs of one molecule side by side: what is kept of each, their order, and which one is best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qpipe_assets.reports import labels
from qpipe_assets.reports.molecule_geometry import bond_lengths, coords_angstrom
from qpipe_assets.reports.trajectory import magnitudes, total_energy, trajectory
from simulation.metrics import CHEMICAL_ACCURACY_MHA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.record import VQEDecoratedResult

CURVE_POINTS = 500
_SAME_ENERGY_DECIMALS = 6
_GEOMETRY_DECIMALS = 5


@dataclass(frozen=True)
class RunSummary:
    """What a comparison needs of a run; energies in Hartree, `curve` are |errors| (mHartree) at `steps`.

    `distances` between all atoms (angstrom, rounded) tell geometries apart, `geometry` is a reader's word for them.
    `certified` is None of sampled energies, which cannot be.
    """

    experiment_id: str
    space: str
    geometry: str
    distances: tuple[float, ...]
    method: str
    valid: bool | None
    total_energy: float | None
    standard_error: float | None
    hf_energy: float | None
    exact_energy: float | None
    exact_method: str
    num_qubits: int
    evaluations: int
    seconds: float
    engine: str
    certified: bool | None
    scan: tuple[str, float] | None
    steps: NDArray[np.int64]
    curve: NDArray[np.float64] | None

    @property
    def error_mha(self) -> float | None:
        """Distance to the exact energy (mHartree)."""
        if self.total_energy is None or self.exact_energy is None:
            return None
        return 1000 * (self.total_energy - self.exact_energy)

    @property
    def hf_error_mha(self) -> float | None:
        """Hartree-Fock's distance to the exact energy (mHartree)."""
        if self.hf_energy is None or self.exact_energy is None:
            return None
        return 1000 * (self.hf_energy - self.exact_energy)

    @property
    def problem(self) -> tuple[str, str | tuple[float, ...]]:
        """Runs with the same one are compared with each other: one basis, space and geometry, or one whole scan."""
        return (self.space, self.scan[0] if self.scan else self.distances)

    @property
    def chemically_accurate(self) -> bool:
        """Whether a run that is not known to be invalid is within 1.6 mHa of the exact energy."""
        error = self.error_mha
        return self.valid is not False and error is not None and abs(error) <= CHEMICAL_ACCURACY_MHA

    @property
    def rank(self) -> tuple[int, float, float, int, str]:
        """The best run has the least: valid, of the most complete problem, nearest to its exact energy, cheapest.

        A problem is more complete the lower its exact energy (its Hartree-Fock energy where that is unknown): the
        variational principle orders basis sets and spaces, and geometries too.
        """
        reference = next((e for e in (self.exact_energy, self.hf_energy) if e is not None), math.inf)
        error, total = self.error_mha, math.inf if self.total_energy is None else self.total_energy
        validity = {True: 0, None: 1, False: 2}[self.valid]
        distance = total if error is None else abs(error)
        return (validity, round(reference, _SAME_ENERGY_DECIMALS), distance, self.evaluations, self.experiment_id)


def summarise(record: VQEDecoratedResult) -> RunSummary:
    """What is kept of a run."""
    points = trajectory(record).thinned(CURVE_POINTS)
    scanned = record.scan_coordinate is not None and record.scan_value is not None
    return RunSummary(
        experiment_id=labels.experiment_of(record),
        space=labels.space_label(record),
        geometry=_geometry(record),
        distances=_distances(record),
        method=labels.method_label(record),
        valid=record.valid,
        total_energy=total_energy(record),
        standard_error=record.energy_standard_error,
        hf_energy=record.hf_energy,
        exact_energy=record.fci_energy,
        exact_method=labels.exact_method(record),
        num_qubits=record.vqe_result.initial_data.num_qubits,
        evaluations=len(record.vqe_result.iteration_list),
        seconds=record.wall_time if record.wall_time is not None else record.total_time,
        engine=record.engine or record.vqe_result.initial_data.backend,
        certified=record.certified_energy is not None if record.vqe_result.initial_data.exact_estimator else None,
        scan=(record.scan_coordinate or "", record.scan_value or 0.0) if scanned else None,
        steps=points.steps,
        curve=None if points.errors_mha is None else magnitudes(points.errors_mha),
    )


def _geometry(record: VQEDecoratedResult) -> str:
    molecule = record.molecule.molecule_data
    if record.scan_coordinate is not None and record.scan_value is not None:
        return f"{record.scan_coordinate} = {record.scan_value:g}"
    return bond_lengths(molecule) or f"{len(molecule.symbols)} atoms without bonds"


def _distances(record: VQEDecoratedResult) -> tuple[float, ...]:
    positions = coords_angstrom(record.molecule.molecule_data)
    between = np.linalg.norm(positions[:, None] - positions[None, :], axis=2)
    return tuple(np.round(between[np.triu_indices(len(positions), 1)], _GEOMETRY_DECIMALS).tolist())
