"""What a connector is given and what must come of it: messages of every kind, and the reader's view of its objects."""

from __future__ import annotations

import io
import json
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qpipe_assets.kafka_sink.message_landing import MessageLanding, Readable
from qpipe_assets.kafka_sink.patience import Patience
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.kafka.consumer import Message
from qpipe_resources.kafka.producer import ResultProducer
from qpipe_resources.kafka.serialization import RecordDeserializer, RecordSerializer
from qpipe_resources.kafka.settings import load_kafka_settings
from qpipe_resources.opening import open_store
from qpipe_resources.settings import Settings, load_settings
from simulation.record import VQEDecoratedResult
from tests.integration.conftest import Sandbox
from tests.integration.fault_comparison import OF_THE_BATCH, assert_same_rows
from tests.integration.fault_records import full_record

UNKNOWN_ID = 2_000_000_000


@dataclass(frozen=True)
class Poison:
    """A message that is no record, and a word of the reason that must be given."""

    value: bytes | None
    reason: str
    headers: tuple[tuple[str, bytes], ...] = ()


def produce(records: Iterable[VQEDecoratedResult]) -> list[str]:
    """Send records as qpipe does; returns the messages' names in the order of sending."""
    with ResultProducer(load_kafka_settings()) as producer:
        names: dict[int, str] = {}
        numbered = list(records)
        for index, outcome in producer.send_all((_molecule(record), record) for record in numbered):
            assert isinstance(outcome, str), outcome
            names[index] = outcome
    return [names[index] for index in range(len(numbered))]


def _molecule(record: VQEDecoratedResult) -> str:
    return record.molecule.molecule_data.name or "H2"


def produce_bytes(
    sandbox: Sandbox,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes]] = (),
    timestamp: int | None = None,
) -> Message:
    """Send a message as it is; returns it as Kafka keeps it. `timestamp` in milliseconds since 1970."""
    from confluent_kafka import Producer

    answers: list[Any] = []
    client = Producer({"bootstrap.servers": sandbox.stack.listeners["PLAINTEXT"], "message.max.bytes": 80 * 2**20})
    extra: dict[str, Any] = {} if timestamp is None else {"timestamp": timestamp}
    client.produce(
        sandbox.topic, value, key=b"H2", headers=list(headers), on_delivery=lambda *it: answers.append(it), **extra
    )
    client.flush(60)
    ((error, sent),) = answers
    assert error is None, error
    return Message(sandbox.topic, sent.partition(), sent.offset(), sent.timestamp()[1], b"H2", value)


def poisons(sandbox: Sandbox) -> dict[str, Poison]:
    """One message of each kind that no record is."""
    good = RecordSerializer(load_kafka_settings()).to_bytes(full_record(1, sandbox.topic))
    return {
        "tombstone": Poison(None, "empty"),
        "empty": Poison(b"", "empty"),
        "no magic byte": Poison(b"\x07" + good[1:], "0x07"),
        "text": Poison("é".encode(), "0xc3"),
        "half an id": Poison(good[:3], "schema id"),
        "an id without Avro": Poison(good[:5], "schema id"),
        "an id that no registry gives": Poison(b"\x00\xff\xff\xff\xff" + good[5:], "schema id"),
        "an unknown id": Poison(struct.pack(">bI", 0, UNKNOWN_ID) + good[5:], "not found"),
        "cut short": Poison(good[: len(good) // 2], "cannot decode"),
        "another schema": Poison(_of_another_schema(sandbox), "lacks"),
        "JSON of something else": Poison(b'{"vqe_result": {}}', "lacks"),
        "JSON cut short": Poison(b'{"vqe_result": {', "no JSON object"),
        "headers that no request takes": Poison(b"\x08", "0x08", (("kafka_offset", b"7"), ("x\n", b"\xff\r\n"))),
    }


def _of_another_schema(sandbox: Sandbox) -> bytes:
    import fastavro
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

    schema = {"type": "record", "name": "Reading", "fields": [{"name": "celsius", "type": "double"}]}
    registry = SchemaRegistryClient({"url": sandbox.environment["SCHEMA_REGISTRY_URL"]})
    subject = f"{sandbox.topic}-other"
    number = registry.register_schema(subject, Schema(json.dumps(schema), "AVRO"))
    registry.delete_subject(subject)
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, {"celsius": 21.0})
    return struct.pack(">bI", 0, number) + buffer.getvalue()


def objects(sandbox: Sandbox, prefix: str = "") -> dict[str, int]:
    """Keys in the bucket of the raw objects, with sizes in bytes."""
    pages = sandbox.s3().get_paginator("list_objects_v2").paginate(Bucket=sandbox.raw_bucket, Prefix=prefix)
    return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", ())}


def content(sandbox: Sandbox, key: str) -> bytes:
    """An object of that bucket."""
    return bytes(sandbox.s3().get_object(Bucket=sandbox.raw_bucket, Key=key)["Body"].read())


def landed(sandbox: Sandbox) -> dict[str, str]:
    """Keys of the results by the message's name."""
    return {key.rsplit("/", 1)[-1].rpartition(".")[0]: key for key in objects(sandbox, "experiments/")}


def messages(sandbox: Sandbox) -> list[Message]:
    """Everything that stands in the topic."""
    from qpipe_resources.kafka.consumer import ResultConsumer

    consumer = ResultConsumer(load_kafka_settings(), f"{sandbox.topic}-all")
    found: list[Message] = []
    try:
        consumer.subscribe(lambda *_: None)
        ends = consumer.end_offsets()
        while len(found) < sum(ends.values()):
            message = consumer.poll(1.0)
            if message is not None:
                found.append(message)
    finally:
        consumer.close()
    return found


def assert_rows_equal_those_of_the_built_in_sink(
    sandbox: Sandbox, folder: Path, quarantined: int = 0
) -> dict[str, int]:
    """Ingest the bucket, and beside it what the built-in sink makes of the same messages; returns rows by table.

    Args:
        sandbox: whose bucket the connector has written to.
        folder: where the two installations lie.
        quarantined: objects that the reader must refuse.
    """
    mine = replace(_in_folder(folder / "connector"), store=open_store(load_settings()))
    expected = _in_folder(folder / "built-in")
    deserializer = RecordDeserializer(load_kafka_settings())
    landing = MessageLanding(expected.store, deserializer, Patience(print, threading.Event()))
    for message in messages(sandbox):
        readable = landing.read(message)
        if isinstance(readable, Readable):
            landing.put([readable])
    for installation in (mine, expected):
        for molecule in sorted(installation.discovery.by_molecule()):
            installation.ingest().run(molecule)
    assert len(mine.discovery.quarantined()) == quarantined
    return assert_same_rows(mine, expected, schemas.NORMALIZED_NAMES, OF_THE_BATCH)


def _in_folder(home: Path) -> Installation:
    return open_installation(Settings(home=home, dagster_home=home / "dagster"))
