"""Settings of the export: where it goes, with which key, when, and how many files travel at once."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from qpipe_resources.s3_bucket import S3Access
from simulation.validation import reasons

VARIABLES = {
    "target": "QPIPE_EXPORT_TARGET",
    "s3_endpoint": "QPIPE_EXPORT_S3_ENDPOINT",
    "s3_region": "QPIPE_EXPORT_S3_REGION",
    "s3_access_key_id": "QPIPE_EXPORT_S3_ACCESS_KEY_ID",
    "s3_secret_access_key": "QPIPE_EXPORT_S3_SECRET_ACCESS_KEY",
    "license": "QPIPE_EXPORT_LICENSE",
    "schedule": "QPIPE_EXPORT_SCHEDULE",
    "transfers": "QPIPE_EXPORT_TRANSFERS",
    "checkers": "QPIPE_EXPORT_CHECKERS",
    "timeout_seconds": "QPIPE_EXPORT_TIMEOUT_SECONDS",
}
"""Variable of the environment behind each setting."""
EARLIER = {
    "schedule": "R2_SYNC_SCHEDULE",
    "transfers": "R2_SYNC_TRANSFERS",
    "checkers": "R2_SYNC_CHECKERS",
    "timeout_seconds": "R2_SYNC_TIMEOUT_SECONDS",
}
"""Names that some of them had in the Airflow deployment; read where the variable of today is not set."""
SECRETS = ("s3_access_key_id", "s3_secret_access_key")


class ExportSettingsError(ValueError):
    """A setting of the export that cannot be used; names the variable, its value and what is expected."""


class ExportSettings(BaseModel):
    """How exports are made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str = Field("", description="Folder, or s3://BUCKET/PREFIX, of exports that Dagster makes.")
    s3_endpoint: Annotated[str, Field(pattern=r"^$|^https?://[^/@?#]+/?$")] = Field(
        "", description="URL of the target's S3 API; the source's when empty."
    )
    s3_region: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]*$")] = Field(
        "", description="Region that requests to the target are signed for; the source's when empty."
    )
    s3_access_key_id: str = Field("", description="Key of the target; what the AWS client finds when empty.")
    s3_secret_access_key: SecretStr = Field(SecretStr(""), description="Its secret.")
    license: str = Field("", description="Licence of the data, as the manifest and the datasheet state it.")
    schedule: str = Field("", description="Cron expression (UTC) by which Dagster exports; never when empty.")
    transfers: Annotated[int, Field(ge=1, le=64)] = Field(8, description="Files that are written at once.")
    checkers: Annotated[int, Field(ge=1, le=64)] = Field(4, description="Files that are read at once.")
    timeout_seconds: Annotated[int, Field(ge=60)] = Field(3600, description="Longest run of Dagster's job.")

    @model_validator(mode="after")
    def _key_and_secret(self) -> ExportSettings:
        if bool(self.s3_access_key_id) != bool(self.s3_secret_access_key.get_secret_value()):
            raise ValueError(
                f"{VARIABLES['s3_access_key_id']} and {VARIABLES['s3_secret_access_key']} belong together: "
                "set both, or neither"
            )
        return self

    @model_validator(mode="after")
    def _cron(self) -> ExportSettings:
        if self.schedule and len(self.schedule.split()) != 5 and not self.schedule.startswith("@"):
            raise ValueError(
                f"{VARIABLES['schedule']}={self.schedule!r}: expected a cron expression of five fields, say '0 6 * * *'"
            )
        return self

    @property
    def access(self) -> S3Access:
        """The key of the target, and the names of its settings."""
        return S3Access(
            self.s3_access_key_id,
            self.s3_secret_access_key,
            keys=f"{VARIABLES['s3_access_key_id']} and {VARIABLES['s3_secret_access_key']}",
            endpoint=VARIABLES["s3_endpoint"],
            region=VARIABLES["s3_region"],
            buckets=f"{VARIABLES['target']}, or to the command",
        )


def load_export_settings() -> ExportSettings:
    """The settings of the environment.

    Raises:
        ExportSettingsError: a value cannot be used.
    """
    set_by = {field: name for field, name in VARIABLES.items() if os.environ.get(name)}
    set_by |= {f: name for f, name in EARLIER.items() if f not in set_by and os.environ.get(name)}
    try:
        return ExportSettings.model_validate({field: os.environ[name] for field, name in set_by.items()})
    except ValidationError as error:
        raise ExportSettingsError(reasons(error, lambda field: set_by.get(field, field), _shown)) from None


def _shown(value: object) -> str:
    # What should be a URL may hold a password.
    return "(hidden)" if "@" in str(value) else repr(value)
