"""The sink as a process, on the real services: killed, rebalanced, cut off, poisoned; every message is one object."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qpipe_assets.tables.decode import json_documents, records_of
from qpipe_assets.tables.installation import open_installation
from qpipe_resources.avro_container import MAGIC, cut
from qpipe_resources.kafka.serialization import RecordSerializer
from qpipe_resources.kafka.settings import load_kafka_settings
from simulation.record import VQEDecoratedResult
from tests.daemon import wait_for
from tests.integration.conftest import Sandbox
from tests.synthetic import plain_record

QPIPE = [sys.executable, "-m", "qpipe_cli.main"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def _one_at_a_time() -> None:
    """These tests kill services: nothing else may run on them meanwhile."""


class Topic:
    """The sandbox's topic, as producers of any kind write to it."""

    def __init__(self, sandbox: Sandbox) -> None:
        from confluent_kafka import Producer

        self.name = sandbox.topic
        self._serializer = RecordSerializer(load_kafka_settings())
        self._producer = Producer(
            {
                "bootstrap.servers": sandbox.stack.listeners["PLAINTEXT"],
                "message.max.bytes": 64 * 1024 * 1024,
                "compression.type": "zstd",
                "message.timeout.ms": 60_000,
            }
        )

    def raw(self, value: bytes | None, key: str = "H2") -> None:
        """Send a value as it is."""
        while True:
            try:
                self._producer.produce(self.name, value, key)
                return
            except BufferError:
                self._producer.poll(0.1)

    def record(self, number: int, **shape: Any) -> None:
        """Send a record as Avro."""
        self.raw(self.avro(plain_record(number, **shape)), key=str(number))

    def avro(self, plain: dict[str, Any]) -> bytes:
        """A record in the wire format."""
        return self._serializer.to_bytes(VQEDecoratedResult.model_validate(plain))

    def flush(self) -> None:
        """Wait until the broker has everything."""
        assert self._producer.flush(60) == 0


@pytest.fixture
def topic(sandbox: Sandbox) -> Topic:
    return Topic(sandbox)


class SinkProcess:
    """One `qpipe sink`, with its own log."""

    def __init__(self, sandbox: Sandbox, log: Path, *flags: str) -> None:
        self.log = log
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                [*QPIPE, "sink", *flags], cwd=ROOT, env=sandbox.environment, stdout=output, stderr=output
            )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        self._process.terminate()
        return self._process.wait(60)

    def wait(self, seconds: float = 120) -> int:
        return self._process.wait(seconds)

    @property
    def said(self) -> str:
        return self.log.read_text()


@pytest.fixture
def start(sandbox: Sandbox, tmp_path: Path) -> Iterator[Callable[..., SinkProcess]]:
    """Starts sinks, which end with the test."""
    started: list[SinkProcess] = []

    def launch(*flags: str) -> SinkProcess:
        started.append(SinkProcess(sandbox, tmp_path / f"sink-{len(started)}.log", *flags))
        return started[-1]

    yield launch
    for one in started:
        one.kill()


def objects(sandbox: Sandbox, prefix: str = "experiments/") -> list[str]:
    pages = sandbox.s3().get_paginator("list_objects_v2").paginate(Bucket=sandbox.raw_bucket, Prefix=prefix)
    return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


def documents(sandbox: Sandbox) -> list[bytes]:
    """The records that have landed, each as an object of its own."""
    s3 = sandbox.s3()
    bodies = [s3.get_object(Bucket=sandbox.raw_bucket, Key=key)["Body"].read() for key in objects(sandbox)]
    return [document for body in bodies for document in (cut(body) if body.startswith(MAGIC) else json_documents(body))]


def records(sandbox: Sandbox) -> list[VQEDecoratedResult]:
    """The same as their readers see them."""
    return [record for document in documents(sandbox) for record in records_of(document).values()]


def seeds(sandbox: Sandbox) -> list[int]:
    """The numbers of the records that have landed."""
    return sorted(record.vqe_result.initial_data.seed or 0 for record in records(sandbox))


