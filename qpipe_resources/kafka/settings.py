"""How Kafka and its Schema Registry are reached: the ONE declaration of their options.

Flags of the command line, Dagster's configuration and the variables of the environment derive from it. What is secret
comes from the environment alone.
"""

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

from simulation.monitor_settings import shown
from simulation.validation import reasons

MEBIBYTE = 1024 * 1024

VARIABLES = {
    "servers": "KAFKA_SERVERS",
    "topic": "QPIPE_TOPIC",
    "retries": "KAFKA_RETRIES",
    "retry_delay": "KAFKA_RETRY_DELAY",
    "kafka_retries": "KAFKA_INTERNAL_RETRIES",
    "acks": "KAFKA_ACKS",
    "timeout": "KAFKA_TIMEOUT",
    "max_message_bytes": "KAFKA_MAX_MESSAGE_BYTES",
    "group": "KAFKA_GROUP",
    "ssl": "KAFKA_SSL",
    "ssl_dir": "KAFKA_SSL_DIR",
    "ssl_cafile": "KAFKA_SSL_CAFILE",
    "ssl_certfile": "KAFKA_SSL_CERTFILE",
    "ssl_keyfile": "KAFKA_SSL_KEYFILE",
    "ssl_crlfile": "KAFKA_SSL_CRLFILE",
    "ssl_ciphers": "KAFKA_SSL_CIPHERS",
    "ssl_password": "KAFKA_SSL_PASSWORD",
    "ssl_check_hostname": "KAFKA_SSL_CHECK_HOSTNAME",
    "sasl_ssl": "KAFKA_SASL_SSL",
    "sasl_mechanism": "KAFKA_SASL_MECHANISM",
    "sasl_plain_username": "KAFKA_SASL_PLAIN_USERNAME",
    "sasl_plain_password": "KAFKA_SASL_PLAIN_PASSWORD",
    "sasl_kerberos_service_name": "KAFKA_SASL_KERBEROS_SERVICE_NAME",
    "sasl_kerberos_domain_name": "KAFKA_SASL_KERBEROS_DOMAIN_NAME",
    "registry_url": "SCHEMA_REGISTRY_URL",
    "registry_auth": "SCHEMA_REGISTRY_BASIC_AUTH",
    "registry_cafile": "SCHEMA_REGISTRY_CAFILE",
}
"""Variable of the environment behind each setting."""

SECRETS = ("ssl_password", "sasl_plain_password", "registry_auth")
"""Settings that have no place in files, on command lines or in run configuration."""

DEFAULT_SSL_DIR = Path("secrets")
"""Folder of certificates where TLS is on and nothing else is given; only if it exists."""

_SERVER = re.compile(r"(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")


class KafkaSettingsError(ValueError):
    """Settings of Kafka that cannot be used; names each, its value and what is expected, and no secret."""


