"""Producer, registry and consumer on a real broker and a real registry: sizes, throughput, failures, evolution."""

from __future__ import annotations

import io
import json
import random
import struct
import time
from collections.abc import Collection, Iterator
from typing import Any

import fastavro
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from confluent_kafka.schema_registry import Schema, SchemaRegistryError

from qpipe_resources.kafka.consumer import Message, ResultConsumer
from qpipe_resources.kafka.errors import (
    BrokerUnavailableError,
    KafkaError,
    MessageTooLargeError,
    PoisonMessageError,
    RegistryUnavailableError,
    SchemaRefusedError,
    TopicError,
)
from qpipe_resources.kafka.producer import ResultProducer
from qpipe_resources.kafka.registry import registry_client
from qpipe_resources.kafka.serialization import RecordDeserializer, RecordSerializer
from qpipe_resources.kafka.settings import MEBIBYTE, KafkaSettings, load_kafka_settings
from qpipe_resources.serialization import avro_schema
from simulation.record import VQEDecoratedResult
from tests.integration.conftest import Sandbox
from tests.kafka import schemas
from tests.synthetic import plain_record

RECORD = VQEDecoratedResult.model_validate(plain_record())


def settings(**given: Any) -> KafkaSettings:
    return load_kafka_settings({"retry_delay": 0.2, "timeout": 20} | given)


@pytest.fixture
def producer(sandbox: Sandbox) -> Iterator[ResultProducer]:
    with ResultProducer(settings()) as made:
        yield made


def incompressible(megabytes: float) -> VQEDecoratedResult:
    """A record of about that size, whose parameters are random."""
    plain = plain_record(evaluations=2, parameters=int(megabytes * MEBIBYTE / 8 / 4))
    numbers = random.Random(7)
    for step in plain["vqe_result"]["iteration_list"]:
        step["parameters"] = [numbers.random() for _ in step["parameters"]]
    return VQEDecoratedResult.model_validate(plain)


def read(given: KafkaSettings, count: int, seconds: float = 60) -> list[Message]:
    """So many messages of the topic, from its beginning."""
    consumer = ResultConsumer(given)
    consumer.subscribe(lambda partitions, lost: None)
    messages: list[Message] = []
    end = time.monotonic() + seconds
    try:
        while len(messages) < count and time.monotonic() < end:
            if (message := consumer.poll(0.5)) is not None:
                messages.append(message)
        consumer.commit({(m.topic, m.partition): m.offset + 1 for m in messages})
    finally:
        consumer.close()
    return messages


def test_a_result_of_20_mebibytes_passes(producer: ResultProducer) -> None:
    record = incompressible(20)
    where = producer.send("N2", record)
    (message,) = read(settings(), 1)
    assert message.value is not None and len(message.value) > 20 * MEBIBYTE
    assert where == f"{message.topic}+{message.partition}+{message.offset}"
    assert VQEDecoratedResult.model_validate(RecordDeserializer(settings()).to_row(message.value)) == record


def test_a_result_over_the_topics_limit_is_refused_with_size_and_remedy_and_the_next_one_passes(
    sandbox: Sandbox, producer: ResultProducer
) -> None:
    limit = ConfigEntry("max.message.bytes", str(MEBIBYTE), incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, sandbox.topic, incremental_configs=[limit])
    admin = sandbox.admin()
    for future in admin.incremental_alter_configs([topic]).values():
        future.result(30)
    with pytest.raises(
        MessageTooLargeError, match=r"refused a record of 2\d{6} bytes .* max\.message\.bytes of the topic"
    ):
        producer.send("N2", incompressible(2))
    assert producer.send("H2", RECORD)
    with ResultProducer(settings(max_message_bytes=1024)) as small:
        with pytest.raises(MessageTooLargeError, match=r"the limit is 1024: raise KAFKA_MAX_MESSAGE_BYTES"):
            small.send("H2", RECORD)


def test_many_records_are_each_there_once_and_those_of_a_molecule_in_one_partition(
    sandbox: Sandbox, producer: ResultProducer
) -> None:
    molecules = ("H2", "HeH+", "LiH", "BH", "N2")
    pairs = [
        (molecule, VQEDecoratedResult.model_validate(plain_record(number, molecule)))
        for number in range(60)
        for molecule in molecules
    ]
    outcomes = dict(producer.send_all(pairs))
    assert sorted(outcomes) == list(range(len(pairs)))
    messages = {f"{m.topic}+{m.partition}+{m.offset}": m for m in read(settings(), len(pairs))}
    assert set(messages) == {str(where) for where in outcomes.values()}
    deserializer = RecordDeserializer(settings())
    for index, (molecule, record) in enumerate(pairs):
        message = messages[str(outcomes[index])]
        assert message.key == molecule.encode() and message.value is not None
        assert VQEDecoratedResult.model_validate(deserializer.to_row(message.value)) == record
    partitions = {(message.key, message.partition) for message in messages.values()}
    assert len(partitions) == len(molecules)


