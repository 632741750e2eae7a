"""Settings of the notifications: who is told of what, and through which server. Without an address nobody is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

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

from simulation.validation import reasons, set_in_environment

VARIABLES = {
    "email_to": "QPIPE_NOTIFY_EMAIL_TO",
    "email_from": "QPIPE_NOTIFY_EMAIL_FROM",
    "webhook": "QPIPE_NOTIFY_WEBHOOK",
    "success": "QPIPE_NOTIFY_SUCCESS",
    "failure": "QPIPE_NOTIFY_FAILURE",
    "timeout": "QPIPE_NOTIFY_TIMEOUT",
    "ui_url": "QPIPE_UI_URL",
    "smtp_host": "QPIPE_SMTP_HOST",
    "smtp_port": "QPIPE_SMTP_PORT",
    "smtp_security": "QPIPE_SMTP_SECURITY",
    "smtp_user": "QPIPE_SMTP_USER",
    "smtp_password": "QPIPE_SMTP_PASSWORD",
    "smtp_cafile": "QPIPE_SMTP_CAFILE",
}
"""Variable of the environment behind each setting."""
SECRETS = ("webhook", "smtp_password")
OLD_EMAIL_TO = "AIRFLOW_ALERT_EMAIL"
"""What named the recipients in the Airflow deployment; taken where QPIPE_NOTIFY_EMAIL_TO is not set."""

ALL = "all"
NONE = "none"
PORTS = {"none": 25, "starttls": 587, "tls": 465}
"""Port of a mail server by the security of the connection, where none is given."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_WORD = r"[^\x00-\x20\x7f()<>\[\]:;@\\,\"]+"
_ADDRESS = re.compile(f"{_WORD}@{_WORD}")
_LABEL = r"[A-Za-z0-9_-]{1,63}"
_URL = re.compile(rf"https?://({_LABEL}(\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]+\])(:(?P<port>\d{{1,5}}))?([/?][!-~]*)?")
_HIGHEST_PORT = 65535
_JOB = re.compile(r"[A-Za-z0-9_]+")


class NotifySettingsError(ValueError):
    """A setting of the notifications that cannot be used; names it, its value and what is expected."""


class NotifySettings(BaseModel):
    """Who is told of what. Lists are given as text, joined by commas."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    email_to: tuple[str, ...] = Field((), description="Recipients; without any there are no mails.")
    email_from: str = Field("qpipe@localhost", description="Sender.")
    webhook: SecretStr | None = Field(None, description="URL that gets each notification as JSON.")
    success: tuple[str, ...] = Field(
        ("quantum_feature_processing", "quantum_ml_feature_processing", "vqe_batch_generation"),
        description="Jobs whose success is told: names, all or none.",
    )
    failure: tuple[str, ...] = Field((ALL,), description="Jobs whose failure is told: names, all or none.")
    timeout: Annotated[FiniteFloat, Field(ge=0.1, le=15)] = Field(
        10.0, description="Seconds that all attempts through one channel may take together."
    )
    ui_url: Annotated[str, Field(pattern=r"^https?://[^\s@?#]+$")] = Field(
        "http://127.0.0.1:3000", description="Where readers find Dagster's UI; for links."
    )
    smtp_host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_-]+$")] = Field("localhost", description="Mail server.")
    smtp_port: Annotated[int, Field(ge=1, le=_HIGHEST_PORT)] | None = Field(
        None, description="Its port; 587 for starttls, 465 for tls, 25 for none when unset."
    )
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="TLS after STARTTLS, from the first byte, or none; certificates are checked."
    )
    smtp_user: str | None = Field(None, description="User to sign in as; without one nobody signs in.")
    smtp_password: SecretStr | None = Field(None, description="The user's password.")
    smtp_cafile: str | None = Field(None, description="CA certificates to trust; the system's when unset.")

    @field_validator("email_to", "success", "failure", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("email_to")
    @classmethod
    def _addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [address for address in addresses if not _ADDRESS.fullmatch(address)]:
            raise ValueError(f"expected addresses like name@example.com, joined by commas; found {wrong[0]!r}")
        return addresses

    @field_validator("email_from")
    @classmethod
    def _address(cls, address: str) -> str:
        if not _ADDRESS.fullmatch(address):
            raise ValueError("expected an address like qpipe@example.com")
        return address

    @field_validator("success", "failure")
    @classmethod
    def _jobs(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [name for name in names if not _JOB.fullmatch(name)]:
            raise ValueError(f"expected names of jobs joined by commas, all or none; found {wrong[0]!r}")
        if len(names) > 1 and set(names) & {ALL, NONE}:
            raise ValueError("all and none stand alone")
        return names

    @field_validator("webhook")
    @classmethod
    def _url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            found = _URL.fullmatch(url.get_secret_value())
            if found is None or int(found["port"] or 0) > _HIGHEST_PORT:
                raise ValueError(
                    "expected http://HOST/PATH or https://HOST/PATH in ASCII (xn-- and %-encoding stand for the rest), "
                    f"without user and password, the port at most {_HIGHEST_PORT}"
                )
        return url

    @field_validator("smtp_user", "smtp_password")
    @classmethod
    def _sayable(cls, value: str | SecretStr | None) -> str | SecretStr | None:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text is not None and not text.isascii():
            raise ValueError("expected ASCII, because nothing else can be said to a mail server to sign in")
        return value

    @model_validator(mode="after")
    def _credentials(self) -> Self:
        user, password = VARIABLES["smtp_user"], VARIABLES["smtp_password"]
        if (self.smtp_user is None) != (self.smtp_password is None):
            raise ValueError(f"{user} and {password} go together: set both or neither")
        if self.smtp_user is not None and self.smtp_security == "none" and self.smtp_host not in _LOOPBACK:
            raise ValueError(
                f"{VARIABLES['smtp_security']}=none would send the password to {self.smtp_host} in clear: "
                "use starttls or tls"
            )
        return self

    @property
    def enabled(self) -> bool:
        """Whether anybody is told of anything."""
        return bool(self.email_to or self.webhook)

    @property
    def port(self) -> int:
        """Port of the mail server."""
        return self.smtp_port or PORTS[self.smtp_security]

    def wants(self, job: str, succeeded: bool) -> bool:
        """Whether the end of a job's run is told."""
        chosen = self.success if succeeded else self.failure
        return chosen == (ALL,) or job in chosen


def load_notify_settings(given: Mapping[str, Any] | None = None) -> NotifySettings:
    """The settings: what is given comes before the environment, the environment before the defaults.

    Raises:
        NotifySettingsError: a value cannot be used; secrets are not shown.
    """
    values: dict[str, Any] = dict(set_in_environment(VARIABLES))
    if "email_to" not in values and (old := os.environ.get(OLD_EMAIL_TO)):
        values["email_to"] = old
    try:
        return NotifySettings.model_validate(values | dict(given or {}))
    except ValidationError as error:
        # A model-wide refusal's input is all settings, which `reasons` does not show.
        hidden = {str(item["input"]) for item in error.errors() if item["loc"] and item["loc"][0] in SECRETS}
        text = reasons(
            error, lambda field: VARIABLES.get(field.split(".")[0], field), lambda value: _shown(value, hidden)
        )
        raise NotifySettingsError(text) from None


def _shown(value: Any, hidden: set[str]) -> str:
    return "***" if str(value) in hidden else repr(value)
