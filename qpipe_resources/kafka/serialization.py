"""The record as a Kafka message: Avro behind Confluent's five bytes, 0x00 and the schema's id in the registry."""

from __future__ import annotations

import json
import struct
import threading
from io import BytesIO
from typing import TYPE_CHECKING, Any

import fastavro
from confluent_kafka.schema_registry import SchemaRegistryClient, SchemaRegistryError, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from qpipe_resources.kafka.errors import PoisonMessageError
from qpipe_resources.kafka.registry import record_schema, register_record_schema, registry_client, registry_errors

if TYPE_CHECKING:
    from qpipe_resources.kafka.settings import KafkaSettings
    from simulation.record import VQEDecoratedResult

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


class RecordDeserializer:
    """From messages to rows, each by the schema that its own id names; it has no schema of its own.

    Args:
        settings: Name the registry.
        registry: The registry's client; made from the settings when it is not given.
    """

    def __init__(self, settings: KafkaSettings, registry: SchemaRegistryClient | None = None) -> None:
        self._settings = settings
        self._registry = registry or registry_client(settings)
        self._schemas: dict[int, Any] = {}

    def to_row(self, value: bytes) -> dict[str, Any]:
        """The record as its writer wrote it: the writer's fields, no defaults of ours, not validated.

        Raises:
            PoisonMessageError: the message will never be a record; says why.
            RegistryUnavailableError: nothing is known about its schema for now.
        """
        schema_id = _schema_id(value)
        schema = self._schema(schema_id)
        payload = BytesIO(value)
        payload.seek(_HEADER.size)
        try:
            row = fastavro.schemaless_reader(payload, schema, None)
        except MemoryError:
            raise
        # fastavro has no common base for what damaged bytes raise (struct, EOF, index, value and decoding errors).
        except Exception as error:
            raise PoisonMessageError(
                f"its bytes are not of its schema {schema_id} ({type(error).__name__}: {error})"
            ) from error
        if rest := len(value) - payload.tell():
            raise PoisonMessageError(f"its schema {schema_id} leaves {rest} of its {len(value)} bytes unread")
        if not isinstance(row, dict):
            raise PoisonMessageError(f"its schema {schema_id} is of a {type(row).__name__}; expected a record")
        return row

    def lacks_schema(self, value: bytes) -> bool:
        """Whether `to_row` would have to ask the registry. Raises PoisonMessageError as it does."""
        return _schema_id(value) not in self._schemas

    def look_up_schema(self, value: bytes) -> None:
        """Have the message's schema at hand, so that `to_row` asks nobody. Raises as `to_row`."""
        self._schema(_schema_id(value))

    def _schema(self, schema_id: int) -> Any:
        if schema_id not in self._schemas:
            self._schemas[schema_id] = self._parsed(schema_id)
        return self._schemas[schema_id]

    def _parsed(self, schema_id: int) -> Any:
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
        try:
            return fastavro.parse_schema(json.loads(schema.schema_str or ""))
        except Exception as error:  # what is no JSON, and what is no Avro
            raise PoisonMessageError(f"its schema {schema_id} is none ({type(error).__name__}: {error})") from error


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