def all_landed(sandbox: Sandbox, count: int, seconds: float = 90) -> None:
    wait_for(lambda: len(documents(sandbox)) >= count, f"{count} records", seconds)


def test_every_message_lands_once_with_the_content_that_was_sent(
    sandbox: Sandbox, topic: Topic, start: Callable[..., SinkProcess]
) -> None:
    for number in range(60):
        topic.record(number)
    written = json.dumps(plain_record(60), indent=1).encode()
    topic.raw(written)
    topic.flush()
    assert start("--until-caught-up").wait() == 0
    assert seeds(sandbox) == list(range(61))
    found = documents(sandbox)
    assert written in found
    assert VQEDecoratedResult.model_validate(plain_record(7)) in records(sandbox)
    assert len(objects(sandbox)) < len(found)
    # What is committed is not read again.
    begun = time.monotonic()
    assert start("--once").wait() == 0
    assert time.monotonic() - begun < 30


def test_a_sink_killed_at_any_moment_loses_nothing_and_makes_no_row_twice(
    sandbox: Sandbox, topic: Topic, start: Callable[..., SinkProcess]
) -> None:
    moments, number = random.Random(4), 0
    for _ in range(5):
        for _ in range(100):
            topic.record(number, evaluations=200, parameters=20)
            number += 1
        topic.flush()
        there = len(objects(sandbox))
        running = start()
        wait_for(lambda there=there: len(objects(sandbox)) > there, "the sink to land something", 60)
        time.sleep(moments.random() * 0.7)
        running.kill()
    assert start("--until-caught-up").wait() == 0
    # What was put and not committed is put again, perhaps together with others.
    assert set(seeds(sandbox)) == set(range(number)) and len(set(documents(sandbox))) == number
    installation = open_installation()
    installation.ingest().run("H2")
    assert sorted(installation.lakehouse.arrow("vqe_results").column("seed").to_pylist()) == list(range(number))


def test_sinks_of_one_group_share_the_work_and_take_over_from_each_other(
    sandbox: Sandbox, topic: Topic, start: Callable[..., SinkProcess]
) -> None:
    number, running = 0, [start()]
    for step in range(6):
        for _ in range(40):
            topic.record(number, evaluations=100, parameters=20)
            number += 1
            time.sleep(0.02)
        if step < 2:
            running.append(start())
        elif step == 3:
            assert running.pop(0).stop() == 0
        elif step == 4:
            running.pop(0).kill()
    topic.flush()
    all_landed(sandbox, number)
    assert running[0].stop() == 0
    assert start("--until-caught-up").wait() == 0
    assert set(seeds(sandbox)) == set(range(number))


def test_poison_of_each_kind_is_a_dead_letter_and_the_rest_lands(
    sandbox: Sandbox, topic: Topic, start: Callable[..., SinkProcess]
) -> None:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

    registry = SchemaRegistryClient({"url": sandbox.environment["SCHEMA_REGISTRY_URL"]})
    other = {"type": "record", "name": "Other", "fields": [{"name": "x", "type": "double"}]}
    foreign = registry.register_schema(f"{sandbox.topic}-other-value", Schema(json.dumps(other), "AVRO"))
    sound = topic.avro(plain_record(1))
    poison = {
        "null value": None,
        "it has 0 bytes": b"",
        "expected 00": sound[1:],
        "no schema": b"\x00\x7f\xff\xff\xf0" + sound[5:],
        "bytes are not of its schema": sound[:100],
        "unread": sound + b"!",
        "vqe_result": b"\x00" + foreign.to_bytes(4, "big") + bytes(8),
        "iterations": None,
        "Qq": json.dumps(plain_record(2) | {"molecule": {"symbols": ["Qq"], "coords": [[0, 0, 0]]}}).encode(),
        "JSON": b'{"vqe_result": {',
    }
    del poison["iterations"]
    topic.record(100)
    for value in poison.values():
        topic.raw(value)
    topic.record(101)
    topic.flush()
    running = start("--once")
    assert running.wait() == 0
    registry.delete_subject(f"{sandbox.topic}-other-value")
    assert seeds(sandbox) == [100, 101]
    s3 = sandbox.s3()
    reasons = {}
    for key in objects(sandbox, "dead-letters/"):
        body = s3.get_object(Bucket=sandbox.raw_bucket, Key=key)["Body"].read()
        if key.endswith(".json"):
            letter = json.loads(body)
            reasons[letter["reason"]] = letter
            kept = s3.get_object(Bucket=sandbox.raw_bucket, Key=key.removesuffix(".json") + ".bin")["Body"].read()
            assert len(kept) == (letter["size"] or 0)
    assert len(reasons) == len(poison)
    for named in poison:
        assert any(named in reason for reason in reasons), (named, list(reasons))
    assert "9 dead letters" in running.said