class KafkaSettings(BaseModel):
    """How Kafka and its registry are reached. `load_kafka_settings` completes what is not given."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    servers: str = Field("localhost:9092", description="Kafka brokers to start from, HOST:PORT joined by commas.")
    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,249}$")] = Field(
        "experiment.vqe", description="Kafka topic of the results."
    )
    retries: Annotated[int, Field(ge=1, le=1000)] = Field(3, description="Attempts to send a record.")
    retry_delay: Annotated[FiniteFloat, Field(ge=0, le=3600)] = Field(2.0, description="Seconds between two attempts.")
    kafka_retries: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(
        5, description="Retries of the Kafka client within one attempt; 0 also turns its deduplication off."
    )
    acks: Literal["0", "1", "all"] = Field(
        "all",
        description="Who confirms a record: all in-sync replicas, which is safe; 1 loses it with its leader, 0 asks "
        "nobody and can lose it unseen; both can also send it twice.",
    )
    timeout: Annotated[FiniteFloat, Field(ge=1, le=3600)] = Field(
        10.0, description="Seconds that one attempt to send a record may take."
    )
    max_message_bytes: Annotated[int, Field(ge=1024, le=900 * MEBIBYTE)] = Field(
        64 * MEBIBYTE,
        description="Largest record as Avro, in bytes before compression; topic and broker must allow it too.",
    )
    group: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,249}$")] = Field(
        "qpipe-sink", description="Consumer group whose committed offsets say what has landed."
    )
    ssl: bool = Field(False, description="Speak TLS with the brokers.")
    ssl_dir: Path | None = Field(
        None,
        description="Folder with ca.crt and, where the broker asks for a certificate, client.crt and client.key; a "
        "ca.crl is read too. Without folder and single files: ./secrets/ where it exists, else the authorities that "
        "the machine trusts.",
    )
    ssl_cafile: Path | None = Field(None, description="Certificate authority of the brokers (PEM).")
    ssl_certfile: Path | None = Field(None, description="Our certificate (PEM).")
    ssl_keyfile: Path | None = Field(None, description="Key of our certificate (PEM).")
    ssl_crlfile: Path | None = Field(None, description="Revoked certificates (PEM).")
    ssl_ciphers: str | None = Field(None, description="Cipher suites of TLS 1.2 and older, as OpenSSL writes them.")
    ssl_password: SecretStr | None = Field(None, description="Password of the key; only from KAFKA_SSL_PASSWORD.")
    ssl_check_hostname: bool = Field(True, description="Refuse a broker whose certificate names another host.")
    sasl_ssl: bool = Field(False, description="Sign in by SASL, over TLS.")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI"] | None = Field(
        None, description="How to sign in: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or GSSAPI (Kerberos)."
    )
    sasl_plain_username: str | None = Field(None, description="User of PLAIN and SCRAM.")
    sasl_plain_password: SecretStr | None = Field(
        None, description="Password of PLAIN and SCRAM; only from KAFKA_SASL_PLAIN_PASSWORD."
    )
    sasl_kerberos_service_name: str = Field("kafka", description="Kerberos service that the brokers run as.")
    sasl_kerberos_domain_name: str | None = Field(
        None, description="Host in the brokers' Kerberos principal; refused, the client always takes the broker's own."
    )
    registry_url: str = Field("http://localhost:8081", description="URL of the Schema Registry, with its path if any.")
    registry_auth: SecretStr | None = Field(
        None, description="USER:PASSWORD for the Schema Registry; only from SCHEMA_REGISTRY_BASIC_AUTH."
    )
    registry_cafile: Path | None = Field(None, description="Certificate authority of the Schema Registry (PEM).")

    @field_validator("acks", mode="before")
    @classmethod
    def _acks_as_text(cls, acks: object) -> object:
        return str(acks) if isinstance(acks, int) else acks

    @field_validator("servers")
    @classmethod
    def _usable_servers(cls, servers: str) -> str:
        listed = [server.strip() for server in servers.split(",")]
        for server in listed:
            found = _SERVER.fullmatch(server)
            if found is None or not 0 < int(found["port"]) < 2**16:
                raise ValueError("expected HOST:PORT, or several joined by commas, without user and password")
        return ",".join(listed)

    @field_validator("topic")
    @classmethod
    def _usable_topic(cls, topic: str) -> str:
        if topic in (".", ".."):
            raise ValueError("Kafka has no topics of that name")
        return topic

    @field_validator("registry_url")
    @classmethod
    def _usable_url(cls, urls: str) -> str:
        for url in urls.split(","):
            if "@" in url:
                raise ValueError("user and password go into SCHEMA_REGISTRY_BASIC_AUTH, as USER:PASSWORD")
            if not _names_a_server(url.strip()):
                raise ValueError("expected http://HOST:PORT or https://HOST:PORT, with a path at most")
        return urls

    # A refused value is quoted in messages; those of secrets are judged here, where only what is said is quoted.
    @model_validator(mode="after")
    def _registry_options_fit(self) -> Self:
        if self.registry_auth is not None and ":" not in self.registry_auth.get_secret_value():
            raise ValueError("`registry_auth` has no colon; expected USER:PASSWORD")
        if self.registry_cafile is not None:
            if not self.registry_url.startswith("https://"):
                raise ValueError(
                    "`registry_cafile` is for a `registry_url` with https://: remove the one or change the other"
                )
            _check_file("registry_cafile", self.registry_cafile)
        return self

    @model_validator(mode="after")
    def _tls_options_fit(self) -> Self:
        if not self.tls:
            if found := self._given(*_TLS_FIELDS):
                raise ValueError(f"{found} without TLS: give `ssl` or `sasl_ssl`, or remove it")
            return self
        if self.ssl_dir is not None and (found := self._given(*_FILE_FIELDS)):
            raise ValueError(f"`ssl_dir` and {found} exclude each other: a folder, or single files")
        self._check_files()
        return self

    @model_validator(mode="after")
    def _sasl_options_fit(self) -> Self:
        if not self.sasl_ssl:
            if found := self._given(*_SASL_FIELDS):
                raise ValueError(f"{found} without SASL: give `sasl_ssl`, or remove it")
        elif self.sasl_mechanism is None:
            raise ValueError("`sasl_ssl` needs `sasl_mechanism`: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or GSSAPI")
        elif self.sasl_mechanism == "GSSAPI":
            self._check_kerberos()
        else:
            self._check_password()
        return self

    def _check_kerberos(self) -> None:
        if found := self._given("sasl_plain_username", "sasl_plain_password"):
            raise ValueError(f"{found} with GSSAPI, which signs in by a Kerberos ticket: remove it, or choose SCRAM")
        if self.sasl_kerberos_domain_name is not None:
            raise ValueError(
                f"`sasl_kerberos_domain_name` is {self.sasl_kerberos_domain_name!r}, but the Kafka client always takes "
                "the host that a broker advertises: remove it, and let the brokers advertise that name"
            )

    def _check_password(self) -> None:
        if found := self._given("sasl_kerberos_service_name", "sasl_kerberos_domain_name"):
            raise ValueError(f"{found} with {self.sasl_mechanism}: it is for GSSAPI, remove it")
        for field, value in (
            ("sasl_plain_username", self.sasl_plain_username),
            ("sasl_plain_password", self.sasl_plain_password),
        ):
            if value is None or value == SecretStr("") or value == "":
                raise ValueError(f"{self.sasl_mechanism} needs `{field}`")

    def _check_files(self) -> None:
        files = self.tls_files
        for field, path in files.items():
            _check_file(field if self.ssl_dir is None else "ssl_dir", path)
        if ("ssl_certfile" in files) != ("ssl_keyfile" in files):
            given, missing = ("certificate", "key") if "ssl_certfile" in files else ("key", "certificate")
            raise ValueError(f"a client's {given} needs its {missing}: `ssl_certfile` and `ssl_keyfile` go together")
        if self.ssl_password is not None and "ssl_keyfile" not in files:
            raise ValueError(
                "`ssl_password` opens a key, and there is no `ssl_keyfile`: give it, or remove the password"
            )

    def _given(self, *fields: str) -> str:
        """Names of those fields that were given and say something, for a message."""
        declared = type(self).model_fields
        found = [f for f in fields if f in self.model_fields_set and getattr(self, f) != declared[f].default]
        return ", ".join(f"`{field}`" for field in found)

    @property
    def tls(self) -> bool:
        """Whether the connection to the brokers is encrypted."""
        return self.ssl or self.sasl_ssl

    @property
    def tls_files(self) -> dict[str, Path]:
        """Files of TLS by the field that they stand for, from the folder or as given; not checked."""
        single = {field: getattr(self, field) for field in _FILE_FIELDS}
        given = {field: path.expanduser() for field, path in single.items() if path is not None}
        folder = self.ssl_dir
        if folder is None and not given and DEFAULT_SSL_DIR.is_dir():
            folder = DEFAULT_SSL_DIR
        if not self.tls or folder is None:
            return given
        inside = {field: folder.expanduser() / name for field, name in _FOLDER_NAMES.items()}
        # The authority is what makes a folder one of certificates; the others are there or not.
        return {field: path for field, path in inside.items() if field == "ssl_cafile" or path.exists()}

    @property
    def idempotent(self) -> bool:
        """Whether the broker drops what the client sends twice."""
        return self.acks == "all" and self.kafka_retries > 0

    @property
    def subject(self) -> str:
        """Name of the topic's schema in the registry."""
        return f"{self.topic}-value"


