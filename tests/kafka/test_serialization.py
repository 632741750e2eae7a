"""The record as a message: Confluent's wire format, every writer's version read by the id in the message."""

from __future__ import annotations

import io
import itertools
import json
import struct
from collections.abc import Iterator
from typing import Any

import fastavro
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings

from qpipe_resources.kafka.errors import PoisonMessageError
from qpipe_resources.kafka.serialization import RecordDeserializer, RecordSerializer, plain
from qpipe_resources.kafka.settings import KafkaSettings
from qpipe_resources.serialization import avro_schema
from simulation.identity import content_id
from simulation.record import VQEDecoratedResult
from tests.kafka import schemas
from tests.kafka.registry_server import Registry, serving
from tests.synthetic import plain_record
from tests.tables.records import records

SUBJECT = "experiment.vqe-value"


def message(registry: Registry, schema: Any, row: Any) -> bytes:
    """A message of another writer, whose schema the registry has."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(schema), row)
    return struct.pack(">bI", 0, registry.register(SUBJECT, json.dumps(schema))) + buffer.getvalue()


def poison(deserializer: RecordDeserializer, value: bytes) -> str:
    with pytest.raises(PoisonMessageError) as error:
        deserializer.to_row(value)
    assert error.value.reason in str(error.value)
    return error.value.reason


@pytest.fixture
def deserializer(settings: KafkaSettings) -> RecordDeserializer:
    return RecordDeserializer(settings)


@pytest.fixture(scope="module")
def codec() -> Iterator[tuple[RecordSerializer, RecordDeserializer]]:
    with serving(Registry()) as registry:
        settings = KafkaSettings(registry_url=registry.url)
        yield RecordSerializer(settings), RecordDeserializer(settings)


@given(records)
@hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_record_is_the_same_after_bytes_and_row_and_its_content_has_one_identity(
    codec: tuple[RecordSerializer, RecordDeserializer], record: VQEDecoratedResult
) -> None:
    serializer, deserializer = codec
    row = deserializer.to_row(serializer.to_bytes(record))
    again = VQEDecoratedResult.model_validate(row)
    assert again == record
    as_json = VQEDecoratedResult.model_validate_json(json.dumps(row))
    assert content_id(again) == content_id(record) == content_id(as_json)
    assert content_id(VQEDecoratedResult.model_validate_json(record.to_json())) == content_id(record)


@given(records)
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_plain_form_is_that_of_the_model_and_shares_its_evaluations(record: VQEDecoratedResult) -> None:
    assert plain(record) == record.model_dump()
    assert plain(record)["vqe_result"]["iteration_list"][0] is record.vqe_result.iteration_list[0].__dict__


def test_the_wire_is_zero_the_schema_id_and_avro_by_the_one_schema(settings: KafkaSettings, registry: Registry) -> None:
    record = VQEDecoratedResult.model_validate(plain_record())
    value = RecordSerializer(settings).to_bytes(record)
    assert value[0] == 0
    assert json.loads(registry.schemas[int.from_bytes(value[1:5], "big")]) == avro_schema()
    read = fastavro.schemaless_reader(io.BytesIO(value[5:]), fastavro.parse_schema(avro_schema()), None)
    assert read == record.model_dump()


def test_confluents_own_deserializer_reads_it(settings: KafkaSettings) -> None:
    record = VQEDecoratedResult.model_validate(plain_record())
    value = RecordSerializer(settings).to_bytes(record)
    conf = {"subject.name.strategy": topic_subject_name_strategy}
    reader = AvroDeserializer(SchemaRegistryClient({"url": settings.registry_url}), conf=conf)
    assert reader(value, SerializationContext("experiment.vqe", MessageField.VALUE)) == record.model_dump()


def test_a_message_of_confluents_own_serializer_is_read(settings: KafkaSettings) -> None:
    row = VQEDecoratedResult.model_validate(plain_record()).model_dump()
    conf = {"subject.name.strategy": topic_subject_name_strategy}
    client = SchemaRegistryClient({"url": settings.registry_url})
    writer = AvroSerializer(client, json.dumps(avro_schema()), conf=conf)
    value = writer(row, SerializationContext("experiment.vqe", MessageField.VALUE))
    assert RecordDeserializer(settings).to_row(value) == row


def test_several_versions_are_read_side_by_side_each_by_the_id_in_its_message(
    registry: Registry, deserializer: RecordDeserializer
) -> None:
    values = [
        (version, flat, message(registry, schemas.schema(version, flat_molecule=flat), _flattened(version, flat)))
        for version, flat in ((1, True), (1, False), (2, False), (3, False))
    ]
    assert len({value[:5] for _, _, value in values}) == 4
    for version, flat, value in values * 2:
        row = deserializer.to_row(value)
        assert set(row) == {field["name"] for field in schemas.schema(version)["fields"]}
        record = VQEDecoratedResult.model_validate(row)
        assert record.molecule.molecule_data.symbols == ["He", "H"]
        assert ("symbols" in row["molecule"]) is flat
        assert record.vqe_result.minimum == schemas.record(version)["vqe_result"]["minimum"]
        assert record.schema_version == (3 if version == 3 else None)


def _flattened(version: int, flat: bool) -> dict[str, Any]:
    row = schemas.record(version)
    return row | {"molecule": row["molecule"]["molecule_data"]} if flat else row


def test_the_first_version_gets_the_defaults_of_what_it_lacks(
    registry: Registry, deserializer: RecordDeserializer
) -> None:
    row = deserializer.to_row(message(registry, schemas.schema(1), schemas.record(1)))
    assert "seed" not in row["vqe_result"]["initial_data"]
    result = VQEDecoratedResult.model_validate(row).model_dump()["vqe_result"]
    assert schemas.DEFAULTS["VQEInitialData"].items() <= result["initial_data"].items()
    assert schemas.DEFAULTS["VQEResult"].items() <= result.items()
    assert all(schemas.DEFAULTS["VQEProcess"].items() <= step.items() for step in result["iteration_list"])
    assert result["initial_data"]["init_strategy"] == "random"


def test_flat_coordinates_are_read_as_rows_of_three(registry: Registry, deserializer: RecordDeserializer) -> None:
    schema = schemas.schema(1)
    molecule = next(field for field in schema["fields"] if field["name"] == "molecule")["type"]["fields"][0]["type"]
    coords = next(field for field in molecule["fields"] if field["name"] == "coords")
    coords["type"] = {"type": "array", "items": "double"}
    row = schemas.record(1)
    positions = row["molecule"]["molecule_data"]["coords"]
    row["molecule"]["molecule_data"]["coords"] = list(itertools.chain.from_iterable(positions))
    read = VQEDecoratedResult.model_validate(deserializer.to_row(message(registry, schema, row)))
    assert read.molecule.molecule_data.coords == positions


@pytest.mark.parametrize(("written", "read"), [(1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 3)])
def test_each_schema_reads_all_earlier_ones_by_avros_own_rules(written: int, read: int) -> None:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(schemas.schema(written)), schemas.record(written))
    buffer.seek(0)
    writer, reader = fastavro.parse_schema(schemas.schema(written)), fastavro.parse_schema(schemas.schema(read))
    row = fastavro.schemaless_reader(buffer, writer, reader)
    as_written = schemas.record(written)
    assert row["vqe_result"]["minimum"] == as_written["vqe_result"]["minimum"]
    assert row["molecule"]["molecule_data"]["symbols"] == ["He", "H"]
    if written == 1 and read > 1:
        assert schemas.DEFAULTS["VQEInitialData"].items() <= row["vqe_result"]["initial_data"].items()
    if read == 3:
        assert row["experiment_id"] is None and row["schema_version"] == as_written.get("schema_version")


def test_a_schema_with_a_new_field_and_no_default_would_not_read_earlier_ones() -> None:
    broken = schemas.schema(3)
    broken["fields"].append({"name": "needed", "type": "double"})
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(avro_schema()), schemas.record(3))
    buffer.seek(0)
    with pytest.raises(fastavro.read.SchemaResolutionError):
        fastavro.schemaless_reader(buffer, fastavro.parse_schema(avro_schema()), fastavro.parse_schema(broken))


@pytest.mark.parametrize("value", [b"", b"\0", b"\0\0\0\0\1", b'{"vqe_result": 1}', b"\1\0\0\0\1abc"])
def test_a_message_without_confluents_header_is_poison(deserializer: RecordDeserializer, value: bytes) -> None:
    assert "expected 00, the schema's id" in poison(deserializer, value)


def test_an_id_that_the_registry_does_not_have_is_poison(deserializer: RecordDeserializer) -> None:
    assert "has no schema 77" in poison(deserializer, struct.pack(">bI", 0, 77) + b"abc")


def test_bytes_of_another_schema_are_poison(registry: Registry, deserializer: RecordDeserializer) -> None:
    value = message(registry, avro_schema(), schemas.record(3))
    assert "not of its schema 1" in poison(deserializer, value[:-40])
    assert "leaves 3 of its" in poison(deserializer, value + b"abc")
    other = registry.register(SUBJECT, json.dumps("string"))
    assert "expected a record" in poison(deserializer, struct.pack(">bI", 0, other) + b"\x06abc")


def test_a_schema_that_is_none_is_poison(registry: Registry, deserializer: RecordDeserializer) -> None:
    for text in ("{not json", '{"type": "record"}'):
        number = registry.register(SUBJECT, text)
        assert f"schema {number} is none" in poison(deserializer, struct.pack(">bI", 0, number) + b"abc")


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_record_that_is_taken_apart_is_still_what_its_writer_encoded(
    registry: Registry, deserializer: RecordDeserializer, version: int
) -> None:
    value = message(registry, schemas.schema(version), schemas.record(version))
    taken = deserializer.take_apart(value)
    assert taken.data == value[5:]
    assert taken.molecule == deserializer.to_row(value)["molecule"]
    assert json.loads(taken.schema) == schemas.schema(version)


def test_a_molecule_that_uses_what_another_field_defines_is_found_all_the_same(
    registry: Registry, deserializer: RecordDeserializer
) -> None:
    schema = schemas.schema(3)
    (molecule,) = [field for field in schema["fields"] if field["name"] == "molecule"]
    twin = {"name": "twin", "type": molecule["type"]}
    others = [field for field in schema["fields"] if field is not molecule]
    schema["fields"] = [twin, molecule | {"type": "quantum_pipeline.MoleculeInfo"}, *others]
    row = schemas.record(3)
    value = message(registry, schema, row | {"twin": row["molecule"]})
    assert deserializer.take_apart(value).molecule == deserializer.to_row(value)["molecule"]


def test_a_schema_of_something_else_is_poison_and_says_what_it_lacks(
    registry: Registry, deserializer: RecordDeserializer
) -> None:
    schema = {"type": "record", "name": "Reading", "fields": [{"name": "celsius", "type": "double"}]}
    value = message(registry, schema, {"celsius": 21.0})
    with pytest.raises(PoisonMessageError, match=r"lacks basis_set, .*, vqe_result"):
        deserializer.take_apart(value)


def test_a_schema_is_asked_for_once(registry: Registry, deserializer: RecordDeserializer) -> None:
    value = message(registry, avro_schema(), schemas.record(3))
    for _ in range(3):
        deserializer.to_row(value)
    assert registry.requests == ["GET /schemas/ids/1"]
