"""A topic, a consumer group and a deserializer without a broker: what outlives a sink, and what it talks to."""

from __future__ import annotations

import io
import json
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import fastavro

from qpipe_resources.avro_container import EncodedRecord
from qpipe_resources.kafka.errors import BrokerUnavailableError, PoisonMessageError, RegistryUnavailableError
from qpipe_resources.serialization import avro_schema
from tests.synthetic import plain_record

TOPIC = "experiment.vqe"
NOON = 1_795_262_400_000
"""2026-11-21T12:00:00Z in milliseconds."""

Partition = tuple[str, int]


@dataclass(frozen=True)
class FakeMessage:
    offset: int
    value: bytes | None
    partition: int = 0
    topic: str = TOPIC
    timestamp: int = NOON
    key: bytes | None = b"H2"


class FakeLog:
    """A topic and the offsets that a group has committed: what outlives a consumer.

    `marks` records that are no message, as transactions have, follow in each partition.
    """

    def __init__(self, messages: Iterable[FakeMessage], marks: int = 0) -> None:
        self.messages = list(messages)
        self.ends: dict[Partition, int] = defaultdict(int)
        for message in self.messages:
            name = (message.topic, message.partition)
            self.ends[name] = max(self.ends[name], message.offset + 1 + marks)
        self.committed: dict[Partition, int] = {}
        self.commits: list[dict[Partition, int]] = []


class FakeConsumer:
    """A consumer of the log that goes on where its group stands."""

    def __init__(
        self, log: FakeLog, on_commit: Callable[[Mapping[Partition, int]], None] = lambda offsets: None
    ) -> None:
        self._log = log
        self._on_commit = on_commit
        self._waiting = [m for m in log.messages if m.offset >= log.committed.get((m.topic, m.partition), 0)]
        self._assigned = set(log.ends)
        self.on_revoked: Callable[[Collection[Partition], bool], None] = lambda partitions, lost: None
        self.down = False
        self.paused = self.closed = False

    def _answer(self) -> None:
        if self.down:
            raise BrokerUnavailableError("no broker at localhost:9092 answers: start it")

    def subscribe(self, on_revoked: Callable[[Collection[Partition], bool], None]) -> None:
        def revoked(partitions: Collection[Partition], lost: bool) -> None:
            on_revoked(partitions, lost)
            self._assigned -= set(partitions)

        self.on_revoked = revoked

    def poll(self, seconds: float) -> FakeMessage | None:
        self._answer()
        if self._waiting and not self.paused:
            return self._waiting.pop(0)
        time.sleep(min(seconds, 0.005))
        return None

    def give(self, messages: Iterable[FakeMessage]) -> None:
        """Messages that come only now."""
        self._waiting += messages

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        self._answer()
        self._on_commit(offsets)
        self._log.commits.append(dict(offsets))
        self._log.committed |= offsets

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        self._answer()
        return {name: self._log.committed[name] for name in partitions if name in self._log.committed}

    def positions(self) -> dict[Partition, int]:
        found = {}
        for name in self._assigned:
            waiting = [m.offset for m in self._waiting if (m.topic, m.partition) == name]
            found[name] = min(waiting, default=self._log.ends[name])
        return found

    def end_offsets(self) -> dict[Partition, int]:
        self._answer()
        return dict(self._log.ends)

    def lag(self) -> int | None:
        assert not self.closed
        return len(self._waiting)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True


class FakeDeserializer:
    """Avro is what starts with 0x00; the rest of it is JSON here, which is encoded by the record's schema."""

    registry_down = False

    def lacks_schema(self, message_value: bytes) -> bool:
        return True

    def look_up_schema(self, message_value: bytes) -> None:
        if self.registry_down:
            raise RegistryUnavailableError("the Schema Registry at http://localhost:8081 does not answer: start it")

    def take_apart(self, message_value: bytes) -> EncodedRecord:
        if not message_value.startswith(b"\x00"):
            raise PoisonMessageError("no magic byte: expected 0x00")
        return encoded(json.loads(message_value[1:]))


def encoded(row: Any, schema: Any = None) -> EncodedRecord:
    """A row by a schema, the record's if none is given; what the schema lacks goes."""
    schema = schema or avro_schema()
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), row)
    return EncodedRecord(json.dumps(schema), stream.getvalue(), row["molecule"])


def record(number: int, **changes: Any) -> bytes:
    return b"\x00" + json.dumps(plain_record(number, evaluations=2, parameters=1, terms=1) | changes).encode()


def messages(count: int, partitions: int = 1) -> list[FakeMessage]:
    return [FakeMessage(n // partitions, record(n), partition=n % partitions) for n in range(count)]