def test_a_dead_letter_whose_schema_turns_up_lands_when_it_is_tried_again(
    sandbox: Sandbox, topic: Topic, start: Callable[..., SinkProcess]
) -> None:
    sound = topic.avro(plain_record(5))
    topic.raw(b"\x00\x7f\xff\xff\xf1" + sound[5:])
    topic.raw(b"rubbish")
    topic.flush()
    assert start("--once").wait() == 0
    assert objects(sandbox) == []
    s3 = sandbox.s3()
    [value] = [
        key
        for key in objects(sandbox, "dead-letters/")
        if key.endswith(".bin") and s3.head_object(Bucket=sandbox.raw_bucket, Key=key)["ContentLength"] > 100
    ]
    # A registry that was restored knows the id again: the message is as good as this one.
    s3.put_object(Bucket=sandbox.raw_bucket, Key=value, Body=sound)
    again = start("--retry-dead-letters", "--format", "json")
    assert again.wait() == 0
    told = {row["is"] for row in json.loads(again.said[again.said.index("[") :])}
    assert told == {"landed", "dead letter"}
    [landed] = objects(sandbox)
    name = value.rsplit("/", 1)[-1].removesuffix(".bin")
    assert landed.endswith(f"/{name}.avro") and sandbox.topic in landed
    assert len(objects(sandbox, "dead-letters/")) == 2


@pytest.mark.parametrize("aborted_last", [False, True])
def test_a_run_ends_on_a_topic_whose_producer_has_transactions(
    sandbox: Sandbox, start: Callable[..., SinkProcess], aborted_last: bool
) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": sandbox.stack.listeners["PLAINTEXT"], "transactional.id": sandbox.topic})
    producer.init_transactions(30)
    for number in range(3):
        producer.begin_transaction()
        producer.produce(sandbox.topic, json.dumps(plain_record(number)).encode(), str(number))
        producer.flush(30)
        if aborted_last and number == 2:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
    assert start("--once").wait(60) == 0
    assert seeds(sandbox) == [0, 1] + ([] if aborted_last else [2])
    again = start("--once")
    assert again.wait(60) == 0
    assert "0 landed" in again.said


def test_a_record_of_20_mib_passes(sandbox: Sandbox, topic: Topic, start: Callable[..., SinkProcess]) -> None:
    plain = plain_record(1, evaluations=2600, parameters=1)
    numbers = random.Random(1)
    for step in plain["vqe_result"]["iteration_list"]:
        step["parameters"] = [numbers.uniform(-3, 3) for _ in range(1010)]
    value = topic.avro(plain)
    assert len(value) > 20 * 1024 * 1024
    topic.raw(value)
    topic.record(2)
    topic.flush()
    assert start("--once").wait() == 0
    assert seeds(sandbox) == [1, 2]