def test_committed_offsets_are_where_a_group_goes_on(sandbox: Sandbox, producer: ResultProducer) -> None:
    for number in range(4):
        producer.send("H2", VQEDecoratedResult.model_validate(plain_record(number)))
    first = read(settings(), 2)
    second = read(settings(), 2)
    assert [message.offset for message in first + second] == [0, 1, 2, 3]
    consumer = ResultConsumer(settings())
    ends = consumer.end_offsets()
    assert consumer.committed(list(ends)) == ends == {(sandbox.topic, first[0].partition): 4}
    consumer.close()


def test_a_paused_consumer_gives_nothing_and_knows_how_much_waits(sandbox: Sandbox, producer: ResultProducer) -> None:
    for number in range(3):
        producer.send("H2", VQEDecoratedResult.model_validate(plain_record(number)))
    consumer = ResultConsumer(settings())
    consumer.subscribe(lambda partitions, lost: None)
    first = next(found for _ in range(60) if (found := consumer.poll(0.5)) is not None)
    consumer.pause()
    assert first.offset == 0 and [consumer.poll(0.3) for _ in range(5)] == [None] * 5
    assert consumer.lag() == 2
    consumer.resume()
    rest = [found.offset for _ in range(40) if (found := consumer.poll(0.2)) is not None]
    consumer.close()
    assert rest == [1, 2]


def test_a_second_member_takes_partitions_over_after_the_first_was_told(sandbox: Sandbox) -> None:
    revoked: list[tuple[str, int]] = []
    first, second = ResultConsumer(settings()), ResultConsumer(settings())

    def told(partitions: Collection[tuple[str, int]], lost: bool) -> None:
        assert not lost
        revoked.extend(partitions)
        first.commit({partition: 7 for partition in partitions})

    first.subscribe(told)
    end = time.monotonic() + 60
    while not first._client.assignment() and time.monotonic() < end:
        first.poll(0.2)
    second.subscribe(lambda partitions, lost: None)
    while not (revoked and second._client.assignment()) and time.monotonic() < end:
        first.poll(0.1)
        second.poll(0.1)
    taken = [(sandbox.topic, partition.partition) for partition in second._client.assignment()]
    assert taken and set(taken) <= set(revoked)
    assert set(second.committed(taken).values()) == {7}
    second.close()
    first.close()


def test_a_missing_topic_is_named_with_the_remedy_to_producer_and_consumer(sandbox: Sandbox) -> None:
    given = settings(topic=f"{sandbox.topic}-gone", timeout=4)
    with ResultProducer(given) as producer, pytest.raises(TopicError, match=r"has no topic .*-gone .*create it"):
        producer.send("H2", RECORD)
    consumer = ResultConsumer(given)
    consumer.subscribe(lambda partitions, lost: None)
    with pytest.raises(TopicError, match="create it"):
        consumer.end_offsets()
    with pytest.raises(TopicError, match="create it"):
        for _ in range(40):
            consumer.poll(0.5)
    consumer.close()
    registry_client(given).delete_subject(given.subject)


