"""The record as a Kafka message: Avro behind Confluent's five bytes, 0x00 and the schema's id in the registry."""

from __future__ import annotations

import json
import struct
import threading
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import fastavro
from confluent_kafka.schema_registry import SchemaRegistryClient, SchemaRegistryError, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from qpipe_resources.avro_container import EncodedRecord, with_fields
from qpipe_resources.kafka.errors import PoisonMessageError
from qpipe_resources.kafka.registry import record_schema, register_record_schema, registry_client, registry_errors
from simulation.record import VQEDecoratedResult

if TYPE_CHECKING:
    from qpipe_resources.kafka.settings import KafkaSettings

_HEADER = struct.Struct(">bI")
_MAGIC = 0
_UNKNOWN_SCHEMA = 40403
"""Confluent's code for an id that the registry does not have; a plain 404 is somebody else's answer."""


class RecordSerializer:
    """From records to messages. The schema is registered at the first record, and never again by this object.

    Args:
        settings: Name the registry, and the topic whose values' schema it is.
        registry: The registry's client; made from the settings when it is not given.
    """

    def __init__(self, settings: KafkaSettings, registry: SchemaRegistryClient | None = None) -> None:
        self._settings = settings
        self._registry = registry or registry_client(settings)
        self._context = SerializationContext(settings.topic, MessageField.VALUE)
        self._serialize = AvroSerializer(
            self._registry,
            record_schema(),
            lambda record, _: plain(record),
            {"subject.name.strategy": topic_subject_name_strategy},
        )
        self._schema_id: int | None = None
        self._lock = threading.Lock()

    def to_bytes(self, record: VQEDecoratedResult) -> bytes:
        """The message's value.

        Raises:
            RegistryUnavailableError: the schema could not be registered for now.
            SchemaRefusedError: the registry refuses the schema.
        """
        self.register()
        return self._serialize(record, self._context)

    def register(self) -> int:
        """Register the schema, unless this object has; returns its id. Raises as `to_bytes`."""
        with self._lock:
            if self._schema_id is None:
                self._schema_id = register_record_schema(self._settings, self._registry)
            return self._schema_id


@dataclass(frozen=True)
class _Writer:
    """A writer's schema: its text, parsed, and reduced to the molecule; `lacks` are required fields that it has not."""

    text: str
    schema: Any
    molecule_only: Any
    lacks: tuple[str, ...]


