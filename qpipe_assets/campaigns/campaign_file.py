"""A campaign as a file: molecules, basis sets, circuits, optimizers, starts, seeds, limits; its runs are the product.

The order of the runs is molecule, basis, ansatz, optimizer (phase after phase), start, seed. The four tiers are such
files, shipped beside this module, and nowhere else declared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    field_validator,
    model_validator,
)

from qpipe_assets.campaign import SINGLE, CampaignError, PlannedRun, VQERunsConfig
from simulation.molecules import MoleculeError, catalogue, load_molecules, partition_key
from simulation.options import AnsatzName, Basis, Count, InitStrategy, Seed, VQEOptions
from simulation.validation import reasons

_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST_SEEDS = 100_000
_OWN = ("basis", "ansatz", "optimizer", "init_strategy", "seed", "threshold", "max_iterations", "previous")
"""Options that a campaign says in its own words, or cannot say for all its runs."""


def seed_list(value: Any) -> list[Any]:
    """Seeds as people write them: 7, '1..25', '1,2,5..7', or a list of these; a range includes both ends.

    Raises:
        ValueError: a range runs backwards, is huge, or something is no whole number.
    """
    seeds: list[Any] = []
    for part in value if isinstance(value, list) else str(value).split(","):
        text = str(part).strip()
        if (found := _RANGE.fullmatch(text)) is not None:
            first, last = int(found[1]), int(found[2])
            if not 0 <= last - first < _MOST_SEEDS:
                raise ValueError(f"the range {text} is not of 1 to {_MOST_SEEDS} seeds: write FIRST..LAST")
            seeds += range(first, last + 1)
        elif text.isdecimal():
            seeds.append(int(text))
        else:
            raise ValueError(f"{text!r} is no seed: expected whole numbers or ranges like 1..25")
    return seeds


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _phases_joined(value: Any) -> Any:
    """Optimizers phase after phase: a list in the list is a phase."""
    if not isinstance(value, list):
        return _listed(value)
    return [name for part in value for name in (part if isinstance(part, list) else [part])]


def _each_once(values: list[Any]) -> list[Any]:
    if repeated := {value for value in values if values.count(value) > 1}:
        raise ValueError(f"{sorted(map(str, repeated))} is given more than once")
    return values


class Limits(BaseModel):
    """When a run of the campaign stops: one of the first two, or the optimizer's own rule; and when it is ended."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: Annotated[float, Field(gt=0)] | None = Field(None, description="Convergence on the energy (Hartree).")
    max_iterations: Count | None = Field(None, description="Hard cap on energy evaluations.")
    run_seconds: Annotated[FiniteFloat, Field(gt=0)] | None = Field(
        None, description="A run that takes longer is ended and listed as timed_out; no experiment's identity has it."
    )


