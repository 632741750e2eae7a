"""Settings of `qpipe exporter`: where it listens, and for how long pushed metrics live."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from qpipe_resources.batch_metrics import BATCH_JOB
from qpipe_resources.metrics_push import SYSTEM_JOB, VQE_JOB
from simulation.validation import reasons, set_in_environment

VARIABLES = {
    "host": "QPIPE_EXPORTER_HOST",
    "port": "QPIPE_EXPORTER_PORT",
    "interval": "QPIPE_EXPORTER_INTERVAL",
    "run_seconds": "QPIPE_METRICS_RUN_SECONDS",
    "system_seconds": "QPIPE_METRICS_SYSTEM_SECONDS",
    "batch_seconds": "QPIPE_METRICS_BATCH_SECONDS",
}
"""Variable of the environment behind each setting."""

_Lifetime = Annotated[FiniteFloat, Field(ge=1)]


class ExporterSettingsError(ValueError):
    """A setting of the exporter that cannot be used; names it, its value and what is expected."""


class ExporterSettings(BaseModel):
    """How the exporter works; a lifetime counts from a group's last push, in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, Field(min_length=1)] = Field(
        "127.0.0.1", description="Address to listen on; another than loopback only inside a network that is trusted."
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(9188, description="Port to listen on; 0 takes a free one.")
    interval: Annotated[FiniteFloat, Field(ge=0.1, le=3600)] = Field(
        15.0, description="Seconds between two looks at Dagster and at the PushGateway."
    )
    run_seconds: _Lifetime = Field(3600.0, description="Lifetime of a run's metrics; Prometheus has them by then.")
    system_seconds: _Lifetime = Field(
        600.0, description="Lifetime of a machine's metrics, whose process was killed; longer than MONITORING_INTERVAL."
    )
    batch_seconds: _Lifetime = Field(172_800.0, description="Lifetime of a campaign's counts; longer than its pauses.")

    @property
    def lifetimes(self) -> dict[str, float]:
        """Lifetime in seconds by the beginning of the job's name."""
        return {VQE_JOB: self.run_seconds, SYSTEM_JOB: self.system_seconds, BATCH_JOB: self.batch_seconds}


def load_exporter_settings(given: Mapping[str, Any] | None = None) -> ExporterSettings:
    """The settings: what is given comes before the environment, the environment before the defaults.

    Raises:
        ExporterSettingsError: a value cannot be used.
    """
    values: dict[str, Any] = dict(set_in_environment(VARIABLES))
    chosen = {field: value for field, value in (given or {}).items() if value is not None}
    try:
        return ExporterSettings.model_validate(values | chosen)
    except ValidationError as error:
        raise ExporterSettingsError(
            reasons(error, lambda field: f"--{field}" if field in chosen else VARIABLES.get(field, field), repr)
        ) from None
