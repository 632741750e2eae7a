"""Kafka Connect: the real runtime with the connector's options that are shipped, on the real broker and registry.

Confluent's S3 sink and converter are not to be had from the registries. In their place stand Apicurio's converter, and
a sink of our own that obeys the same options and writes the same Avro containers under the same keys, into a folder;
the test puts them into the bucket. Proven is what the runtime does with the options (subscription, variables of the
environment, errors, the topic of dead letters), and that the reader takes such objects; not Confluent's code.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.connectors.kafka_connect import CONFIGURATION, libraries
from deploy.services.programs import java, need, run
from deploy.services.versions import JAVA
from tests.integration.conftest import Sandbox
from tests.integration.connect_landing import (
    assert_rows_equal_those_of_the_built_in_sink,
    poisons,
    produce,
    produce_bytes,
)
from tests.integration.fault_commands import Operator
from tests.integration.fault_records import full_record
from tests.integration.fault_schedule import ProcessVictim, until

# Without the fixtures: the first one may fetch the runtime.
pytestmark = [pytest.mark.services, pytest.mark.timeout(400, func_only=True)]

UNCHECKED = {"another schema"}
"""Kafka Connect stores whatever its converter can decode; the reader quarantines what is no record."""

_WORKER = """bootstrap.servers={servers}
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
offset.storage.file.filename={folder}/offsets
listeners=http://127.0.0.1:{port}
config.providers=env
config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider
"""
_LOGGING = """status = warn
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c: %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The class path of the runtime and our sink."""
    jars, target = libraries(), tmp_path_factory.mktemp("classes")
    source = Path(__file__).parent / "kafka_connect" / "StandInSink.java"
    compiler = need("javac", f"openjdk-{JAVA}-jdk-headless")
    run([compiler, "-proc:none", "-d", str(target), "-cp", f"{jars}/*", str(source)], "the sink does not compile")
    return f"{target}:{jars}/*"


@contextmanager
def _running(classes: str, sandbox: Sandbox, folder: Path) -> Iterator[ProcessVictim]:
    connector = json.loads(CONFIGURATION.read_text())
    connector["name"] = sandbox.topic
    registry = sandbox.environment["SCHEMA_REGISTRY_URL"].partition("/apis/")[0]
    connector["config"] |= {
        "connector.class": "qpipe.StandInSink",
        "value.converter": "io.apicurio.registry.utils.converter.AvroConverter",
        "value.converter.apicurio.registry.url": f"{registry}/apis/registry/v2",
        "value.converter.apicurio.registry.as-confluent": "true",
        "value.converter.apicurio.registry.use-id": "contentId",
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    worker = _WORKER.format(servers=sandbox.environment["KAFKA_SERVERS"], folder=folder, port=port)
    files = {"worker.properties": worker, "log4j2.properties": _LOGGING, "connector.json": json.dumps(connector)}
    for name, text in files.items():
        (folder / name).write_text(text)
    command = [java(), "-Xmx512m", f"-Dlog4j2.configurationFile={folder}/log4j2.properties", "-cp", classes]
    command += ["org.apache.kafka.connect.cli.ConnectStandalone", f"{folder}/worker.properties"]
    environment = sandbox.environment | {"QPIPE_S3_ENDPOINT": str(folder / "objects")}
    process = ProcessVictim("kafka-connect", [*command, f"{folder}/connector.json"], environment, folder / "log")
    process.start()
    try:
        yield process
    finally:
        process.kill()


def _written(folder: Path) -> dict[str, Path]:
    """Files of the sink by the name of their message."""
    return {path.stem: path for path in (folder / "objects").glob("experiments/**/[!.]*.avro")}


def _dead_letters(sandbox: Sandbox, number: int) -> dict[str, dict[str, bytes]]:
    """Headers of that many different messages in the topic of dead letters, by the name of the message there was."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": sandbox.environment["KAFKA_SERVERS"], "group.id": f"{sandbox.topic}-dlq"})
    consumer.assign([TopicPartition(f"{sandbox.topic}-dead-letters", 0, 0)])
    found: dict[str, dict[str, bytes]] = {}
    end = time.monotonic() + 30
    while len(found) < number and time.monotonic() < end:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            sent: Any = message.headers()
            headers = {key.removeprefix("__connect.errors."): value for key, value in sent}
            topic, partition, offset = (headers[key].decode() for key in ("topic", "partition", "offset"))
            found[f"{topic}+{partition}+{offset}"] = headers
    consumer.close()
    return found


def test_killed_in_the_middle_it_lands_every_record_and_keeps_what_it_cannot_read_with_the_reason(
    classes: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    numbers = [number for number in range(100) if number % 5 < 2]
    records = produce(full_record(number, sandbox.topic) for number in numbers[:20])
    sent = {kind: produce_bytes(sandbox, poison.value, poison.headers) for kind, poison in poisons(sandbox).items()}
    text = full_record(numbers[-1], sandbox.topic).to_json()
    sent["a record as plain JSON"] = produce_bytes(sandbox, text)
    names = {kind: f"{message.topic}+{message.partition}+{message.offset}" for kind, message in sent.items()}
    try:
        with _running(classes, sandbox, tmp_path) as process:
            until(lambda: _alive(process) and bool(_written(tmp_path)), 90, "the first object", every=0.02)
            assert process.kill()
            records += produce(full_record(number, sandbox.topic) for number in numbers[20:-1])
            process.start()
            expected = {*records, *(names[kind] for kind in UNCHECKED)}
            until(lambda: _alive(process) and expected <= set(_written(tmp_path)), 120, "all objects")
            letters = _dead_letters(sandbox, len(names) - len(UNCHECKED))
        # A second chance: what Kafka Connect could not read may be a record all the same.
        Operator({"QPIPE_TOPIC": f"{sandbox.topic}-dead-letters"}, tmp_path).does("sink", "--once")
    finally:
        for future in sandbox.admin().delete_topics([f"{sandbox.topic}-dead-letters"]).values():
            future.exception(30)
    assert set(letters) == {name for kind, name in names.items() if kind not in UNCHECKED}
    assert all(headers["exception.class.name"] for headers in letters.values())
    assert set(_written(tmp_path)) == expected
    _put_into_the_bucket(sandbox, tmp_path)
    counts = assert_rows_equal_those_of_the_built_in_sink(sandbox, tmp_path / "folder", quarantined=len(UNCHECKED))
    assert counts["vqe_results"] == len(numbers)


def _alive(process: ProcessVictim) -> bool:
    assert process.running(), f"Kafka Connect ended by itself\n{process.tail()}"
    return True


def _put_into_the_bucket(sandbox: Sandbox, folder: Path) -> None:
    topic = re.escape(sandbox.topic)
    pattern = rf"experiments/{topic}/year=\d{{4}}/month=\d\d/day=\d\d/hour=\d\d/{topic}\+\d+\+\d+\.avro"
    for path in _written(folder).values():
        key = path.relative_to(folder / "objects").as_posix()
        assert re.fullmatch(pattern, key), key
        sandbox.s3().put_object(Bucket=sandbox.raw_bucket, Key=key, Body=path.read_bytes())
