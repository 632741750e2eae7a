"""The connectors' configurations are bound to what they must agree with: the record, the layout, the settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from qpipe_assets.tables.installation import open_installation
from qpipe_resources.kafka.settings import KafkaSettings
from qpipe_resources.object_layout import DEAD_LETTERS, EXPERIMENTS, message_name
from qpipe_resources.serialization import to_avro_container
from qpipe_resources.settings import Settings
from simulation.record import VQEDecoratedResult
from tests.synthetic import plain_record

ROOT = Path(__file__).parents[1]
REDPANDA = (ROOT / "deploy" / "redpanda-connect.yaml").read_text()
KAFKA_CONNECT: dict[str, str] = json.loads((ROOT / "deploy" / "kafka-connect.json").read_text())["config"]
DOCUMENT = (ROOT / "docs" / "connectors.md").read_text()
VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]+):?([^}]*)\}")
SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "KAFKA_SASL_PLAIN_PASSWORD", "SCHEMA_REGISTRY_PASSWORD")


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value of nested configuration with the names that lead to it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from _leaves(inner, (*path, str(name)))
    if not isinstance(value, dict | list):
        yield path, value


def _required(model: type[BaseModel]) -> list[str]:
    return [name for name, field in model.model_fields.items() if field.is_required()]


def test_redpanda_connect_asks_for_the_fields_that_every_record_has() -> None:
    result = VQEDecoratedResult.model_fields["vqe_result"].annotation
    assert result is not None
    nested = [f"vqe_result.{name}" for name in _required(result)]
    expected = nested + [name for name in _required(VQEDecoratedResult) if name != "vqe_result"]
    found = re.search(r"let required = \[(.*?)\]", REDPANDA, re.DOTALL)
    assert found is not None
    assert re.findall(r'"([a-z_.]+)"', found[1]) == expected


def test_redpanda_connect_writes_where_the_layout_says() -> None:
    keys = re.findall(r'meta key = "([^"]+)"', REDPANDA)
    topic = "${QPIPE_TOPIC:experiment.vqe}"
    assert keys == [
        f"{EXPERIMENTS}{topic}/%s/%s.json",
        f"{DEAD_LETTERS}{topic}/%s.bin",
        f"{DEAD_LETTERS}{topic}/%s.json",
    ]
    assert message_name("t", 1, 2) == "t+1+2"
    assert '"%s+%v+%v".format($topic, @kafka_partition, @kafka_offset)' in REDPANDA


def test_what_is_not_given_is_the_same_for_redpanda_connect_and_for_qpipe() -> None:
    defaults = {name: default for name, default in VARIABLE.findall(REDPANDA)}
    kafka, settings = KafkaSettings(), Settings(home=Path("x"), dagster_home=Path("y"))
    assert defaults["KAFKA_SERVERS"] == kafka.servers
    assert defaults["QPIPE_TOPIC"] == kafka.topic == settings.topic
    assert defaults["SCHEMA_REGISTRY_URL"] == kafka.registry_url
    assert defaults["QPIPE_S3_ENDPOINT"] == settings.s3_endpoint
    assert defaults["QPIPE_S3_REGION"] == settings.s3_region
    assert defaults["QPIPE_S3_RAW_BUCKET"] == settings.s3_raw_bucket
    assert defaults["CONNECT_GROUP"] != kafka.group, "two sinks in one group would share the messages"


def test_redpanda_connect_listens_on_the_loopback_interface_unless_told_otherwise() -> None:
    assert yaml.safe_load(REDPANDA)["http"]["address"] == "${CONNECT_HTTP_ADDRESS:127.0.0.1:4195}"


def test_no_configuration_holds_a_secret() -> None:
    for source in (yaml.safe_load(REDPANDA), KAFKA_CONNECT):
        for path, value in _leaves(source):
            if re.search(r"password|secret|token|credential|access", path[-1]) and "path.style" not in path[-1]:
                assert re.fullmatch(r"\$\{[A-Z_]+:\}", str(value)), path
    text = json.dumps(KAFKA_CONNECT)
    assert not [name for name in SECRETS if name in text], "the client of the store finds its key by itself"


@pytest.mark.parametrize("name", sorted({name for name, _ in VARIABLE.findall(REDPANDA)}))
def test_every_variable_is_documented(name: str) -> None:
    assert f"`{name}`" in DOCUMENT


def test_kafka_connect_names_objects_by_their_message_and_its_own_time() -> None:
    assert {name: KAFKA_CONNECT[name] for name in KAFKA_CONNECT if name in _OF_THE_NAME} == _OF_THE_NAME
    assert "rotate.schedule.interval.ms" not in KAFKA_CONNECT, "names would follow the wall clock"


_OF_THE_NAME = {
    "topics.dir": EXPERIMENTS.rstrip("/"),
    "format.class": "io.confluent.connect.s3.format.avro.AvroFormat",
    "flush.size": "1",
    "filename.offset.zero.pad.width": "1",
    "partitioner.class": "io.confluent.connect.storage.partitioner.TimeBasedPartitioner",
    "partition.duration.ms": "3600000",
    "path.format": "'year'=yyyy/'month'=MM/'day'=dd/'hour'=HH",
    "timezone": "UTC",
    "timestamp.extractor": "Record",
}


def test_kafka_connect_drops_no_message_that_it_cannot_decode() -> None:
    assert KAFKA_CONNECT["errors.tolerance"] == "all"
    assert KAFKA_CONNECT["errors.deadletterqueue.topic.name"] == "${env:QPIPE_TOPIC}-dead-letters"
    assert KAFKA_CONNECT["errors.deadletterqueue.context.headers.enable"] == "true"
    assert KAFKA_CONNECT["errors.retry.timeout"] == "-1", "what passes by itself condemns no message"
    assert int(KAFKA_CONNECT["producer.override.max.request.size"]) > KafkaSettings().max_message_bytes


def test_options_of_kafka_connect_are_texts() -> None:
    assert all(isinstance(value, str) for value in KAFKA_CONNECT.values())


def test_the_reader_takes_a_container_under_the_key_of_kafka_connect(tmp_path: Path) -> None:
    installation = open_installation(Settings(home=tmp_path, dagster_home=tmp_path / "dagster"))
    record = VQEDecoratedResult.model_validate(plain_record(1, "LiH"))
    key = f"{EXPERIMENTS}experiment.vqe/year=2026/month=11/day=21/hour=07/{message_name('experiment.vqe', 2, 41)}.avro"
    installation.store.put(key, to_avro_container([record]))
    assert [info.key for info in installation.discovery.by_molecule()["LiH"]] == [key]
    assert installation.ingest().run("LiH").rows["vqe_results"] == 1


def test_the_program_is_the_version_that_the_configuration_names() -> None:
    module = (ROOT / "deploy" / "connectors" / "redpanda-connect" / "go.mod").read_text()
    found = re.search(r"redpanda-data/connect/v4 v(\S+)", module)
    assert found is not None
    version = found[1]
    assert f'"{version}"' in (ROOT / "deploy" / "connectors" / "redpanda-connect" / "main.go").read_text()
    assert f"Redpanda Connect {version.rpartition('.')[0]}" in REDPANDA
    assert f"connect:{version}" in DOCUMENT