_FOLDER_NAMES = {
    "ssl_cafile": "ca.crt",
    "ssl_certfile": "client.crt",
    "ssl_keyfile": "client.key",
    "ssl_crlfile": "ca.crl",
}
_FILE_FIELDS = tuple(_FOLDER_NAMES)
_TLS_FIELDS = ("ssl_dir", *_FILE_FIELDS, "ssl_ciphers", "ssl_password", "ssl_check_hostname")
_SASL_FIELDS = (
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
    "sasl_kerberos_service_name",
    "sasl_kerberos_domain_name",
)


def load_kafka_settings(given: Mapping[str, Any] | None = None, name: Callable[[str], str] = str) -> KafkaSettings:
    """The settings: what is given comes before the environment, the environment before the defaults.

    Args:
        given: Values by field name; None is not given.
        name: Makes of a field's name what the reader of an error calls it.

    Raises:
        KafkaSettingsError: a value cannot be used, or not with another; names fields or variables, and no secret.
    """
    values = {field: value for field, value in (given or {}).items() if value is not None}
    sources = {field: name(field) for field in values}
    for field, variable in VARIABLES.items():
        text = os.environ.get(variable)
        if text and field not in values:
            values[field] = SecretStr(text) if field in SECRETS else text
            sources[field] = variable

    def called(field: str) -> str:
        from_environment = field in SECRETS or not given
        return sources.get(field) or (VARIABLES.get(field, field) if from_environment else name(field))

    try:
        return KafkaSettings.model_validate(values)
    except ValidationError as error:
        text = reasons(error, called, shown)
        raise KafkaSettingsError(re.sub(r"`(\w+)`", lambda found: called(found[1]), text)) from None


def _check_file(field: str, path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"`{field}` names {str(path)!r}, which is no file: expected one in PEM format")
    if not os.access(path, os.R_OK):
        raise ValueError(f"`{field}` names {str(path)!r}, which may not be read by this user")


def _names_a_server(url: str) -> bool:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:  # what stands for the port is no number
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and not parts.query + parts.fragment
