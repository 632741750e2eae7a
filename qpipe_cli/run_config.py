"""What `qpipe simulate` was asked, as one value: dumped to a file, loaded from it, never with a secret.

The file holds the molecules themselves and the options with nothing left open, so that it asks for the same experiments
wherever it is loaded. Secrets are in the environment: a PushGateway's URL is written without user and password, and the
settings of Kafka without passwords.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qpipe_cli.output import Format
from qpipe_resources.kafka.settings import SECRETS, VARIABLES
from simulation.monitor_settings import MonitorSettings, shown, without_credentials
from simulation.options import VQEOptions
from simulation.record import MoleculeData
from simulation.validation import reasons

VERSION: Literal[1] = 1
FOLDER = Path("run_configs")
REPORTS = Path("reports")


class RunConfigError(ValueError):
    """A file that is no run configuration of this version; names the file and what is wrong with it."""


class OutputChoices(BaseModel):
    """Where results go and what is said meanwhile."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    output_dir: Path | None = Field(
        None,
        description="Write records and reports here. Else records go to the raw object store, reports to reports/.",
    )
    force: bool = Field(False, description="Compute runs again that have already landed.")
    report: bool = Field(False, description="Write a report of each run, HTML and PDF.")
    format: Format = Field(Format.TABLE, description="Form of the printed summary.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="What is told on standard error; progress is INFO."
    )

    @property
    def report_folder(self) -> Path:
        """Where reports go."""
        return self.output_dir or REPORTS


class RunConfig(BaseModel):
    """Everything that decides what a command computes and where that goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = VERSION
    molecules: Annotated[list[MoleculeData], Field(min_length=1)]
    options: VQEOptions
    output: OutputChoices
    monitoring: MonitorSettings
    kafka: dict[str, str | int | float | bool | None] | None = None
    """Settings by which records are to go to Kafka, but for secrets; None leaves that to the environment."""

    def to_json(self) -> str:
        """The configuration as JSON text, without secrets and without what belongs to this machine's deployment."""
        values = self.model_dump(mode="json", exclude={"monitoring": {"container_type"}})
        gateway = self.monitoring.pushgateway
        values["monitoring"]["pushgateway"] = without_credentials(gateway.get_secret_value()) if gateway else None
        return json.dumps(values, indent=2, allow_nan=False) + "\n"


def dump(config: RunConfig, stem: str) -> Path:
    """Write a configuration into `run_configs/`; returns the file, which replaces none of another content.

    Args:
        config: What is written.
        stem: Start of the file's name: the molecule file's, or the molecules.

    Raises:
        OSError: the file cannot be written.
    """
    options = config.options
    where = "api" if options.engine == "ibm" else "local"
    name = f"{stem}-{options.basis}-{options.optimizer}-{where}-{dt.datetime.now():%Y%m%d}"
    text = config.to_json()
    FOLDER.mkdir(exist_ok=True)
    for number in itertools.count(1):
        path = FOLDER / (f"{name}.json" if number == 1 else f"{name}-{number}.json")
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            if path.read_text(encoding="utf-8") != text:
                continue
        return path
    raise AssertionError("count() has no end")


def load(path: Path) -> RunConfig:
    """Read a configuration.

    Raises:
        RunConfigError: the file is no JSON object, of another version, has unknown keys, or impossible values.
        OSError: it cannot be read.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise RunConfigError(f"{path} holds a JSON {type(values).__name__}, expected an object that --dump wrote")
    if values.get("version") != VERSION:
        raise RunConfigError(f"{path}: version is {values.get('version')!r}, expected {VERSION}: dump it again")
    _refuse_secrets(values.get("kafka"), path)
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise RunConfigError(f"{path}: {reasons(error, shown=shown)}") from None
    unknown = list(_unknown(values, config.model_dump(mode="json")))
    if unknown:
        raise RunConfigError(f"{path}: unknown key {unknown[0]}, expected only what --dump writes")
    return config


def _refuse_secrets(kafka: Any, path: Path) -> None:
    """Refuse them before anything quotes the value."""
    for name in SECRETS:
        if isinstance(kafka, dict) and kafka.get(name) is not None:
            raise RunConfigError(f"{path}: kafka.{name} is a secret, no part of a file: set {VARIABLES[name]} instead")


def _unknown(given: Any, known: Any, path: str = "") -> Iterator[str]:
    """Keys that the parts of a record would overlook, which ignore what newer writers add."""
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            where = f"{path}.{key}" if path else str(key)
            if key not in known:
                yield where
            else:
                yield from _unknown(value, known[key], where)
    elif isinstance(given, list) and isinstance(known, list):
        for index, (one, other) in enumerate(zip(given, known, strict=False)):
            yield from _unknown(one, other, f"{path}[{index}]")
