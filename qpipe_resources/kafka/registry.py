"""The Schema Registry: its client, the registration of the record's schema, and what its answers mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from qpipe_resources.kafka.client_config import registry_config
from qpipe_resources.kafka.errors import (
    KafkaError,
    RegistryAuthenticationError,
    RegistryUnavailableError,
    SchemaRefusedError,
)
from qpipe_resources.kafka.settings import KafkaSettings
from qpipe_resources.serialization import avro_schema

COMPATIBILITY = "BACKWARD_TRANSITIVE"
"""Every later schema must read what was written with any earlier one."""

_STRICT_ENOUGH = (COMPATIBILITY, "FULL_TRANSITIVE")
_MAX_QUOTED = 400


def registry_client(settings: KafkaSettings) -> SchemaRegistryClient:
    """A client of the registry; connects at first use.

    Raises:
        RegistryUnavailableError: its certificate authority cannot be used.
    """
    with registry_errors(settings):
        return SchemaRegistryClient(registry_config(settings))


def record_schema() -> Schema:
    """The record's schema as the registry keeps it."""
    return Schema(json.dumps(avro_schema(), separators=(",", ":")), "AVRO")


def register_record_schema(settings: KafkaSettings, registry: SchemaRegistryClient) -> int:
    """Register the record's schema for the topic's values, under a rule that lets no schema lose the older messages.

    Returns:
        The schema's id.

    Raises:
        RegistryUnavailableError: the registry does not answer, or answers nonsense.
        SchemaRefusedError: it refuses the schema.
    """
    with registry_errors(settings, registering=True):
        ruled = _require_compatibility(registry, settings.subject)
        schema_id = registry.register_schema(settings.subject, record_schema())
        # Some registries keep no rule for a subject that has no schema yet.
        if not ruled and not _require_compatibility(registry, settings.subject):
            raise RegistryUnavailableError(
                f"{_name(settings)} took a schema of {settings.subject} but does not know it: look into its log"
            )
        return schema_id


def _require_compatibility(registry: SchemaRegistryClient, subject: str) -> bool:
    """Whether the subject accepts only schemas that read all earlier ones, by now."""
    try:
        if registry.get_compatibility(subject) in _STRICT_ENOUGH:
            return True
    except SchemaRegistryError as error:
        if error.http_status_code != 404:
            raise
    try:
        registry.set_compatibility(subject, COMPATIBILITY)
    except SchemaRegistryError as error:
        if error.http_status_code != 404:
            raise
        return False
    return True


@contextmanager
def registry_errors(settings: KafkaSettings, *, registering: bool = False) -> Iterator[None]:
    """Whatever the registry's client raises, as one of our errors; only a schema that is registered can be refused."""
    try:
        yield
    except KafkaError:
        raise
    except SchemaRegistryError as error:
        raise _meaning(settings, error, registering) from error
    except (
        Exception
    ) as error:  # the errors of its HTTP library, of which there may be either of two, and of what is no JSON
        raise RegistryUnavailableError(
            f"{_name(settings)} does not answer ({type(error).__name__}: {_shortened(error)}): start it, or correct "
            "SCHEMA_REGISTRY_URL"
        ) from error


def _meaning(settings: KafkaSettings, error: SchemaRegistryError, registering: bool) -> KafkaError:
    status = error.http_status_code
    said = f"HTTP {status}" + (f": {_shortened(error.error_message)}" if error.error_message else "")
    if status in (401, 403):
        return RegistryAuthenticationError(
            f"{_name(settings)} refused the user ({said}): set SCHEMA_REGISTRY_BASIC_AUTH to USER:PASSWORD of one who "
            "may register schemas"
        )
    if registering and status in (409, 422):
        return SchemaRefusedError(
            f"{_name(settings)} refused the record's schema for {settings.subject} ({said}): a newer or foreign schema "
            f"is registered that ours does not read. Update qpipe, or use another topic"
        )
    return RegistryUnavailableError(
        f"{_name(settings)} answered with an error ({said}): look into its log, and check that SCHEMA_REGISTRY_URL has "
        "the path of its Confluent-compatible API (Apicurio's is /apis/ccompat/v7)"
    )


def _name(settings: KafkaSettings) -> str:
    return f"the Schema Registry at {settings.registry_url}"


def _shortened(text: object) -> str:
    return " ".join(str(text).split())[:_MAX_QUOTED]
