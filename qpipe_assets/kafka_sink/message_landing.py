"""What becomes of Kafka's messages: records in objects of the raw store, or dead letters with the reason.

A record in Avro stays as its writer encoded it: it lands in a container file with its writer's schema. Only the
molecule is decoded, and that the bytes are of their schema is seen by skipping the rest. What a record's fields hold is
judged once, by the ingest, which sets a bad one apart from those it landed with. Plain JSON stays JSON.

The key follows from topic, partition, offset and Kafka's timestamp alone, so that the same message twice is one object.
Messages that wait at the same time share one: the store's price is one object's, whatever it holds. Its key is that of
the first one with a digest of all.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from qpipe_assets.kafka_sink.dead_letters import DeadLetter, ForeignObjectError, bury, letter_of, letters, remove
from qpipe_assets.kafka_sink.patience import Patience
from qpipe_assets.kafka_sink.put_beside import put_together
from qpipe_assets.tables.decode import DecodeError, molecule_of_json, molecule_of_part
from qpipe_resources.avro_container import EncodedRecord, container
from qpipe_resources.kafka.errors import KafkaError, PoisonMessageError, RegistryUnavailableError
from qpipe_resources.object_layout import AVRO, JSON, result_key
from qpipe_resources.object_store import ObjectStore

if TYPE_CHECKING:
    from qpipe_resources.kafka.consumer import Message

OBJECT_STORE = "object store"
REGISTRY = "Schema Registry"
DECODING = "decoding on this machine"
_NOT_NOW = (RegistryUnavailableError, MemoryError, OSError)
"""Errors that say nothing about a message."""


class Deserializer(Protocol):
    """Reads messages in Confluent's wire format, by the schema whose id they carry."""

    def lacks_schema(self, message_value: bytes) -> bool:
        """Whether `take_apart` would have to ask the registry. Raises PoisonMessageError as it does."""

    def look_up_schema(self, message_value: bytes) -> None:
        """Have the message's schema at hand, so that `take_apart` asks nobody. Raises as `take_apart`."""

    def take_apart(self, message_value: bytes) -> EncodedRecord:
        """The record as its writer encoded it.

        Raises:
            PoisonMessageError: it will never be one.
            RegistryUnavailableError: nobody tells the schema now.
        """


@dataclass(frozen=True)
class Landed:
    """A message is where it belongs, with so many bytes; `reason` is None unless it is a dead letter, under `key`."""

    key: str
    size: int
    reason: str | None = None


@dataclass(frozen=True)
class Readable:
    """A message that is a record: what it is known by, the molecule's partition key, and the record.

    `data` is in Avro's binary encoding by `schema`, or JSON where that is None.
    """

    letter: DeadLetter
    molecule: str
    data: bytes
    schema: str | None

    @property
    def belongs(self) -> tuple[str, int, str, str, str | None]:
        """Topic, partition, molecule, day and schema: what messages that share an object have in common."""
        return self.letter.topic, self.letter.partition, self.molecule, self.letter.timestamp[:10], self.schema

    @property
    def key(self) -> str:
        """The key that it has alone."""
        ending = JSON if self.schema is None else AVRO
        return result_key(self.letter.topic, self.molecule, self.letter.timestamp, self.letter.name, ending)


