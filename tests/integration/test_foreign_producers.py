"""What other producers send becomes right rows: four versions of quantum-pipeline with all their own code, plain JSON.

The package's own producer, serializer and registry client run in an environment of their own and send through the real
broker and registry; from there on it is our sink, the object store and the ingest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qpipe_assets.kafka_sink.dead_letters import letters
from qpipe_assets.kafka_sink.sink import Sink, SinkProgress, SinkSettings
from qpipe_assets.tables import schemas
from qpipe_assets.tables.decode import decode
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.kafka.consumer import ResultConsumer
from qpipe_resources.kafka.producer import ResultProducer
from qpipe_resources.kafka.registry import registry_client
from qpipe_resources.kafka.serialization import RecordDeserializer
from qpipe_resources.kafka.settings import load_kafka_settings
from qpipe_resources.object_store import ObjectStore
from simulation.record import VQEDecoratedResult
from tests.foreign.environment import install, run_in
from tests.foreign.expected_rows import expected_rows
from tests.integration.conftest import Sandbox
from tests.synthetic import plain_record

# Without the fixtures: the first one may install the versions.
pytestmark = [pytest.mark.services, pytest.mark.timeout(300, func_only=True)]

VERSIONS = ("1.2.5", "1.4.4", "2.1.0", "2.5.1")
"""Schemas of three ages: the first has none of the later fields, the third has all."""
SECOND = VERSIONS[-2:]
NEVER_SENT = {"1.4.4": {"seed", "nuclear_repulsion_energy"}}
"""What a version's results hold and its schema lacks."""

Record = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    for version in VERSIONS:
        install(version)


@pytest.fixture(autouse=True)
def _no_subjects_left(sandbox: Sandbox) -> Iterator[None]:
    """Remove the subjects of their records' parts; the sandbox knows of the topic's own only."""
    yield
    registry = registry_client(load_kafka_settings())
    for subject in registry.get_subjects():
        if subject.startswith(f"{sandbox.topic}."):
            registry.delete_subject(subject)


def sent_by(version: str, sandbox: Sandbox, folder: Path, registry_url: str = "") -> list[Record]:
    """Let a version of quantum-pipeline send its results to the sandbox's topic; what they say, as plain values."""
    folder.mkdir()
    url = registry_url or sandbox.environment["SCHEMA_REGISTRY_URL"]
    run_in(version, "send_results.py", str(folder), sandbox.topic, url, sandbox.environment["KAFKA_SERVERS"])
    return [_without(NEVER_SENT.get(version, set()), sent) for sent in json.loads((folder / "sent.json").read_text())]


def _without(names: set[str], value: Any) -> Any:
    if isinstance(value, list):
        return [_without(names, item) for item in value]
    if isinstance(value, dict):
        return {name: _without(names, item) for name, item in value.items() if name not in names}
    return value


def land(store: ObjectStore) -> SinkProgress:
    """Let a sink land what is in the topic."""
    kafka = load_kafka_settings()
    sink = Sink(store, RecordDeserializer(kafka), ResultConsumer(kafka), SinkSettings(give_up_seconds=60.0), print)
    return sink.run(until_caught_up=True)


def ingest(installation: Installation) -> None:
    for molecule in sorted(installation.discovery.by_molecule()):
        installation.ingest(print).run(molecule)


def identity(record: Record) -> str:
    return decode(json.dumps(record).encode())[0].experiment_id


def assert_rows(installation: Installation, records: list[Record]) -> None:
    """The nine tables hold exactly the rows of these records, value by value to the last bit."""
    expected = [expected_rows(record, identity(record)) for record in records]
    for name in schemas.NORMALIZED_NAMES:
        wanted = [row for of_record in expected for row in of_record[name]]
        table = installation.lakehouse.arrow(name).select(list(wanted[0]))
        key = [column for column in schemas.table(name).key if column in wanted[0]]
        found, wanted = (sorted(rows, key=lambda row: [row[k] for k in key]) for rows in (table.to_pylist(), wanted))
        assert len(found) == len(wanted), name
        for row, want in zip(found, wanted, strict=True):
            different = {column: (row[column], want[column]) for column in want if not _same(row[column], want[column])}
            assert not different, (name, [row[k] for k in key], different)


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_same, found, wanted))
    if isinstance(wanted, float):
        return isinstance(found, float) and found == wanted and math.copysign(1, found) == math.copysign(1, wanted)
    return type(found) is type(wanted) and found == wanted


