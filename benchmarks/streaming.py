"""Results a second through produce -> sink -> object, against bare confluent-kafka loops on the same broker.

Every way takes the same records from one process through a topic of its own and back, first all in, then all out:

    bytes   values that are serialized already, produced and consumed: what broker and client alone can do
    avro    AvroSerializer, produce, consume, AvroDeserializer: what a competent user writes; nothing is kept
    folder  ours: ResultProducer, then the sink: the bytes checked against their schema, the molecule decoded, durable
            objects (fsync) of one or more records as their writer encoded them, offsets committed
    garage  ours, the objects in Garage
    avro+folder, avro+garage
            the loop `avro` that also keeps each row as JSON, one after another: in a file with fsync, or by boto3

All use the same client settings (idempotent, acks=all, zstd). The claim is `avro`'s time over ours, although `avro`
keeps nothing; the ratios to `bytes` and to the loop that keeps its rows in the same store are told besides. Rounds are
interleaved, medians count. Needs the services: make services.

    python -m benchmarks.streaming [--rounds 5] [--megabytes 40] [--sizes small,lih,long]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from deploy.services.stack import Stack
from qpipe_assets.kafka_sink.sink import Sink
from qpipe_resources.kafka.client_config import admin_config, consumer_config, producer_config
from qpipe_resources.kafka.consumer import ResultConsumer
from qpipe_resources.kafka.producer import ResultProducer
from qpipe_resources.kafka.serialization import RecordDeserializer, RecordSerializer
from qpipe_resources.kafka.settings import KafkaSettings, load_kafka_settings
from qpipe_resources.object_store import FolderObjectStore, ObjectStore
from qpipe_resources.opening import open_s3_store
from qpipe_resources.serialization import avro_schema
from qpipe_resources.settings import load_settings
from simulation.record import VQEDecoratedResult
from tests.integration.fault_records import H2, LIH, LONG, Shape, full_record, molecule_of

SIZES = {"small": H2, "lih": LIH, "long": LONG}
PARTITIONS = 3
GOAL = 0.7
CLAIM = "avro"
"""The bare loop that the goal is about."""


@dataclass(frozen=True)
class Load:
    """Records of one size, with their keys, their rows and their bytes on the wire made before any clock runs."""

    keys: list[str]
    records: list[VQEDecoratedResult]
    rows: list[dict[str, Any]]
    values: list[bytes]
    json_bytes: int

    @property
    def count(self) -> int:
        """How many records."""
        return len(self.records)


@dataclass(frozen=True)
class Seconds:
    """What one way took for one load."""

    into: float
    out_of: float

    @property
    def total(self) -> float:
        """Both ways."""
        return self.into + self.out_of


def bare_bytes(load: Load, settings: KafkaSettings, _: Path) -> Seconds:
    producer = confluent_kafka.Producer(producer_config(settings))
    began = time.perf_counter()
    for key, value in zip(load.keys, load.values, strict=True):
        _produce(producer, settings.topic, key, value)
    producer.flush()
    produced = time.perf_counter()
    _consume(settings, load.count, len)
    return Seconds(produced - began, time.perf_counter() - produced)


def bare_avro(
    load: Load, settings: KafkaSettings, _: Path, keep: Callable[[dict[str, Any]], object] = lambda row: row
) -> Seconds:
    registry = SchemaRegistryClient({"url": settings.registry_url})
    serialize = AvroSerializer(registry, json.dumps(avro_schema()))
    deserialize = AvroDeserializer(registry)
    context = SerializationContext(settings.topic, MessageField.VALUE)
    producer = confluent_kafka.Producer(producer_config(settings))
    began = time.perf_counter()
    for key, row in zip(load.keys, load.rows, strict=True):
        value = serialize(row, context)
        assert value is not None
        _produce(producer, settings.topic, key, value)
    producer.flush()
    produced = time.perf_counter()
    _consume(settings, load.count, lambda value: keep(deserialize(value, context)))
    return Seconds(produced - began, time.perf_counter() - produced)


def bare_avro_to_folder(load: Load, settings: KafkaSettings, folder: Path) -> Seconds:
    def keep(row: dict[str, Any]) -> None:
        with open(folder / f"{row['experiment_id']}.json", "w") as file:
            json.dump(row, file)
            file.flush()
            os.fsync(file.fileno())

    return bare_avro(load, settings, folder, keep)


def bare_avro_to_garage(load: Load, settings: KafkaSettings, folder: Path) -> Seconds:
    installation = load_settings()
    s3 = boto3.client("s3", endpoint_url=installation.s3_endpoint, region_name=installation.s3_region)

    def keep(row: dict[str, Any]) -> None:
        key = f"bench/{settings.topic}/{row['experiment_id']}.json"
        s3.put_object(Bucket=installation.s3_raw_bucket, Key=key, Body=json.dumps(row).encode())

    return bare_avro(load, settings, folder, keep)


def into_folder(load: Load, settings: KafkaSettings, folder: Path) -> Seconds:
    return _ours(load, settings, FolderObjectStore(folder))


def into_garage(load: Load, settings: KafkaSettings, _: Path) -> Seconds:
    return _ours(load, settings, open_s3_store(load_settings()))


WAYS: dict[str, Callable[[Load, KafkaSettings, Path], Seconds]] = {
    "bytes": bare_bytes,
    "avro": bare_avro,
    "avro+folder": bare_avro_to_folder,
    "folder": into_folder,
    "avro+garage": bare_avro_to_garage,
    "garage": into_garage,
}
OURS = ("folder", "garage")


def _produce(producer: confluent_kafka.Producer, topic: str, key: str, value: bytes) -> None:
    while True:
        try:
            producer.produce(topic, value, key)
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


def _consume(settings: KafkaSettings, count: int, use: Callable[[bytes], object]) -> None:
    properties = consumer_config(settings, settings.group) | {"enable.auto.offset.store": True}
    consumer = confluent_kafka.Consumer(properties)
    consumer.subscribe([settings.topic])
    seen = 0
    while seen < count:
        for message in consumer.consume(min(500, count - seen), 1.0):
            error = message.error()
            if error is not None:
                if error.code() == confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART:
                    continue  # the topic was made a moment ago
                raise confluent_kafka.KafkaException(error)
            use(message.value())
            seen += 1
    consumer.commit(asynchronous=False)
    consumer.close()


def _ours(load: Load, settings: KafkaSettings, store: ObjectStore) -> Seconds:
    # As in the loops, the registry's clients and the producer are there before the clock runs.
    deserializer = RecordDeserializer(settings)
    with ResultProducer(settings) as producer:
        began = time.perf_counter()
        answers = producer.send_all(zip(load.keys, load.records, strict=True))
        sent = sum(isinstance(where, str) for _, where in answers)
    produced = time.perf_counter()
    progress = Sink(store, deserializer, ResultConsumer(settings)).run(until_caught_up=True)
    ended = time.perf_counter()
    if (sent, progress.landed) != (load.count, load.count):
        raise RuntimeError(f"{load.count} records, {sent} sent, {progress.landed} landed")
    return Seconds(produced - began, ended - produced)


def make_load(shape: Shape, megabytes: float, settings: KafkaSettings) -> Load:
    """Records of a shape that are so many megabytes as JSON."""
    size = len(full_record(0, "size", shape).to_json())
    count = max(10, round(megabytes * 1e6 / size))
    records = [full_record(number, "bench", shape) for number in range(count)]
    serializer = RecordSerializer(settings)
    return Load(
        [molecule_of(number) for number in range(count)],
        records,
        [record.model_dump() for record in records],
        [serializer.to_bytes(record) for record in records],
        sum(len(record.to_json()) for record in records),
    )


def fresh_topic(settings: KafkaSettings) -> KafkaSettings:
    """Settings with a topic and a group that nobody has used."""
    topic = f"bench.{uuid.uuid4().hex[:12]}"
    admin = AdminClient(admin_config(settings))
    created = NewTopic(topic, PARTITIONS, 1, config={"max.message.bytes": str(settings.max_message_bytes + 65_536)})
    admin.create_topics([created])[topic].result(30)
    return settings.model_copy(update={"topic": topic, "group": topic})


def measure(load: Load, settings: KafkaSettings, rounds: int) -> dict[str, list[Seconds]]:
    """Every way once a round, in an order that turns; the first round warms up and does not count."""
    names, admin = list(WAYS), AdminClient(admin_config(settings))
    measured: dict[str, list[Seconds]] = {name: [] for name in names}
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            own, folder = fresh_topic(settings), Path(tempfile.mkdtemp(prefix="qpipe-bench-"))
            try:
                seconds = WAYS[name](load, own, folder)
            finally:
                shutil.rmtree(folder)
                admin.delete_topics([own.topic])[own.topic].result(30)
            if number:
                measured[name].append(seconds)
    return measured


def report(load: Load, measured: dict[str, list[Seconds]]) -> dict[str, float]:
    """Print the table; returns our ratios to the loop of the claim."""
    wire = sum(map(len, load.values))
    print(
        f"\n{load.count} records of {load.json_bytes / load.count / 1024:.0f} KiB JSON, "
        f"{wire / load.count / 1024:.0f} KiB Avro; median of {len(measured[CLAIM])} rounds (least to most)"
    )
    print("way           results/s  MB/s Avro   in [s]  out [s]            total [s]  to bytes  to avro  to avro+store")
    medians = {name: statistics.median(s.total for s in taken) for name, taken in measured.items()}
    for name, taken in measured.items():
        total, spread = medians[name], sorted(s.total for s in taken)
        phases = [statistics.median(s.into for s in taken), statistics.median(s.out_of for s in taken)]
        ratios = f"{medians['bytes'] / total:10.2f}{medians[CLAIM] / total:9.2f}"
        if name in OURS:
            ratios += f"{medians[f'{CLAIM}+{name}'] / total:15.2f}"
        print(
            f"{name:12}{load.count / total:11.0f}{wire / total / 1e6:11.1f}{phases[0]:9.2f}{phases[1]:9.2f}"
            f"{total:8.2f} ({spread[0]:.2f}-{spread[-1]:.2f}){ratios}",
            flush=True,
        )
    return {name: medians[CLAIM] / medians[name] for name in OURS}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark on the running services."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=float, default=40.0, help="of JSON a load")
    parser.add_argument("--sizes", default=",".join(SIZES), help="of small (30 KiB), lih (90 KiB), long (1.5 MiB)")
    asked = parser.parse_args(arguments)
    os.environ.update(Stack.running().environment)
    with own_bucket():
        run_all(asked)


@contextmanager
def own_bucket() -> Iterator[None]:
    """A bucket for the benchmark alone, which goes with what is in it."""
    os.environ["QPIPE_S3_RAW_BUCKET"] = name = f"bench-{uuid.uuid4().hex[:12]}"
    installation = load_settings()
    s3 = boto3.resource("s3", endpoint_url=installation.s3_endpoint, region_name=installation.s3_region)
    bucket = s3.create_bucket(Bucket=name)
    try:
        yield
    finally:
        bucket.objects.all().delete()
        bucket.delete()


def run_all(asked: argparse.Namespace) -> None:
    """Every size, and what became of the goal."""
    settings = load_kafka_settings()
    ratios: dict[str, dict[str, float]] = {}
    for size in asked.sizes.split(","):
        load = make_load(SIZES[size], asked.megabytes, fresh_topic(settings))
        ratios[size] = report(load, measure(load, settings, asked.rounds))
    print(f"\nratio of results/s to the loop `{CLAIM}` (goal {GOAL}):")
    for size, found in ratios.items():
        line = ", ".join(f"{name} {ratio:.2f} {'met' if ratio >= GOAL else 'MISSED'}" for name, ratio in found.items())
        print(f"  {size:8}{line}")


if __name__ == "__main__":
    main()
