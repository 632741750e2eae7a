"""The registry: one registration under a strict rule, and every answer it may give as an error with its remedy."""

from __future__ import annotations

import json

import pytest
from pydantic import SecretStr

from qpipe_resources.kafka.errors import RegistryAuthenticationError, RegistryUnavailableError, SchemaRefusedError
from qpipe_resources.kafka.registry import COMPATIBILITY
from qpipe_resources.kafka.serialization import RecordDeserializer, RecordSerializer
from qpipe_resources.kafka.settings import KafkaSettings
from qpipe_resources.serialization import avro_schema
from simulation.record import VQEDecoratedResult
from tests.kafka.registry_server import Registry
from tests.synthetic import plain_record

SUBJECT = "experiment.vqe-value"
RECORD = VQEDecoratedResult.model_validate(plain_record())
MESSAGE = b"\0\0\0\0\1abc"


def test_the_rule_is_set_before_the_first_registration_and_the_schema_registered_once(
    settings: KafkaSettings, registry: Registry
) -> None:
    serializer = RecordSerializer(settings)
    first, second = serializer.to_bytes(RECORD), serializer.to_bytes(RECORD)
    assert first == second
    assert registry.requests == [
        f"GET /config/{SUBJECT}",
        f"PUT /config/{SUBJECT}",
        f"POST /subjects/{SUBJECT}/versions",
    ]
    assert registry.compatibility == {SUBJECT: "BACKWARD_TRANSITIVE"}
    assert [json.loads(text) for text in registry.schemas.values()] == [avro_schema()]


@pytest.mark.parametrize("level", [COMPATIBILITY, "FULL_TRANSITIVE"])
def test_a_rule_that_is_strict_enough_is_left_alone(level: str, settings: KafkaSettings, registry: Registry) -> None:
    registry.compatibility[SUBJECT] = level
    RecordSerializer(settings).register()
    assert registry.compatibility == {SUBJECT: level}
    assert not any(request.startswith("PUT") for request in registry.requests)


@pytest.mark.parametrize("level", ["NONE", "BACKWARD", "FORWARD_TRANSITIVE"])
def test_a_weaker_rule_is_replaced(level: str, settings: KafkaSettings, registry: Registry) -> None:
    registry.compatibility[SUBJECT] = level
    RecordSerializer(settings).register()
    assert registry.compatibility == {SUBJECT: COMPATIBILITY}


def test_a_registry_that_keeps_no_rule_for_a_new_subject_gets_it_afterwards(
    settings: KafkaSettings, registry: Registry
) -> None:
    registry.rule_needs_subject = True
    RecordSerializer(settings).register()
    assert registry.compatibility == {SUBJECT: COMPATIBILITY}


def test_the_topic_names_the_subject(settings: KafkaSettings, registry: Registry) -> None:
    RecordSerializer(settings.model_copy(update={"topic": "other"})).to_bytes(RECORD)
    assert list(registry.subjects) == ["other-value"]


def test_a_schema_that_is_incompatible_is_refused_with_the_remedy(settings: KafkaSettings, registry: Registry) -> None:
    registry.refuse_registration = True
    with pytest.raises(SchemaRefusedError, match=r"HTTP 409: incompatible .*\): .*another topic") as error:
        RecordSerializer(settings).to_bytes(RECORD)
    assert not error.value.transient


def test_a_registry_that_is_down_is_an_error_that_passes_and_the_next_record_registers(
    settings: KafkaSettings, registry: Registry
) -> None:
    down = settings.model_copy(update={"registry_url": "http://127.0.0.1:1"})
    for attempt in (lambda: RecordSerializer(down).to_bytes(RECORD), lambda: RecordDeserializer(down).to_row(MESSAGE)):
        with pytest.raises(
            RegistryUnavailableError, match=r"127\.0\.0\.1:1 does not answer .*SCHEMA_REGISTRY_URL"
        ) as error:
            attempt()
        assert error.value.transient
    serializer = RecordSerializer(settings)
    registry.failure = (500, '{"error_code": 50001, "message": "store"}')
    with pytest.raises(RegistryUnavailableError, match="HTTP 500: store"):
        serializer.to_bytes(RECORD)
    registry.failure = None
    assert serializer.to_bytes(RECORD)[:5] == b"\0\0\0\0\1"


@pytest.mark.parametrize("failure", [(404, '{"detail": "Not Found"}'), (404, "<html>"), (200, "<html>"), (302, "")])
def test_an_answer_of_something_else_is_no_verdict_on_a_message(
    failure: tuple[int, str], settings: KafkaSettings, registry: Registry
) -> None:
    registry.failure = failure
    with pytest.raises(RegistryUnavailableError, match="SCHEMA_REGISTRY_URL"):
        RecordDeserializer(settings).to_row(MESSAGE)
    with pytest.raises(RegistryUnavailableError, match="SCHEMA_REGISTRY_URL"):
        RecordSerializer(settings).to_bytes(RECORD)


@pytest.mark.parametrize("status", [409, 422])
def test_only_a_schema_that_is_registered_can_be_refused(
    status: int, settings: KafkaSettings, registry: Registry
) -> None:
    registry.failure = (status, '{"error_code": 42201, "message": "no"}')
    with pytest.raises(SchemaRefusedError, match=f"HTTP {status}"):
        RecordSerializer(settings).to_bytes(RECORD)
    # A sink waits for this answer to change: it is no verdict on a message.
    with pytest.raises(RegistryUnavailableError, match=f"HTTP {status}"):
        RecordDeserializer(settings).to_row(MESSAGE)


def test_user_and_password_are_sent_and_a_wrong_one_is_refused_without_being_told(
    settings: KafkaSettings, registry: Registry
) -> None:
    registry.user = "user:right"
    RecordSerializer(settings.model_copy(update={"registry_auth": SecretStr("user:right")})).to_bytes(RECORD)
    wrong = settings.model_copy(update={"registry_auth": SecretStr("user:wrong-word")})
    for attempt in (
        lambda: RecordSerializer(wrong).to_bytes(RECORD),
        lambda: RecordDeserializer(wrong).to_row(MESSAGE),
    ):
        with pytest.raises(RegistryAuthenticationError, match="SCHEMA_REGISTRY_BASIC_AUTH") as error:
            attempt()
        assert "wrong-word" not in str(error.value)
        # A sink waits for it as for a registry that is down.
        assert isinstance(error.value, RegistryUnavailableError)
