"""qpipe doctor on the real services: well when they are, and each thing that is wrong named with its remedy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qpipe_resources.kafka.consumer import ResultConsumer
from qpipe_resources.kafka.producer import ResultProducer
from qpipe_resources.kafka.settings import load_kafka_settings
from simulation.record import VQEDecoratedResult
from tests.cli.conftest import qpipe
from tests.integration.conftest import Sandbox
from tests.synthetic import plain_record

pytestmark = pytest.mark.services

CHECKS = ["home", "dagster home", "catalog", "object store", "raw results", "features", "quarantine", "dead letters"]
CHECKS += ["outbox", "broker", "topic", "sink", "registry", "schema"]


def findings(expected_code: int) -> dict[str, dict[str, Any]]:
    """What `qpipe doctor` says, by check; never a secret."""
    result = qpipe("doctor", "--format", "json")
    assert result.exit_code == expected_code, result.output
    return {row["check"]: row for row in json.loads(result.stdout)}


def failures(found: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, row in found.items() if row["status"] == "failed"}


def send(*numbers: int) -> None:
    with ResultProducer(load_kafka_settings()) as producer:
        for number in numbers:
            own = {"experiment_id": f"{number:064x}", "started_at": "2026-11-21T00:00:00+00:00"}
            producer.send("H2", VQEDecoratedResult.model_validate(plain_record(number) | own))


def commit(sandbox: Sandbox, **changed: int) -> None:
    """Commit the end of each partition as the sink would, or the end changed by so many messages."""
    consumer = ResultConsumer(load_kafka_settings())
    ends = consumer.end_offsets()
    consumer.commit({partition: end + changed.get("by", 0) for partition, end in ends.items()})
    consumer.close()


def test_everything_is_well_before_the_first_result_and_after_it_has_landed(sandbox: Sandbox) -> None:
    qpipe("home")
    found = findings(0)
    assert list(found) == CHECKS
    assert {row["status"] for row in found.values()} == {"ok"}
    assert "0 of 7 ledger tables" in found["catalog"]["seen"] and "no schema yet" in found["schema"]["seen"]
    send(1)
    assert qpipe("sink", "--once").exit_code == 0
    assert qpipe("tables").exit_code == 0
    found = findings(0)
    assert {row["status"] for row in found.values()} == {"ok"}
    assert "7 of 7 ledger tables" in found["catalog"]["seen"]
    assert "1 version, all readable, BACKWARD_TRANSITIVE" in found["schema"]["seen"]
    assert "0 messages behind" in found["sink"]["seen"]
    assert "max.message.bytes 67108864" in found["topic"]["seen"]
    probes = sandbox.s3().list_objects_v2(Bucket=sandbox.raw_bucket, Prefix="doctor/")
    assert probes["KeyCount"] == 0


def test_wrong_secrets_are_told_apart_from_services_that_are_down_and_never_shown(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "pg-open-sesame")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-open-sesame")
    found = findings(1)
    assert failures(found) == {"catalog", "raw results", "features"}
    assert "PGPASSWORD" in found["catalog"]["remedy"]
    assert "AWS_SECRET_ACCESS_KEY" in found["raw results"]["remedy"]
    assert "sesame" not in json.dumps(found)


def test_a_database_user_bucket_and_topic_that_are_missing_are_named(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = sandbox.environment["QPIPE_CATALOG_URI"]
    monkeypatch.setenv("QPIPE_CATALOG_URI", uri + "_absent")
    monkeypatch.setenv("QPIPE_S3_FEATURES_BUCKET", f"{sandbox.features_bucket}-absent")
    monkeypatch.setenv("QPIPE_TOPIC", f"{sandbox.topic}-absent")
    found = findings(1)
    assert failures(found) == {"catalog", "features", "topic"}
    assert f"CREATE DATABASE {sandbox.database}_absent" in found["catalog"]["remedy"]
    assert "no bucket" in found["features"]["seen"] and f"{sandbox.features_bucket}-absent" in found["features"]["seen"]
    assert f"--create --topic {sandbox.topic}-absent" in found["topic"]["remedy"]
    assert found["sink"]["seen"].startswith("not looked at")


def test_the_path_that_a_registry_s_url_lacks_is_named(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "SCHEMA_REGISTRY_URL", sandbox.environment["SCHEMA_REGISTRY_URL"].removesuffix("/apis/ccompat/v7")
    )
    found = findings(1)
    assert failures(found) == {"registry"} and "/apis/ccompat/v7" in found["registry"]["remedy"]


def test_a_topic_that_does_not_take_the_largest_results_fails(sandbox: Sandbox) -> None:
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

    limit = ConfigEntry("max.message.bytes", "1048588", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, sandbox.topic, incremental_configs=[limit])
    admin = sandbox.admin()
    admin.incremental_alter_configs([resource])[resource].result(30)
    found = findings(1)
    assert failures(found) == {"topic"}
    assert "max.message.bytes 1048588" in found["topic"]["seen"]
    assert "--alter" in found["topic"]["remedy"] and "max.message.bytes=" in found["topic"]["remedy"]


def test_messages_that_wait_without_a_sink_are_a_warning_and_a_sink_s_group_is_not_disturbed(sandbox: Sandbox) -> None:
    send(1, 2, 3)
    found = findings(0)["sink"]
    assert found["status"] == "warning" and "0 members, 3 messages behind" in found["seen"]
    assert "qpipe sink" in found["remedy"]
    commit(sandbox)
    assert "0 messages behind" in findings(0)["sink"]["seen"]


def test_messages_that_left_the_topic_before_they_landed_are_counted_as_lost(sandbox: Sandbox) -> None:
    from confluent_kafka import TopicPartition

    send(1)
    commit(sandbox)
    send(2, 3)
    admin = sandbox.admin()
    gone = [TopicPartition(sandbox.topic, number, -1) for number in range(3)]
    for future in admin.delete_records(gone).values():
        future.result(30)
    found = findings(1)
    assert failures(found) == {"sink"}
    assert "2 messages behind, of which 2 have left the topic" in found["sink"]["seen"]
    assert "qpipe replay --sent" in found["sink"]["remedy"]


def test_a_broker_that_lost_its_messages_is_told_by_offsets_past_the_end(sandbox: Sandbox) -> None:
    send(1)
    commit(sandbox, by=5)
    found = findings(1)
    assert failures(found) == {"sink"} and "5 ahead of the topic's end" in found["sink"]["seen"]
    assert "QPIPE_TOPIC" in found["sink"]["remedy"] and "qpipe replay --sent" in found["sink"]["remedy"]


def test_a_schema_that_ours_does_not_read_fails_and_a_lax_rule_is_a_warning(sandbox: Sandbox) -> None:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

    subject = load_kafka_settings().subject
    registry = SchemaRegistryClient({"url": sandbox.environment["SCHEMA_REGISTRY_URL"]})
    send(1)
    registry.set_compatibility(subject, "NONE")
    found = findings(0)["schema"]
    assert found["status"] == "warning" and "NONE" in found["seen"] and "BACKWARD_TRANSITIVE" in found["remedy"]
    foreign = {"type": "record", "name": "VQEDecoratedResult", "fields": [{"name": "basis_set", "type": "bytes"}]}
    registry.register_schema(subject, Schema(json.dumps(foreign), "AVRO"))
    registry.set_compatibility(subject, "BACKWARD_TRANSITIVE")
    found = findings(1)
    assert failures(found) == {"schema"} and "cannot read version 2" in found["schema"]["seen"]
    assert registry.get_versions(subject) == [1, 2]


def test_signing_in_by_sasl_is_tried_and_a_wrong_password_is_told(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = sandbox.stack.kafka_users["SCRAM-SHA-512"]
    monkeypatch.setenv("KAFKA_SERVERS", sandbox.stack.listeners["SASL_SSL"])
    monkeypatch.setenv("KAFKA_SASL_SSL", "true")
    monkeypatch.setenv("KAFKA_SASL_MECHANISM", user.mechanism)
    monkeypatch.setenv("KAFKA_SASL_PLAIN_USERNAME", user.name)
    monkeypatch.setenv("KAFKA_SASL_PLAIN_PASSWORD", user.password)
    monkeypatch.setenv("KAFKA_SSL_CAFILE", str(sandbox.stack.tls.ca))
    assert "TLS with SASL SCRAM-SHA-512" in findings(0)["broker"]["seen"]
    monkeypatch.setenv("KAFKA_SASL_PLAIN_PASSWORD", "kafka-open-sesame")
    found = findings(1)
    assert failures(found) == {"broker"} and "sign" in found["broker"]["seen"]
    assert "KAFKA_SASL_PLAIN_PASSWORD" in found["broker"]["remedy"]
    assert "sesame" not in json.dumps(found)


def test_a_connection_that_the_listener_does_not_speak_is_told(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_SERVERS", sandbox.stack.listeners["SSL"])
    found = findings(1)
    assert failures(found) == {"broker"} and "KAFKA_SSL" in found["broker"]["remedy"]


def test_a_poison_message_shows_as_a_dead_letter(sandbox: Sandbox) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": sandbox.environment["KAFKA_SERVERS"]})
    producer.produce(sandbox.topic, b"no record")
    assert producer.flush(30) == 0
    assert qpipe("sink", "--once").exit_code == 0
    found = findings(0)["dead letters"]
    assert found["status"] == "warning" and found["seen"].startswith("1 below ")