class RecordDeserializer:
    """Reads messages, each by the schema that its own id names; it has no schema of its own.

    Args:
        settings: Name the registry.
        registry: The registry's client; made from the settings when it is not given.
    """

    def __init__(self, settings: KafkaSettings, registry: SchemaRegistryClient | None = None) -> None:
        self._settings = settings
        self._registry = registry or registry_client(settings)
        self._writers: dict[int, _Writer] = {}

    def to_row(self, value: bytes) -> dict[str, Any]:
        """The record as its writer wrote it: the writer's fields, no defaults of ours, not validated.

        Raises:
            PoisonMessageError: the message will never be a record; says why.
            RegistryUnavailableError: nothing is known about its schema for now.
        """
        schema_id = _schema_id(value)
        row = _read(value, schema_id, self._writer(schema_id).schema, None)
        if not isinstance(row, dict):
            raise PoisonMessageError(f"its schema {schema_id} is of a {type(row).__name__}; expected a record")
        return row

    def take_apart(self, value: bytes) -> EncodedRecord:
        """The record still encoded; its bytes are of its schema, whatever its fields hold. Raises as `to_row`."""
        schema_id = _schema_id(value)
        writer = self._writer(schema_id)
        if writer.lacks:
            raise PoisonMessageError(
                f"its schema {schema_id} lacks {', '.join(writer.lacks)}; expected one of a VQE run's record"
            )
        row = _read(value, schema_id, writer.schema, writer.molecule_only)
        return EncodedRecord(writer.text, value[_HEADER.size :], row["molecule"])

    def lacks_schema(self, value: bytes) -> bool:
        """Whether `to_row` would have to ask the registry. Raises PoisonMessageError as it does."""
        return _schema_id(value) not in self._writers

    def look_up_schema(self, value: bytes) -> None:
        """Have the message's schema at hand, so that `to_row` asks nobody. Raises as `to_row`."""
        self._writer(_schema_id(value))

    def _writer(self, schema_id: int) -> _Writer:
        if schema_id not in self._writers:
            self._writers[schema_id] = self._found(schema_id)
        return self._writers[schema_id]

    def _found(self, schema_id: int) -> _Writer:
        with registry_errors(self._settings):
            try:
                schema = self._registry.get_schema(schema_id)
            except SchemaRegistryError as error:
                if error.error_code != _UNKNOWN_SCHEMA:
                    raise
                raise PoisonMessageError(f"the registry has no schema {schema_id}, which it names") from error
        if schema.schema_type not in (None, "AVRO") or schema.references:
            raise PoisonMessageError(
                f"its schema {schema_id} is {schema.schema_type} with {len(schema.references or [])} references; "
                "expected Avro in one piece"
            )
        text = schema.schema_str or ""
        try:
            return _writer_of(text, fastavro.parse_schema(json.loads(text)))
        except Exception as error:  # what is no JSON, and what is no Avro
            raise PoisonMessageError(f"its schema {schema_id} is none ({type(error).__name__}: {error})") from error


def _writer_of(text: str, schema: Any) -> _Writer:
    fields = schema["fields"] if isinstance(schema, dict) and schema.get("type") == "record" else []
    lacks = {name for name, field in VQEDecoratedResult.model_fields.items() if field.is_required()}
    lacks -= {field["name"] for field in fields}
    molecule_only = None
    if not lacks:
        try:
            molecule_only = fastavro.parse_schema(with_fields(schema, ("molecule",)))
        except fastavro.schema.UnknownType:
            pass  # the molecule uses what another field defines: such records are decoded as a whole
    return _Writer(text, schema, molecule_only, tuple(sorted(lacks)))


def _read(value: bytes, schema_id: int, writer: Any, reader: Any) -> Any:
    payload = BytesIO(value)
    payload.seek(_HEADER.size)
    try:
        row = fastavro.schemaless_reader(payload, writer, reader)
    except MemoryError:
        raise
    # fastavro has no common base for what damaged bytes raise (struct, EOF, index, value and decoding errors).
    except Exception as error:
        raise PoisonMessageError(
            f"its bytes are not of its schema {schema_id} ({type(error).__name__}: {error})"
        ) from error
    if rest := len(value) - payload.tell():
        raise PoisonMessageError(f"its schema {schema_id} leaves {rest} of its {len(value)} bytes unread")
    return row


def _schema_id(value: bytes) -> int:
    if len(value) <= _HEADER.size or value[0] != _MAGIC:
        raise PoisonMessageError(
            f"it has {len(value)} bytes, {value[: _HEADER.size].hex(' ')} ...; expected 00, the schema's id in 4 "
            "bytes, and Avro"
        )
    _, schema_id = _HEADER.unpack_from(value)
    return int(schema_id)


def plain(record: VQEDecoratedResult) -> dict[str, Any]:
    """The record as `model_dump` gives it, for a writer that only reads: what it has thousands of is shared."""
    row = record.model_dump(exclude={"vqe_result": {"iteration_list": True, "initial_data": {"hamiltonian"}}})
    result = record.vqe_result
    row["vqe_result"]["iteration_list"] = [evaluation.__dict__ for evaluation in result.iteration_list]
    row["vqe_result"]["initial_data"]["hamiltonian"] = [
        {"label": term.label, "coefficients": term.coefficients.__dict__} for term in result.initial_data.hamiltonian
    ]
    return row
