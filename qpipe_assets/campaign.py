"""What a campaign on one molecule asks for: Dagster config from VQEOptions, expanded and checked before any work.

Every option is an axis (a list, the campaign is the product of all) but for those in SINGLE, which all runs of a
campaign share: when to stop, and what to compute on.
"""

import enum
import itertools
import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import BaseModel, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from simulation.annotations import without_none
from simulation.identity import experiment_id
from simulation.molecules import Molecule, MoleculeError, catalogue, load_molecules, partition_key
from simulation.options import VQEOptions
from simulation.record import MoleculeData
from simulation.scans import PlannedPoint, ScanError, ScanSpec, plan_scan
from simulation.validation import reasons

SINGLE = (
    "max_iterations",
    "threshold",
    "min_qubits",
    "gpu",
    "cpu_fallback",
    "custatevec",
    "blocking",
    "batched_shots_gpu",
    "shot_branching",
    "max_memory_mb",
    "certify_max_qubits",
)


IDENTITY_DIGITS = 12
"""Digits of an experiment's identity that its label ends with."""

LAST_AXES = ("ansatz", "ansatz_reps", "optimizer", "init_strategy", "seed")
"""The axes that vary fastest, the last one most: the order in which people expect a campaign's runs."""


class CampaignError(ValueError):
    """The configuration asks for something impossible; nothing was computed."""


class Executor(enum.Enum):
    """What computes the runs of a campaign."""

    local = "local"
    spark = "spark"


@dataclass(frozen=True)
class PlannedRun:
    """One run of a campaign with nothing left open; a point of a scan knows its place and the scan's first point."""

    experiment_id: str
    molecule: Molecule
    options: VQEOptions
    point: PlannedPoint | None = None
    first: PlannedPoint | None = None

    @property
    def label(self) -> str:
        """What distinguishes the run in a log line."""
        options = self.options
        parts = [options.basis, f"{options.ansatz} x{options.reps}", options.init_strategy]
        if self.point is not None:
            parts.insert(0, f"{self.point.position.coordinate} = {self.point.position.value:g}")
        if options.seed is not None:
            parts.append(f"seed {options.seed}")
        return f"{' '.join(parts)} {options.optimizer} [{self.experiment_id[:IDENTITY_DIGITS]}]"


def _config_type(name: str, annotation: Any) -> Any:
    """The type by which the launchpad completes and checks a value."""
    plain, _ = without_none(annotation)
    origin = typing.get_origin(plain)
    if origin is typing.Literal:
        return enum.Enum(name, {choice: choice for choice in typing.get_args(plain)})
    if origin is list:
        return list[_config_type(name, typing.get_args(plain)[0])]  # type: ignore[misc]
    if isinstance(plain, type) and issubclass(plain, BaseModel):
        return _config_class(plain)
    return plain


