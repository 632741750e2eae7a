"""Where this installation keeps its data and which limits it obeys: the ONE reading of the environment.

Every value comes from one `QPIPE_*` variable (DAGSTER_HOME included); nothing is read at import.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

MEBIBYTE = 1024 * 1024


class SettingsError(ValueError):
    """An environment variable holds a value that cannot be used."""


class Settings(BaseModel):
    """The installation. Two different homes never meet: all state lies under `home` and `dagster_home`."""

    model_config = ConfigDict(frozen=True)

    home: Path = Field(description="QPIPE_HOME: root of all data.")
    dagster_home: Path = Field(description="DAGSTER_HOME: Dagster's own state.")
    env: str = Field("local", description="QPIPE_ENV: which set of resources to use.")
    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = Field(
        "experiment.vqe", description="QPIPE_TOPIC: folder below experiments/ that new objects go to."
    )
    max_object_bytes: Annotated[int, Field(ge=1024)] = Field(
        128 * MEBIBYTE, description="QPIPE_MAX_OBJECT_BYTES: a larger object is quarantined unread."
    )
    batch_bytes: Annotated[int, Field(ge=1)] = Field(
        6 * MEBIBYTE,
        description="QPIPE_BATCH_BYTES: raw bytes decoded at once; bounds the memory of an ingest.",
    )
    retained_batches: Annotated[int, Field(ge=1)] = Field(
        20, description="QPIPE_RETAINED_BATCHES: newest snapshots of a table whose tags are kept."
    )
    retained_days: Annotated[int, Field(ge=0)] = Field(
        90, description="QPIPE_RETAINED_DAYS: days of which the last snapshot's tag is kept besides."
    )
    expire_every: Annotated[int, Field(ge=1)] = Field(
        32, description="QPIPE_EXPIRE_EVERY: expirable snapshots of a table that trigger an expiry."
    )
    workers: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None,
        description="QPIPE_WORKERS: simulation processes; half the cores, at least one and at most eight, when unset.",
    )

    @field_validator("home")
    @classmethod
    def _no_uri_syntax(cls, home: Path) -> Path:
        """Catalog and tables name files by URI, where these characters would silently mean another file."""
        if found := sorted(set("#?%") & set(str(home))):
            raise ValueError(f"expected a path without {' '.join(found)}")
        return home

    @property
    def raw_results(self) -> Path:
        """Folder that plays the bucket `raw-results`: experiments/, staging/ and quarantine/ lie in it."""
        return self.home / "raw-results"

    @property
    def checkpoints(self) -> Path:
        """Folder of the evaluations of runs that are under way, to go on with after a kill."""
        return self.home / "checkpoints"

    @property
    def reports(self) -> Path:
        """Folder of the reports that campaigns write."""
        return self.home / "reports"

    @property
    def warehouse(self) -> Path:
        """Folder of the Iceberg tables' metadata and data."""
        return self.home / "features" / "warehouse"

    @property
    def catalog_database(self) -> Path:
        """SQLite file of the Iceberg catalog and the ledger."""
        return self.home / "catalog.db"


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a variable's value is out of range; names the variable, the value and the expectation.
    """
    home = Path(os.environ.get("QPIPE_HOME") or ".qpipe").expanduser().absolute()
    dagster_home = os.environ.get("DAGSTER_HOME")
    values: dict[str, object] = {
        "home": home,
        "dagster_home": Path(dagster_home).expanduser().absolute() if dagster_home else home / "dagster",
    }
    for name in Settings.model_fields:
        text = os.environ.get(f"QPIPE_{name.upper()}")
        if name not in values and text:
            values[name] = text
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise SettingsError(f"QPIPE_{name.upper()}={first['input']!r}: {first['msg']}") from error
