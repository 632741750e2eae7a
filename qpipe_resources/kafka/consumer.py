"""Reads the topic as a member of a consumer group; offsets are committed when the caller says so, and never else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka import KafkaError as ClientError

from qpipe_resources.kafka.broker_errors import ConnectionLog, broker_error, config_error
from qpipe_resources.kafka.client_config import consumer_config

if TYPE_CHECKING:
    from qpipe_resources.kafka.settings import KafkaSettings

log = logging.getLogger(__name__)

Partition = tuple[str, int]
"""Topic, and number of the partition in it."""

_MOVED = {
    ClientError.ILLEGAL_GENERATION,
    ClientError.UNKNOWN_MEMBER_ID,
    ClientError.REBALANCE_IN_PROGRESS,
    ClientError._STATE,
    ClientError._ASSIGNMENT_LOST,
}
_NO_MESSAGE = {ClientError._PARTITION_EOF, ClientError._MAX_POLL_EXCEEDED}


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `timestamp` is Kafka's in milliseconds since 1970 in UTC, -1 where it has none."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class ResultConsumer:
    """A member of a group on the settings' topic. For one thread.

    Args:
        settings: Brokers, topic, group and security.
        group: Another group than the settings'.
        connect: Makes Kafka's consumer of its properties.

    Raises:
        ClientConfigError: the client cannot do what the settings ask for.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        group: str | None = None,
        connect: Callable[[dict[str, Any]], Consumer] = Consumer,
    ) -> None:
        self._settings = settings
        self._connections = ConnectionLog()
        self._told = 0
        try:
            self._client = connect(
                consumer_config(settings, group or settings.group) | {"error_cb": self._connections.add}
            )
        except KafkaException as error:
            raise config_error(error.args[0]) from error

    def subscribe(self, on_revoked: Callable[[Collection[Partition], bool], None]) -> None:
        """Join the group.

        Args:
            on_revoked: Told, inside `poll` and `close`, the partitions that go to another member, and whether they are
                gone already: then nothing of them can be committed.
        """
        self._client.subscribe(
            [self._settings.topic],
            on_revoke=lambda _, partitions: on_revoked(_names(partitions), False),
            on_lost=lambda _, partitions: on_revoked(_names(partitions), True),
        )

    def poll(self, seconds: float) -> Message | None:
        """The next message, if one comes in time.

        Raises:
            KafkaError: no broker is there, they refuse us, or there is no such topic. The client goes on trying by
                itself: a later call returns messages again, or says what is wrong now.
        """
        with self._broker_errors():
            message = self._client.poll(seconds)
        if message is None:
            self._raise_new_trouble()
            return None
        if (error := message.error()) is not None:
            if error.code() in _NO_MESSAGE:
                log.info("%s", error.str())
                return None
            raise broker_error(self._settings, error, self._connections)
        self._connections.clear()
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None and partition is not None and offset is not None
        key, value = message.key(), message.value()
        return Message(topic, partition, offset, message.timestamp()[1], _bytes(key), _bytes(value))

    def _raise_new_trouble(self) -> None:
        trouble = self._connections.trouble()
        if trouble is not None and self._connections.reports > self._told:
            self._told = self._connections.reports
            raise broker_error(self._settings, trouble, self._connections)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit, for each partition, the offset of the first message that is not done; returns when it is kept.

        What has gone to another member is not committed: its new owner starts at what was committed before.

        Raises:
            KafkaError: the brokers did not confirm it.
        """
        positions = [TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
        with self._broker_errors():
            try:
                committed = self._client.commit(offsets=positions, asynchronous=False)
            except KafkaException as error:
                if error.args[0].code() not in _MOVED:
                    raise
                log.info("offsets of partitions that have moved are not committed (%s)", error.args[0].str())
                return
            for position in committed or []:
                if position.error is not None and position.error.code() not in _MOVED:
                    raise KafkaException(position.error)

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """The group's committed offsets, of partitions that have one. Raises KafkaError."""
        with self._broker_errors():
            asked = [TopicPartition(*partition) for partition in partitions]
            found = self._client.committed(asked, timeout=self._settings.timeout)
        return {(found.topic, found.partition): found.offset for found in found if found.offset >= 0}

    def positions(self) -> dict[Partition, int]:
        """The offset from which `poll` goes on, of this member's partitions, where the client knows it.

        It is past what is nobody's message, as the marks that end a transaction. Raises KafkaError.
        """
        with self._broker_errors():
            assigned = self._client.assignment()
            found = self._client.position(assigned) if assigned else []
        return {(found.topic, found.partition): found.offset for found in found if found.offset >= 0}

    def end_offsets(self) -> dict[Partition, int]:
        """The offset after the last message, of the topic's partitions that hold any. Raises KafkaError."""
        topic, timeout = self._settings.topic, self._settings.timeout
        with self._broker_errors():
            described = self._client.list_topics(topic, timeout=timeout).topics[topic]
            if described.error is not None:
                raise KafkaException(described.error)
            ends = {}
            for number in described.partitions:
                first, end = self._client.get_watermark_offsets(TopicPartition(topic, number), timeout=timeout)
                if first < end:
                    ends[topic, number] = end
        return ends

    def lag(self) -> int | None:
        """Messages of this member's partitions that it was not given yet, by what the client knows without asking.

        None while it does not know.
        """
        total = 0
        assigned = self._client.assignment()
        if not assigned:
            return None
        for position in self._client.position(assigned):
            _, end = self._client.get_watermark_offsets(position, cached=True)
            if end == 0:
                continue
            if position.offset < 0 or end < 0:
                return None
            total += max(0, end - position.offset)
        return total

    def pause(self) -> None:
        """Give no messages of the partitions that are assigned now."""
        with self._broker_errors():
            self._client.pause(self._client.assignment())

    def resume(self) -> None:
        """Give messages again."""
        with self._broker_errors():
            self._client.resume(self._client.assignment())

    def close(self) -> None:
        """Leave the group, so that another member gets the partitions at once."""
        self._client.close()

    @contextmanager
    def _broker_errors(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise broker_error(self._settings, error.args[0], self._connections) from error


def _names(partitions: list[TopicPartition]) -> list[Partition]:
    return [(partition.topic, partition.partition) for partition in partitions]


def _bytes(content: bytes | str | None) -> bytes | None:
    return content.encode() if isinstance(content, str) else content
