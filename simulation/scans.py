"""Potential-energy scans: a bond or an angle of a molecule takes a series of values, each point starts from the last.

The scan begins at the value nearest to the molecule's own geometry, where Hartree-Fock is a good start, and walks from
there to both ends; every other point starts from the optimum of its neighbour towards the beginning, carried over to
its own orbitals (see `orbital_matching`). So the curve does not depend on the order in which values are given. The
identities of all points are known before anything is computed.

Where an ansatz has many minima (UCCSD repeated, far from equilibrium), a point can end higher from its neighbour than
from Hartree-Fock by some tenths of a millihartree; `both_starts` computes both and keeps the lower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, FiniteFloat, ValidationError, field_validator, model_validator

from simulation.identity import experiment_id
from simulation.molecules import MIN_DISTANCE_ANGSTROM, Molecule, MoleculeError
from simulation.options import VQEOptions
from simulation.record import Int32, RecordPart, VQEDecoratedResult
from simulation.recording import ScanPosition
from simulation.scan_geometry import ScanError, displaced, far_side, measured
from simulation.validation import reasons

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_POINTS = 1000

_DECIMALS = 10
_NO_LOWER_HARTREE = 1e-6


class ScanSpec(RecordPart):
    """Which internal coordinate is scanned, and over which values.

    `atoms` are zero-based: the two of a bond, or the three of an angle with its vertex in the middle. The last one
    moves, with everything attached to it. Values are in angstrom (bond) or degree (angle); give them one by one, or
    `start`, `stop` and `points`.

    Raises:
        pydantic.ValidationError: an impossible value; the message names it.
    """

    kind: Literal["bond", "angle"] = Field(description="What is scanned: a distance (angstrom) or an angle (degree).")
    atoms: list[Annotated[Int32, Field(ge=0)]] = Field(
        description="Zero-based indices: two atoms of a bond, or three of an angle, its vertex in the middle."
    )
    values: list[FiniteFloat] | None = Field(None, description="The values themselves, instead of a range.")
    start: FiniteFloat | None = Field(None, description="First value of a range.")
    stop: FiniteFloat | None = Field(None, description="Last value of a range.")
    points: Annotated[Int32, Field(ge=2, le=MAX_POINTS)] | None = Field(
        None, description="Number of equidistant values of a range, both ends included."
    )
    both_starts: bool = Field(
        False, description="Compute every point from its neighbour's optimum and afresh; the lower energy stands."
    )

    @field_validator("values", "start", "stop", mode="before")
    @classmethod
    def _whole_numbers_are_numbers(cls, value: Any) -> Any:
        """Accept 1 for 1.0: JSON and YAML write both."""
        if isinstance(value, list):
            return [cls._whole_numbers_are_numbers(item) for item in value]
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _possible(self) -> ScanSpec:
        wanted = 2 if self.kind == "bond" else 3
        if len(self.atoms) != wanted:
            raise ValueError(f"atoms is {self.atoms}, expected {wanted} indices for {_article(self.kind)}")
        if len(set(self.atoms)) != wanted:
            raise ValueError(f"atoms is {self.atoms}, expected different atoms")
        for value in self._asked_values():
            self._check(value)
        return self

    @property
    def coordinate(self) -> str:
        """The name of the coordinate in records, for example 'bond 0-1'."""
        return f"{self.kind} {'-'.join(map(str, self.atoms))}"

    @property
    def unit(self) -> str:
        """Unit of the values."""
        return "angstrom" if self.kind == "bond" else "degree"

    def grid(self) -> list[float]:
        """The values in increasing order, each once."""
        return sorted({round(value, _DECIMALS) for value in self._asked_values()})

    def _asked_values(self) -> Sequence[float]:
        """The values as they were asked for."""
        ends = (self.start, self.stop, self.points)
        if self.values is not None:
            if ends != (None, None, None):
                raise ValueError("values and start/stop/points exclude each other: give one")
            if not 2 <= len(set(self.values)) <= MAX_POINTS:
                raise ValueError(f"values is {self.values}, expected 2 to {MAX_POINTS} different ones")
            return self.values
        if self.start is None or self.stop is None or self.points is None:
            raise ValueError(f"start={self.start}, stop={self.stop}, points={self.points}: give all three, or values")
        if self.start == self.stop:
            raise ValueError(f"start and stop are both {self.start}, expected a range")
        return np.linspace(self.start, self.stop, self.points).tolist()

    def _check(self, value: float) -> None:
        if self.kind == "bond" and value < MIN_DISTANCE_ANGSTROM:
            raise ValueError(
                f"the distance {value:g} angstrom is impossible, expected at least {MIN_DISTANCE_ANGSTROM}"
            )
        if self.kind == "angle" and not 0 < value <= 180:
            raise ValueError(f"the angle {value:g} degree is impossible, expected more than 0 and at most 180")


@dataclass(frozen=True)
class ScanPoint:
    """One geometry of a scan, and the value (angstrom or degree) that makes it."""

    molecule: Molecule
    value: float


@dataclass(frozen=True)
class PlannedPoint:
    """One run of a scan with nothing left open.

    Args:
        point: The geometry.
        options: Resolved; `previous` is the experiment it starts from, None for the first.
        experiment_id: Its identity.
        position: What the record notes.
        depth: Steps from the first point; the points of one depth need only those of smaller depth.
        both_starts: Whether it is computed afresh, too, however it went.
    """

    point: ScanPoint
    options: VQEOptions
    experiment_id: str
    position: ScanPosition
    depth: int
    both_starts: bool = False


def scan_of(entry: Mapping[str, Any]) -> ScanSpec | None:
    """The scan that an object of a molecule file carries under "scan", if it does.

    Raises:
        ScanError: it is not a possible scan.
    """
    if entry.get("scan") is None:
        return None
    try:
        return ScanSpec.model_validate(entry["scan"])
    except ValidationError as error:
        raise ScanError(f"the scan {entry['scan']!r} is impossible: {reasons(error)}") from error


def expand(molecule: Molecule, spec: ScanSpec) -> list[ScanPoint]:
    """The geometries of a scan, in increasing order of the value.

    The last atom of the coordinate moves, and with it, rigidly, everything that is bonded to it (by covalent radii) on
    its side; all other distances and angles within each side stay as they are.

    Raises:
        ScanError: an atom is not in the molecule, or is joined to the resting side by another way (a ring, or a pair of
            atoms that is not bonded), or the moved atoms would touch others.
    """
    outside = [index for index in spec.atoms if index >= len(molecule.symbols)]
    if outside:
        raise ScanError(
            f"{spec.coordinate}: there is no atom {outside[0]}, {''.join(molecule.symbols)} has 0 to "
            f"{len(molecule.symbols) - 1}"
        )
    moving = far_side(molecule, spec.atoms)
    points = []
    for value in spec.grid():
        try:
            points.append(ScanPoint(_moved(molecule, displaced(molecule, spec.atoms, moving, value)), value))
        except MoleculeError as error:
            raise ScanError(f"{spec.coordinate} = {value:g} {spec.unit}: {error}") from error
    return points


def plan_scan(molecule: Molecule, spec: ScanSpec, options: VQEOptions) -> list[PlannedPoint]:
    """The runs of a scan in the order in which they can be computed.

    The first, nearest to the molecule's own geometry, starts as `options` say, the others from their neighbour's
    optimum; ADAPT grows its circuit anew at every point and always starts as `options` say.

    Raises:
        ScanError: as `expand`.
    """
    # Once for all points: a seed that is drawn is one and the same.
    base = options.resolved()
    points = expand(molecule, spec)
    own = measured(molecule, spec.atoms)
    first = min(range(len(points)), key=lambda k: (abs(points[k].value - own), k))
    planned: dict[int, PlannedPoint] = {}
    for index in sorted(range(len(points)), key=lambda k: (abs(k - first), -k)):
        if index == first or base.ansatz == "ADAPT":
            asked = base
        else:
            neighbour = planned[index - 1 if index > first else index + 1]
            asked = _starting_from(neighbour.experiment_id, base)
        point = points[index]
        position = ScanPosition(spec.coordinate, point.value)
        identity = experiment_id(point.molecule, asked)
        planned[index] = PlannedPoint(point, asked, identity, position, abs(index - first), spec.both_starts)
    return list(planned.values())


def needs_comparison(planned: PlannedPoint, record: VQEDecoratedResult) -> bool:
    """Whether a point is to be computed afresh, too: it started badly, or the scan asks for both starts.

    Never the first point of a scan, which is afresh itself.
    """
    if planned.depth == 0:
        return False
    return starts_badly(record) or (planned.both_starts and planned.options.init_strategy == "previous")


def starts_badly(record: VQEDecoratedResult) -> bool:
    """Whether a run that began at its neighbour's optimum began no lower than Hartree-Fock, so that it was no help.

    It happens where the wave function changes its character between two points, and with circuits whose parameters
    cannot be carried over or whose neighbour stayed at the stationary Hartree-Fock point; the run may have ended in a
    worse minimum than one from Hartree-Fock would.
    """
    result = record.vqe_result
    if result.initial_data.init_strategy != "previous" or not result.optimal_parameters:
        return False
    assert record.hf_energy is not None and record.total_energy is not None
    to_total = record.total_energy - result.minimum
    return result.iteration_list[0].result + to_total > record.hf_energy - _NO_LOWER_HARTREE


def walk(
    points: Sequence[PlannedPoint], compute: Callable[[PlannedPoint, VQEDecoratedResult | None], VQEDecoratedResult]
) -> Iterator[VQEDecoratedResult]:
    """The records that make the curve, in the order of `plan_scan`, each as soon as it is there.

    A point that needs comparison is computed once more as the first one was, and the better of the two is the curve's.

    Args:
        points: From `plan_scan`.
        compute: Gives the record of a point, computed or found, from it and the record it starts from.
    """
    found: dict[str, VQEDecoratedResult] = {}
    for planned in points:
        # The first may start from an experiment outside the scan, which `compute` knows.
        previous = found.get(planned.options.previous or "")
        record = found[planned.experiment_id] = compute(planned, previous)
        if needs_comparison(planned, record):
            record = better(record, compute(afresh(planned, points[0]), None))
        yield record


def afresh(planned: PlannedPoint, first: PlannedPoint) -> PlannedPoint:
    """The same point, started as the first one was instead of from its neighbour; it stands like a first point."""
    identity = experiment_id(planned.point.molecule, first.options)
    return PlannedPoint(planned.point, first.options, identity, planned.position, depth=0)


def better(one: VQEDecoratedResult, other: VQEDecoratedResult) -> VQEDecoratedResult:
    """Of two runs on one point the one that stands on the curve: valid rather than not, then the lower energy."""
    return min(one, other, key=lambda record: (record.valid is False, record.total_energy))


def _starting_from(previous: str, base: VQEOptions) -> VQEOptions:
    values = base.model_dump() | {"init_strategy": "previous", "previous": previous}
    return VQEOptions.model_validate(values).resolved()


def _article(kind: str) -> str:
    return "a bond" if kind == "bond" else "an angle"


def _moved(molecule: Molecule, coords: NDArray[np.float64]) -> Molecule:
    return Molecule(
        symbols=molecule.symbols,
        # Rounding in the last place would make equal geometries different experiments.
        coords=np.round(coords, _DECIMALS) + 0.0,
        charge=molecule.charge,
        multiplicity=molecule.multiplicity,
        masses=molecule.masses,
        name=molecule.name,
    )