@pytest.mark.parametrize("service", ["garage", "registry", "kafka"])
def test_a_service_that_dies_is_named_waited_for_and_costs_nothing(
    sandbox: Sandbox, topic: Topic, start: Callable[..., SinkProcess], service: str
) -> None:
    named = {"garage": "object store at", "registry": "Schema Registry at", "kafka": "Kafka at"}[service]
    for number in range(10):
        topic.record(number)
    topic.flush()
    if service == "registry":
        # A sink that has not seen the schema yet, and a registry that does not tell it.
        sandbox.stack.kill(service)
        running = start()
    else:
        running = start()
        all_landed(sandbox, 10)
        sandbox.stack.kill(service)
        if service == "garage":
            for number in range(10, 20):
                topic.record(number)
            topic.flush()
    try:
        wait_for(lambda: named in running.said, f"a line that names {named}", 60)
    finally:
        sandbox.stack.start(service)
    for number in range(20, 30):
        topic.record(number)
    topic.flush()
    expected = [*range(10), *(range(10, 20) if service == "garage" else ()), *range(20, 30)]
    all_landed(sandbox, len(expected), 120)
    assert running.stop() == 0
    assert seeds(sandbox) == expected
    assert objects(sandbox, "dead-letters/") == []


def test_a_bucket_that_is_missing_and_a_wrong_key_are_waited_for(
    sandbox: Sandbox, topic: Topic, start: Callable[..., SinkProcess]
) -> None:
    topic.record(1)
    topic.flush()
    s3 = sandbox.s3()
    s3.delete_bucket(Bucket=sandbox.raw_bucket)
    running = start()
    wait_for(lambda: "QPIPE_S3_RAW_BUCKET" in running.said, "a line with the remedy", 60)
    s3.create_bucket(Bucket=sandbox.raw_bucket)
    all_landed(sandbox, 1)
    assert running.stop() == 0
    topic.record(2)
    topic.flush()
    sandbox.environment["AWS_SECRET_ACCESS_KEY"] = "0" * 64
    refused = start()
    wait_for(lambda: "AWS_SECRET_ACCESS_KEY" in refused.said, "a line with the remedy", 60)
    assert refused.stop() == 0
    sandbox.environment["AWS_SECRET_ACCESS_KEY"] = os.environ["AWS_SECRET_ACCESS_KEY"]
    assert start("--once").wait() == 0
    assert seeds(sandbox) == [1, 2]


def test_a_topic_that_comes_later_is_found(sandbox: Sandbox, start: Callable[..., SinkProcess]) -> None:
    from confluent_kafka.admin import NewTopic

    admin = sandbox.admin()
    for future in admin.delete_topics([sandbox.topic]).values():
        future.result(30)
    wait_for(lambda: sandbox.topic not in admin.list_topics(timeout=10).topics, "the topic to go", 30)
    running = start()
    wait_for(lambda: f"has no topic {sandbox.topic}" in running.said, "a line that says so", 60)
    for future in admin.create_topics([NewTopic(sandbox.topic, 3, 1)]).values():
        future.result(30)
    topic = Topic(sandbox)
    topic.record(1)
    topic.flush()
    all_landed(sandbox, 1)
    assert running.stop() == 0


def test_the_same_sink_lands_in_a_folder(sandbox: Sandbox, topic: Topic, start: Callable[..., SinkProcess]) -> None:
    topic.record(1)
    topic.flush()
    sandbox.environment["QPIPE_ENV"] = "local"
    assert start("--once", "--group", f"{sandbox.topic}-folder").wait() == 0
    [path] = (sandbox.home / "raw-results" / "experiments" / sandbox.topic).rglob("*.avro")
    [record] = records_of(path.read_bytes()).values()
    assert record.vqe_result.initial_data.seed == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_sink_leaves_nothing_uncommitted(
    sandbox: Sandbox, topic: Topic, start: Callable[..., SinkProcess], number: signal.Signals
) -> None:
    for count in range(200):
        topic.record(count, evaluations=100, parameters=20)
    topic.flush()
    running = start()
    wait_for(lambda: len(objects(sandbox)) > 0, "the first object", 60)
    os.kill(running._process.pid, number)
    assert running.wait(60) == 0
    there = len(documents(sandbox))
    again = start("--once")
    assert again.wait() == 0
    assert seeds(sandbox) == list(range(200))
    assert f"{200 - there} landed" in again.said