class MessageLanding:
    """Puts messages into a store. Safe to share among threads.

    Reading needs the interpreter's lock, and of a large JSON ten times its bytes: one at a time is as fast, and
    bounds the memory. What waits for the network or the disk, for a schema and while storing, goes on beside it.
    """

    def __init__(self, store: ObjectStore, deserializer: Deserializer, patience: Patience) -> None:
        self._store = store
        self._deserializer = deserializer
        self._patience = patience
        self._decoding = threading.Lock()

    def read(self, message: Message) -> Readable | Landed:
        """A message's record; a message that is none is durably put as a dead letter. Waits for what is down.

        Raises:
            GivenUpError: the work was stopped while it waited.
        """
        try:
            return self.read_again(letter_of(message, ""), message.value)
        except PoisonMessageError as poison:
            letter = letter_of(message, poison.reason)
            kept = self._patience.attempt(OBJECT_STORE, lambda: bury(self._store, letter, message.value))
            return Landed(kept.key_prefix, letter.size or 0, poison.reason)

    def read_again(self, letter: DeadLetter, value: bytes | None) -> Readable:
        """The record of a message that may have been a dead letter.

        Raises:
            PoisonMessageError: it is one.
            GivenUpError: the work was stopped while it waited.
        """
        self._look_up_schema(value)
        molecule, data, schema = self._patience.attempt(DECODING, lambda: self._decoded(value), _NOT_NOW)
        return Readable(letter, molecule, data, schema)

    def put(self, together: Sequence[Readable]) -> list[Landed]:
        """Put messages that belong together into the store, durably, as one object. Waits for the store.

        Raises:
            GivenUpError: the work was stopped while it waited.
        """
        in_order = sorted(together, key=lambda message: message.letter.offset)
        documents, schema = [message.data for message in in_order], in_order[0].schema
        data = b"\n".join(documents) if schema is None else container(schema, documents)
        first, alone = in_order[0].key, len(in_order) == 1
        key = self._patience.attempt(OBJECT_STORE, lambda: put_together(self._store, first, data, alone))
        return [Landed(key, len(message.data)) for message in together]

    def _look_up_schema(self, value: bytes | None) -> None:
        # What needs no answer of the registry must not tell that it is back.
        if value is not None and not _is_json(value) and self._deserializer.lacks_schema(value):
            self._patience.attempt(REGISTRY, lambda: look_up_schema(value, self._deserializer), _NOT_NOW)

    def _decoded(self, value: bytes | None) -> tuple[str, bytes, str | None]:
        with self._decoding:
            return decoded(value, self._deserializer)


def land_dead_letters(store: ObjectStore, deserializer: Deserializer, topic: str) -> Iterator[tuple[str, Landed]]:
    """Try each dead letter of a topic again: those that can be decoded now land under their own keys, and go.

    Yields:
        The message's name, and where it is now. What is no dead letter comes last, by its key.

    Raises:
        GivenUpError: the registry or the store is down.
    """
    landing = MessageLanding(store, deserializer, Patience(lambda line: None, threading.Event(), again=False))
    foreign: list[ForeignObjectError] = []
    for letter, value in letters(store, topic, foreign.append):
        try:
            (landed,) = landing.put([landing.read_again(letter, value)])
        except PoisonMessageError as poison:
            if poison.reason != letter.reason:
                bury(store, replace(letter, reason=poison.reason), value)
            landed = Landed(letter.key_prefix, letter.size or 0, poison.reason)
        else:
            remove(store, letter)
        yield letter.name, landed
    for error in foreign:
        yield error.key, Landed(error.key, 0, str(error))


def look_up_schema(value: bytes, deserializer: Deserializer) -> None:
    """Have the schema of a message at hand. Raises as `decoded`."""
    with _verdicts():
        deserializer.look_up_schema(value)


def decoded(value: bytes | None, deserializer: Deserializer) -> tuple[str, bytes, str | None]:
    """The molecule's partition key of a message, and the record, as its writer encoded it, with its schema (Avro's).

    Raises:
        PoisonMessageError: it is no record; says why.
        RegistryUnavailableError: nobody tells the schema now.
        MemoryError, OSError: this machine cannot read it now.
    """
    if value is None:
        raise PoisonMessageError("a null value (tombstone); expected a record")
    with _verdicts():
        if _is_json(value):
            return molecule_of_json(value), value, None
        record = deserializer.take_apart(value)
        return molecule_of_part(record.molecule), record.data, record.schema


def _is_json(value: bytes) -> bool:
    """The field's own producers send plain JSON where they have no registry."""
    return value.startswith(b"{")


@contextmanager
def _verdicts() -> Iterator[None]:
    """Inside, an error is a PoisonMessageError, or says nothing about the message."""
    try:
        yield
    except (PoisonMessageError, *_NOT_NOW):
        raise
    except KafkaError as error:
        raise RegistryUnavailableError(str(error)) from error
    except DecodeError as error:
        raise PoisonMessageError(str(error)) from error
    except Exception as error:
        # Whatever a message does to its reader, it must not stop those behind it; it is kept, and can be tried again.
        raise PoisonMessageError(f"reading it failed: {type(error).__name__}: {error}") from error