def test_four_versions_of_quantum_pipeline_and_qpipe_share_a_topic_and_every_value_arrives(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    records = [r for version in VERSIONS for r in sent_by(version, sandbox, tmp_path / version)]
    own = plain_record(3) | {"experiment_id": "3" * 64, "started_at": "2026-11-21T00:00:00+00:00"}
    with ResultProducer(load_kafka_settings()) as producer:
        producer.send("H2", VQEDecoratedResult.model_validate(own))
    installation = open_installation()
    progress = land(installation.store)
    assert (progress.landed, progress.dead_letters) == (len(records) + 1, 0)
    ingest(installation)
    assert len({identity(record) for record in records}) == len(records) == 2 * len(VERSIONS)
    assert_rows(installation, [*records, own])


def test_their_second_version_can_register_beside_ours_and_what_it_sends_without_a_registry_is_a_dead_letter(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    own = plain_record(3) | {"experiment_id": "3" * 64, "started_at": "2026-11-21T00:00:00+00:00"}
    with ResultProducer(load_kafka_settings()) as producer:
        producer.send("H2", VQEDecoratedResult.model_validate(own))
    theirs = [r for version in SECOND for r in sent_by(version, sandbox, tmp_path / version)]
    # 2.1.0 takes it for sent when nobody has told it an id: Avro with nothing before it.
    sent_by("2.1.0", sandbox, tmp_path / "alone", registry_url="http://127.0.0.1:9")
    installation = open_installation()
    progress = land(installation.store)
    assert (progress.landed, progress.dead_letters) == (len(theirs) + 1, 2)
    buried = {value for _, value in letters(installation.store, sandbox.topic)}
    assert buried == {(tmp_path / "alone" / f"{number}.avro").read_bytes() for number in range(2)}
    assert all("expected 00" in letter.reason for letter, _ in letters(installation.store, sandbox.topic))
    ingest(installation)
    assert_rows(installation, [*theirs, own])


def test_the_same_result_as_avro_through_kafka_and_as_json_in_the_bucket_has_one_identity_and_one_set_of_rows(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    records = sent_by("2.5.1", sandbox, tmp_path / "sent")
    installation = open_installation()
    land(installation.store)
    for number, record in enumerate(records):
        installation.store.put(f"experiments/{sandbox.topic}/{number}-1795269102624000000.json", as_redpanda(record))
    ingest(installation)
    assert_rows(installation, records)
    versions = [installation.ledger.object_versions(identity(record)) for record in records]
    assert [sorted(version["status"] for version in seen) for seen in versions] == [["duplicate", "ingested"]] * 2


def test_json_in_the_shapes_that_other_pipelines_write_becomes_the_same_rows(sandbox: Sandbox, tmp_path: Path) -> None:
    oldest, newest = (sent_by(version, sandbox, tmp_path / version) for version in (VERSIONS[0], VERSIONS[-1]))
    _skip_what_was_sent(sandbox)
    installation = open_installation()
    _produce(sandbox, [as_redpanda(oldest[0]), flat(newest[1])])
    assert land(installation.store).landed == 2
    folder, hour = f"experiments/{sandbox.topic}", "year=2026/month=11/day=21/hour=09"
    installation.store.put(f"{folder}/8-1795269102624000000.json", flat(oldest[1]))
    installation.store.put(f"{folder}/{hour}/9-1795269102625000000.json", as_redpanda(newest[0]))
    ingest(installation)
    assert_rows(installation, [*oldest, *newest])


def as_redpanda(record: Record) -> bytes:
    """A record as Redpanda Connect's decoder writes it: raw unions, whole numbers without a point, fields sorted."""
    return json.dumps(_whole_numbers(record), sort_keys=True, separators=(",", ":")).encode()


def flat(record: Record) -> bytes:
    """A record with the molecule's fields in the molecule itself, its coordinates in one row, and units in capitals."""
    molecule = dict(record["molecule"]["molecule_data"])
    molecule["coords"] = [x for position in molecule["coords"] for x in position]
    molecule["units"] = molecule["units"].upper()
    return json.dumps(record | {"molecule": molecule}).encode()


def _whole_numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {name: _whole_numbers(item) for name, item in value.items()}
    # Go writes -0.0 as -0, which JSON's readers in Python take for the integer 0: the sign is lost on the way.
    whole = isinstance(value, float) and value.is_integer() and math.copysign(1, value) > 0
    return int(value) if whole else value


def _skip_what_was_sent(sandbox: Sandbox) -> None:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {"bootstrap.servers": sandbox.environment["KAFKA_SERVERS"], "group.id": f"{sandbox.topic}-sink"}
    )
    ends = [
        TopicPartition(sandbox.topic, n, consumer.get_watermark_offsets(TopicPartition(sandbox.topic, n))[1])
        for n in range(3)
    ]
    consumer.commit(offsets=ends, asynchronous=False)
    consumer.close()


def _produce(sandbox: Sandbox, values: list[bytes]) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": sandbox.environment["KAFKA_SERVERS"]})
    for value in values:
        producer.produce(sandbox.topic, value)
    assert producer.flush(30) == 0
