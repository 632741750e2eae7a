"""The Schema Registry: whether it answers, and whether it takes our schema beside those that others wrote with."""

from __future__ import annotations

import time

from confluent_kafka.schema_registry import SchemaRegistryClient, SchemaRegistryError

from qpipe_resources.health.checks import ANSWER_SECONDS, Finding, counted, failed, fine, warning
from qpipe_resources.kafka.client_config import registry_config
from qpipe_resources.kafka.registry import COMPATIBILITY, record_schema, registry_errors
from qpipe_resources.kafka.settings import KafkaSettings

_NOT_FOUND = 404


def check_registry(settings: KafkaSettings) -> Finding:
    """Whether the registry answers and lets us in."""
    began = time.perf_counter()
    with registry_errors(settings):
        subjects = _client(settings).get_subjects()
    latency = (time.perf_counter() - began) * 1000
    return fine(f"{settings.registry_url}, {counted(len(subjects), 'subject')}, {latency:.0f} ms")


def check_schema(settings: KafkaSettings) -> Finding:
    """Whether our schema fits those that the topic's messages were written with; registers nothing."""
    client, subject = _client(settings), settings.subject
    versions = _versions(client, subject)
    if not versions:
        return fine(f"{subject} has no schema yet; the first record that is sent registers it as {COMPATIBILITY}")
    schema = record_schema()
    refused = [version for version in versions if not client.test_compatibility(subject, schema, version)]
    if refused:
        numbers = ", ".join(map(str, refused))
        return failed(
            f"our schema cannot read version {numbers} of {subject}",
            f"use another topic, or delete from {subject} what nobody wrote with: "
            f"DELETE {settings.registry_url}/subjects/{subject}/versions/N",
        )
    level = _compatibility(client, subject)
    seen = f"{subject}, {counted(len(versions), 'version')}, all readable, {level or 'no compatibility of its own'}"
    if level in (COMPATIBILITY, "FULL_TRANSITIVE"):
        return fine(seen)
    return warning(
        seen,
        f'PUT {settings.registry_url}/config/{subject} with {{"compatibility": "{COMPATIBILITY}"}}, or others can '
        "register what the tables cannot read",
    )


def _client(settings: KafkaSettings) -> SchemaRegistryClient:
    return SchemaRegistryClient(registry_config(settings) | {"timeout": ANSWER_SECONDS, "max.retries": 0})


def _versions(client: SchemaRegistryClient, subject: str) -> list[int]:
    try:
        return list(client.get_versions(subject))
    except SchemaRegistryError as error:
        if error.http_status_code == _NOT_FOUND:
            return []
        raise


def _compatibility(client: SchemaRegistryClient, subject: str) -> str | None:
    try:
        return str(client.get_compatibility(subject))
    except SchemaRegistryError as error:
        if error.http_status_code == _NOT_FOUND:
            return None
        raise