def test_a_broker_that_is_down_is_a_typed_error_within_the_times_of_the_attempts(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    given = settings(servers="127.0.0.1:1", timeout=2, retries=2)
    begin = time.monotonic()
    with (
        ResultProducer(given) as producer,
        pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1:1 .* start the broker"),
    ):
        producer.send("H2", RECORD)
    assert time.monotonic() - begin < 60
    # The last one's failure is the error.
    assert len([line for line in caplog.messages if line.startswith("attempt 1 of 2: ") and given.servers in line]) == 1


def test_a_registry_that_is_down_is_a_typed_error_to_both_sides(sandbox: Sandbox) -> None:
    given = settings(registry_url="http://127.0.0.1:1", retries=2)
    with ResultProducer(given) as producer, pytest.raises(RegistryUnavailableError, match="SCHEMA_REGISTRY_URL"):
        producer.send("H2", RECORD)
    with pytest.raises(RegistryUnavailableError, match="SCHEMA_REGISTRY_URL"):
        RecordDeserializer(given).to_row(b"\0\0\0\0\1abc")


def test_a_registry_url_without_its_path_is_no_verdict_on_messages(sandbox: Sandbox) -> None:
    given = settings()
    bare = settings(registry_url=given.registry_url.split("/apis")[0])
    assert bare.registry_url != given.registry_url
    with pytest.raises(RegistryUnavailableError, match="/apis/ccompat/v7"):
        RecordDeserializer(bare).to_row(b"\0\0\0\0\1abc")


def test_an_id_that_the_registry_never_gave_is_poison(sandbox: Sandbox) -> None:
    with pytest.raises(PoisonMessageError, match="has no schema 2147483000"):
        RecordDeserializer(settings()).to_row(struct.pack(">bI", 0, 2147483000) + b"abc")


def test_the_registry_keeps_the_subject_backward_compatible_with_all_versions(sandbox: Sandbox) -> None:
    given = settings()
    RecordSerializer(given).register()
    client = registry_client(given)
    assert client.get_compatibility(given.subject) == "BACKWARD_TRANSITIVE"
    broken = avro_schema() | {"fields": [*avro_schema()["fields"], {"name": "needed", "type": "double"}]}
    with pytest.raises(SchemaRegistryError) as error:
        client.register_schema(given.subject, Schema(json.dumps(broken), "AVRO"))
    assert error.value.http_status_code == 409


def test_our_schema_is_registered_after_the_earlier_ones_and_all_are_read_side_by_side(sandbox: Sandbox) -> None:
    given = settings()
    client = registry_client(given)
    values = []
    for version in (1, 2):
        number = client.register_schema(given.subject, Schema(json.dumps(schemas.schema(version)), "AVRO"))
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, fastavro.parse_schema(schemas.schema(version)), schemas.record(version))
        values.append(struct.pack(">bI", 0, number) + buffer.getvalue())
    values.append(RecordSerializer(given).to_bytes(VQEDecoratedResult.model_validate(schemas.record(3))))
    assert len({value[:5] for value in values}) == 3
    deserializer = RecordDeserializer(given)
    for version, value in enumerate(values, start=1):
        expected = VQEDecoratedResult.model_validate(schemas.record(version))
        read_again = VQEDecoratedResult.model_validate(deserializer.to_row(value))
        assert read_again.vqe_result.iteration_list[0].parameters == expected.vqe_result.iteration_list[0].parameters
        assert read_again.molecule == expected.molecule


def test_a_subject_with_a_foreign_schema_refuses_ours_with_the_remedy(sandbox: Sandbox) -> None:
    given = settings()
    client = registry_client(given)
    foreign = {"type": "record", "name": "Other", "fields": [{"name": "basis_set", "type": "double"}]}
    client.register_schema(given.subject, Schema(json.dumps(foreign), "AVRO"))
    with pytest.raises(SchemaRefusedError, match=r"HTTP 409.*another topic"):
        RecordSerializer(given).register()


@pytest.mark.parametrize("acks", ["0", "1"])
def test_weaker_confirmations_are_possible(acks: str, sandbox: Sandbox) -> None:
    with ResultProducer(settings(acks=acks)) as producer:
        where = producer.send("H2", RECORD)
    assert where == (f"{sandbox.topic}, unconfirmed" if acks == "0" else where)
    assert len(read(settings(), 1)) == 1


def test_a_broker_that_is_killed_while_records_are_on_their_way_gets_each_of_them(sandbox: Sandbox) -> None:
    pairs = [("H2", VQEDecoratedResult.model_validate(plain_record(number, parameters=200))) for number in range(200)]
    outcomes: dict[int, str | KafkaError] = {}
    with ResultProducer(settings(timeout=60)) as producer:
        for index, outcome in producer.send_all(pairs):
            outcomes[index] = outcome
            if len(outcomes) == 20:
                sandbox.stack.kill("kafka")
                sandbox.stack.start("kafka")
    assert sorted(outcomes) == list(range(200))
    assert [outcome for outcome in outcomes.values() if isinstance(outcome, KafkaError)] == []
    consumer = ResultConsumer(settings())
    # Within one attempt the client's repetitions are recognised, even by a broker that was killed in between.
    assert sum(consumer.end_offsets().values()) == 200
    consumer.close()
    deserializer = RecordDeserializer(settings())
    rows = [deserializer.to_row(message.value or b"") for message in read(settings(), 200)]
    assert {row["vqe_result"]["initial_data"]["seed"] for row in rows} == set(range(200))