def _config_class(model: type[BaseModel]) -> type[dg.Config]:
    """The configuration of a part of the record, field for field."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind = _config_type(name, field.annotation)
        default = ... if field.is_required() else field.default
        fields[name] = (kind | None if default is None else kind, Field(default, description=field.description))
    return create_model(f"{model.__name__}Config", __base__=dg.Config, **fields)


def _axis(name: str, field: FieldInfo) -> Any:
    kind = _config_type(name, field.annotation)
    default = [] if field.default is None else [field.default]
    return list[kind], Field(default, description=f"{field.description} A list: one run for each value.")  # type: ignore[valid-type]


def _limit(name: str, field: FieldInfo) -> Any:
    kind = _config_type(name, field.annotation)
    return (kind | None if field.default is None else kind), Field(field.default, description=field.description)


class CampaignConfig(dg.Config):
    """What a campaign says beside the options of its runs."""

    tier: int | None = Field(None, description="Compute this tier, 1 to 4; then the options below are not given.")
    campaign_file: str | None = Field(None, description="Compute this campaign file (YAML, absolute path) instead.")
    seeds: str | None = Field(None, description="Only these seeds of the tier or campaign file, like 1..3 or 1,5.")
    optimizers: str | None = Field(None, description="Only these optimizers of the tier or campaign file, A,B,...")
    molecule: _config_class(MoleculeData) | None = Field(  # type: ignore[valid-type]
        None, description="Geometry of the partition's molecule; the catalogue's when not given."
    )
    molecule_file: str | None = Field(None, description="Molecule file that holds it, instead of `molecule`.")
    scan: _config_class(ScanSpec) | None = Field(  # type: ignore[valid-type]
        None, description="Bond or angle to scan: every combination of options gives a potential-energy curve."
    )
    force: bool = Field(False, description="Compute again what has already landed.")
    report: bool = Field(False, description="Write a report (HTML, PDF) of each computed run and of the molecule.")
    campaign: str | None = Field(None, description="A name to find the runs by.")
    molecules: list[str] = Field([], description="Partitions that the campaign is of; of another it asks nothing.")
    skip_infeasible: bool = Field(
        False, description="List the runs that cannot fit, with what would, and go on; else they fail."
    )
    run_seconds: float | None = Field(
        None,
        description="Time limit of each run (seconds): one that takes longer is ended and listed as timed out, its "
        "checkpoint is kept. QPIPE_RUN_SECONDS when not given.",
    )
    executor: Executor = Field(
        Executor.local,
        description="local: processes of this machine; spark: one run a task of QPIPE_ENGINE=spark's session, landing "
        "in the object store itself.",
    )

    def geometry(self, partition: str) -> Molecule:
        """The molecule of a partition.

        Raises:
            CampaignError: there is no geometry, more than one, or one of another molecule.
        """
        try:
            return self._geometry(partition)
        except (MoleculeError, OSError) as error:
            raise CampaignError(f"molecule of partition {partition!r}: {error}") from error

    def _geometry(self, partition: str) -> Molecule:
        if self.molecule is not None and self.molecule_file is not None:
            raise CampaignError("molecule and molecule_file exclude each other: give one")
        if self.molecule is not None:
            given = Molecule.from_mapping(self.molecule.model_dump())
            if partition_key(given) != partition:
                raise CampaignError(
                    f"the given geometry is of {partition_key(given)}, the partition is {partition}: "
                    f"materialize partition {partition_key(given)} instead"
                )
            return given
        if self.molecule_file is not None:
            molecules = load_molecules(self.molecule_file)
            matching = [molecule for molecule in molecules if partition_key(molecule) == partition]
            if len(matching) != 1:
                found = ", ".join(sorted(partition_key(molecule) for molecule in molecules)) or "no molecule"
                raise CampaignError(
                    f"{self.molecule_file} holds {found}: expected {partition} once; give it as `molecule` instead"
                )
            return matching[0]
        known = catalogue()
        if partition not in known:
            raise CampaignError(
                f"partition {partition!r} has no geometry in the catalogue ({', '.join(known)}): "
                "give molecule or molecule_file in the run configuration"
            )
        return known[partition]

    def options(self) -> list[VQEOptions]:
        """The product of all axes, resolved.

        Raises:
            CampaignError: a combination is impossible; names each.
        """
        made, wrong = [], []
        for combination in self._combinations():
            try:
                made.append(VQEOptions.model_validate(combination).resolved())
            except ValidationError as error:
                reason = reasons(error)
                if reason not in wrong:
                    wrong.append(reason)
        if wrong:
            raise CampaignError("impossible options: " + " | ".join(wrong))
        return made

    def _combinations(self) -> Iterator[dict[str, Any]]:
        # What is not given is left to VQEOptions' own default.
        limits = {name: value for name in SINGLE if (value := getattr(self, name)) is not None}
        given = {name: getattr(self, name) for name in _AXES if getattr(self, name)}
        for values in itertools.product(*given.values()):
            combination = zip(given, (_plain(value) for value in values), strict=True)
            yield limits | dict(combination)

    def plan(self, partition: str) -> tuple[list[PlannedRun], int]:
        """The runs of the campaign, each experiment once, and how many repeated another.

        Raises:
            CampaignError: the molecule, a combination or the time limit is impossible.
        """
        if self.run_seconds is not None and not 0 < self.run_seconds < math.inf:
            raise CampaignError(f"run_seconds is {self.run_seconds:g}, expected a number of seconds above 0")
        if self.molecules and partition not in self.molecules:
            return [], 0
        geometry = self.geometry(partition)
        options = self.options()
        asked = [run for o in options for run in self._runs(geometry, o)]
        runs = {run.experiment_id: run for run in asked}
        return list(runs.values()), len(asked) - len(runs)

    def _runs(self, geometry: Molecule, options: VQEOptions) -> list[PlannedRun]:
        """One run, or one for each point of the scan."""
        if self.scan is None:
            return [PlannedRun(experiment_id(geometry, options), geometry, options)]
        try:
            spec = ScanSpec.model_validate(_plain_values(self.scan))
            points = plan_scan(geometry, spec, options)
        except ValidationError as error:
            raise CampaignError(f"scan: {reasons(error)}") from error
        except ScanError as error:
            raise CampaignError(f"scan: {error}") from error
        return [PlannedRun(p.experiment_id, p.point.molecule, p.options, p, points[0]) for p in points]


def _plain_values(part: BaseModel) -> dict[str, Any]:
    return {name: _plain(value) for name, value in part}


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    return value.model_dump() if isinstance(value, BaseModel) else value


_AXES = (*(name for name in VQEOptions.model_fields if name not in (*SINGLE, *LAST_AXES)), *LAST_AXES)

VQERunsConfig = create_model(
    "VQERunsConfig",
    __base__=CampaignConfig,
    **{name: _axis(name, VQEOptions.model_fields[name]) for name in _AXES},
    **{name: _limit(name, VQEOptions.model_fields[name]) for name in SINGLE},
)
"""Configuration of the asset vqe_runs."""
