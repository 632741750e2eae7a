"""How a run is watched: the settings of the performance monitor, and the variables of the environment that set them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from simulation.validation import reasons

VARIABLES = {
    "enabled": "MONITORING_ENABLED",
    "interval": "MONITORING_INTERVAL",
    "export_format": "MONITORING_EXPORT_FORMAT",
    "pushgateway": "PUSHGATEWAY_URL",
    "container_type": "CONTAINER_TYPE",
}
"""Variable of the environment behind each setting that has one."""


class MonitorSettingsError(ValueError):
    """A setting of the monitor that cannot be used; names it, its value and what is expected."""


class MonitorSettings(BaseModel):
    """How a run is watched. `load_monitor_settings` completes what is not given from the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(False, description="Watch processor, memory and GPU while a run goes on.")
    interval: Annotated[FiniteFloat, Field(ge=0.1, le=86_400)] = Field(30.0, description="Seconds between two looks.")
    export_format: Literal["json", "prometheus", "both"] = Field(
        "both", description="Files, a Prometheus PushGateway, or both; both is files alone where no gateway is named."
    )
    pushgateway: SecretStr | None = Field(
        None, description="URL of the Prometheus PushGateway, with user:password@ where it asks for them."
    )
    folder: Path = Field(Path("gen/performance_metrics"), description="Where the files go.")
    container_type: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = Field(
        "unknown", description="The deployment's name for what this process runs in; a label of every metric."
    )

    @field_validator("pushgateway", mode="after")
    @classmethod
    def _usable_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        text = _with_scheme(url.get_secret_value())
        if not _names_a_server(text):
            raise ValueError("expected http://HOST:PORT or https://HOST:PORT, without ? and #")
        return SecretStr(text)

    @model_validator(mode="after")
    def _somewhere_to_push(self) -> Self:
        if self.enabled and self.export_format == "prometheus" and self.pushgateway is None:
            raise ValueError("export_format 'prometheus' needs the URL of a PushGateway: give it, or use 'json'")
        return self

    @property
    def writes_files(self) -> bool:
        """Whether snapshots are written as JSON files."""
        return self.export_format in ("json", "both")

    @property
    def gateway(self) -> SecretStr | None:
        """The PushGateway that metrics go to, None when they go to none."""
        return self.pushgateway if self.export_format in ("prometheus", "both") else None


def load_monitor_settings(given: Mapping[str, Any] | None = None, name: Callable[[str], str] = str) -> MonitorSettings:
    """The settings: what is given comes before the environment, the environment before the defaults.

    A gateway that is given without user and password takes those of PUSHGATEWAY_URL, where that is the same gateway: a
    secret has no place on a command line or in a file.

    Args:
        given: Values by field name; None is not given.
        name: Makes of a given field's name what the reader of an error calls it.

    Raises:
        MonitorSettingsError: a value cannot be used; names the field or the variable, and no password.
    """
    values = {field: value for field, value in (given or {}).items() if value is not None}
    sources = {field: name(field) for field in values}
    for field, variable in VARIABLES.items():
        text = os.environ.get(variable)
        if text and (field not in values or (field == "pushgateway" and _is_without_credentials(values[field], text))):
            values[field] = text
            sources[field] = variable
    try:
        return MonitorSettings.model_validate(values)
    except ValidationError as error:
        raise MonitorSettingsError(reasons(error, lambda field: sources.get(field, field), shown)) from None


def shown(value: object) -> str:
    """Text of a value for messages, without the password of a URL."""
    return repr(without_credentials(value) if isinstance(value, str) else value)


def without_credentials(url: str) -> str:
    """The URL without user and password."""
    return re.sub(r"^([a-zA-Z][a-zA-Z0-9+.-]*://)?.*@", r"\1", url)


def _is_without_credentials(given: SecretStr | str, url: str) -> bool:
    """Whether what is given is this URL but for user and password."""
    text = given.get_secret_value() if isinstance(given, SecretStr) else given
    return _with_scheme(text) == without_credentials(_with_scheme(url))


def _with_scheme(url: str) -> str:
    return (url if "://" in url else f"http://{url}").rstrip("/")


def _names_a_server(url: str) -> bool:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:  # its text quotes what stands for the port, which may be a password
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and not parts.query + parts.fragment
