"""Where this installation keeps its data and which limits it obeys: the ONE reading of the environment.

Every value comes from one `QPIPE_*` variable (DAGSTER_HOME included); nothing is read at import.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, SecretStr, ValidationError, field_validator

MEBIBYTE = 1024 * 1024
_BUCKET = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"


_SECRET = ("catalog_uri", "s3_endpoint")


class SettingsError(ValueError):
    """An environment variable holds a value that cannot be used."""


class Settings(BaseModel):
    """The installation. Two different homes never meet: all state lies under `home` and `dagster_home`."""

    model_config = ConfigDict(frozen=True)

    home: Path = Field(description="QPIPE_HOME: root of all data.")
    dagster_home: Path = Field(description="DAGSTER_HOME: Dagster's own state.")
    env: Literal["local", "s3", "services"] = Field(
        "local",
        description="QPIPE_ENV: local is a folder and SQLite; s3 is an S3 store and a catalog on PostgreSQL; services "
        "is s3 with results on their way through Kafka.",
    )
    engine: Literal["embedded", "spark"] = Field(
        "embedded",
        description="QPIPE_ENGINE: what computes the tables: embedded is this process; spark is as QPIPE_SPARK_* say.",
    )
    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = Field(
        "experiment.vqe",
        description="QPIPE_TOPIC: Kafka topic of the results, and folder below experiments/ that they go to.",
    )
    max_object_bytes: Annotated[int, Field(ge=1024)] = Field(
        # Of what Kafka takes, 64 MiB of Avro, numbers written out as JSON are 160 MiB.
        192 * MEBIBYTE,
        description="QPIPE_MAX_OBJECT_BYTES: a larger object is quarantined unread, until a higher limit takes it.",
    )
    batch_bytes: Annotated[int, Field(ge=1)] = Field(
        16 * MEBIBYTE,
        description="QPIPE_BATCH_BYTES: raw bytes decoded at once, of Avro two fifths; bounds the memory of an ingest.",
    )
    retained_batches: Annotated[int, Field(ge=1)] = Field(
        20, description="QPIPE_RETAINED_BATCHES: newest snapshots of a table whose tags are kept."
    )
    retained_days: Annotated[int, Field(ge=0)] = Field(
        90, description="QPIPE_RETAINED_DAYS: days of which the last snapshot's tag is kept besides."
    )
    expire_every: Annotated[int, Field(ge=1)] = Field(
        8, description="QPIPE_EXPIRE_EVERY: expirable snapshots of a table that trigger an expiry."
    )
    orphan_days: Annotated[int, Field(ge=1)] = Field(
        3,
        description="QPIPE_ORPHAN_DAYS: days after which a file that no retained version of a table needs is removed; "
        "more than any ingest, commit or query takes.",
    )
    workers: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None,
        description="QPIPE_WORKERS: simulation processes; half the cores, at least one and at most eight, when unset.",
    )
    run_seconds: Annotated[FiniteFloat, Field(gt=0)] | None = Field(
        None,
        description="QPIPE_RUN_SECONDS: time limit of each run of a campaign that names none of its own; none when "
        "unset.",
    )
    sent_days: Annotated[int, Field(ge=1)] = Field(
        7,
        description="QPIPE_SENT_DAYS: days after which a record that was sent and is in no table is told of; where "
        "no ledger can be asked, it leaves the outbox then.",
    )

    s3_endpoint: Annotated[str, Field(pattern=r"^https?://[^/@?#]+/?$")] = Field(
        "http://127.0.0.1:3901",
        description="QPIPE_S3_ENDPOINT: URL of the S3 API; its key comes from AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or whatever else the AWS client finds.",
    )
    s3_region: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] = Field(
        "garage", description="QPIPE_S3_REGION: region that requests are signed for."
    )
    s3_raw_bucket: Annotated[str, Field(pattern=_BUCKET)] = Field(
        "raw-results", description="QPIPE_S3_RAW_BUCKET: bucket of the raw objects."
    )
    s3_features_bucket: Annotated[str, Field(pattern=_BUCKET)] = Field(
        "features", description="QPIPE_S3_FEATURES_BUCKET: bucket of the Iceberg tables, below warehouse/."
    )
    catalog_uri: SecretStr = Field(
        SecretStr("postgresql+psycopg2://qpipe@127.0.0.1:5432/qpipe"),
        description="QPIPE_CATALOG_URI: database of catalog and ledger; its password best comes from PGPASSWORD.",
    )

    @field_validator("catalog_uri")
    @classmethod
    def _postgresql(cls, uri: SecretStr) -> SecretStr:
        if not uri.get_secret_value().startswith("postgresql+psycopg2://"):
            raise ValueError("expected postgresql+psycopg2://USER@HOST:PORT/DATABASE")
        return uri

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
    def outbox(self) -> Path:
        """Folder of the records that were computed here and are not in the tables yet."""
        return self.home / "outbox"

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
        # What should be a URL may hold a password.
        value = "" if name in _SECRET else f"={first['input']!r}"
        raise SettingsError(f"QPIPE_{name.upper()}{value}: {first['msg']}") from None