class Campaign(BaseModel):
    """What a campaign file holds.

    Raises:
        pydantic.ValidationError: a field is unknown or impossible, or a combination of options is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = Field(description="What its runs are found by.")
    description: str = Field("", description="One line for people.")
    molecules: Annotated[list[str], BeforeValidator(_listed)] = Field(
        min_length=1, description="Partition keys: names of the catalogue, or of `molecule_file`."
    )
    molecule_file: Path | None = Field(
        None, description="File with the geometries, relative to the campaign file; the catalogue's when not given."
    )
    basis: Annotated[list[Basis], BeforeValidator(_listed)] = Field(["sto3g"], min_length=1)
    ansatz: Annotated[list[AnsatzName], BeforeValidator(_listed)] = Field(min_length=1)
    optimizers: Annotated[list[str], BeforeValidator(_phases_joined)] = Field(
        min_length=1, description="Names, in the order in which they run; a list in the list is a phase."
    )
    init_strategies: Annotated[list[InitStrategy], BeforeValidator(_listed)] = Field(min_length=1)
    seeds: Annotated[list[Seed], BeforeValidator(seed_list)] = Field(
        min_length=1, description="Numbers and ranges: 1..25."
    )
    limits: Limits = Field(Limits(), description="When a run stops.")
    options: dict[str, Any] = Field({}, description="More options, the same for all runs, by VQEOptions' names.")

    @field_validator("molecules", "basis", "ansatz", "optimizers", "init_strategies", "seeds")
    @classmethod
    def _no_repetition(cls, values: list[Any]) -> list[Any]:
        return _each_once(values)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        known = sorted(set(VQEOptions.model_fields) - set(_OWN))
        if unknown := sorted(set(self.options) - set(known)):
            raise ValueError(f"options has {unknown}, expected some of {known}")
        try:
            self.run_config.options()
        except CampaignError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def phases(self) -> str:
        """The optimizers in their order, for people."""
        return ", ".join(self.optimizers)

    def asked(self) -> dict[str, Any]:
        """The configuration of vqe_runs that asks for the runs of this campaign."""
        further = {name: value if name in SINGLE else [value] for name, value in self.options.items()}
        limits = {name: value for name, value in self.limits.model_dump().items() if value is not None}
        file = {} if self.molecule_file is None else {"molecule_file": str(self.molecule_file)}
        return {
            "campaign": self.name,
            "molecules": self.molecules,
            "basis": self.basis,
            "ansatz": self.ansatz,
            "optimizer": self.optimizers,
            "init_strategy": self.init_strategies,
            "seed": self.seeds,
            "skip_infeasible": True,
            **limits,
            **file,
            **further,
        }

    @property
    def run_config(self) -> VQERunsConfig:
        """The same, as what vqe_runs gets."""
        try:
            return VQERunsConfig(**self.asked())
        except ValidationError as error:
            raise CampaignError(reasons(error)) from error

    def runs(self, molecule: str) -> list[PlannedRun]:
        """The runs on one molecule, in their order, each experiment once.

        Raises:
            CampaignError: the molecule has no geometry.
        """
        return self.run_config.plan(molecule)[0]

    def plan(self) -> Iterator[tuple[str, list[PlannedRun]]]:
        """All runs, molecule by molecule."""
        for molecule in self.molecules:
            yield molecule, self.runs(molecule)

    def narrowed(self, **parts: Iterable[Any] | None) -> Campaign:
        """The part of the campaign with these molecules, seeds, optimizers ...; None leaves an axis as it is.

        Raises:
            CampaignError: a value is not in the campaign.
        """
        kept = {}
        for name, wanted in parts.items():
            if wanted is None:
                continue
            there, asked = getattr(self, name), list(wanted)
            if strange := [value for value in asked if value not in there]:
                raise CampaignError(
                    f"{name} {', '.join(map(str, strange))}: not in campaign {self.name}, "
                    f"expected some of {', '.join(map(str, there))}"
                )
            if not asked:
                raise CampaignError(f"{name} is empty: expected some of {', '.join(map(str, there))}")
            kept[name] = [value for value in there if value in asked]
        return self.model_copy(update=kept)


def load_campaign(path: str | Path) -> Campaign:
    """Read a campaign file.

    Raises:
        CampaignError: it cannot be read, is no campaign, or asks for something impossible; names the file.
    """
    import yaml

    file = Path(path)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CampaignError(f"campaign file {file} cannot be read ({error}): name another") from error
    except yaml.YAMLError as error:
        raise CampaignError(f"campaign file {file} is not YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise CampaignError(
            f"campaign file {file} holds a {type(content).__name__}, expected name: ..., molecules: ..."
        )
    try:
        found = Campaign.model_validate(content)
        if found.molecule_file is not None:
            found = found.model_copy(update={"molecule_file": file.parent.absolute() / found.molecule_file})
        _check_molecules(found)
    except ValidationError as error:
        raise CampaignError(f"campaign file {file}: {reasons(error)}") from error
    except (CampaignError, MoleculeError, OSError) as error:
        raise CampaignError(f"campaign file {file}: {error}") from error
    return found


def _check_molecules(campaign: Campaign) -> None:
    file = campaign.molecule_file
    known = list(catalogue()) if file is None else [partition_key(molecule) for molecule in load_molecules(file)]
    if unknown := [name for name in campaign.molecules if name not in known]:
        raise CampaignError(
            f"molecules has {', '.join(unknown)}, expected names in {file or 'the catalogue'}: {', '.join(known)}"
        )
