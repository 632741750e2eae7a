"""Sends records to the topic, and says of each whether the broker keeps it."""

from __future__ import annotations

import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import KafkaError as ClientError
from confluent_kafka import KafkaException, Message, Producer

from qpipe_resources.kafka.broker_errors import ConnectionLog, broker_error, config_error, too_large
from qpipe_resources.kafka.client_config import producer_config
from qpipe_resources.kafka.errors import KafkaError
from qpipe_resources.kafka.serialization import RecordSerializer
from qpipe_resources.object_layout import message_name

if TYPE_CHECKING:
    from qpipe_resources.kafka.settings import KafkaSettings
    from simulation.record import VQEDecoratedResult

log = logging.getLogger(__name__)

MAX_BYTES_IN_FLIGHT = 64 * 1024 * 1024
"""Bytes that `send_all` has on their way at once; a larger record goes alone."""

_LOOK = 0.1
"""Seconds between two looks at what has no event of its own."""

_GRACE = 5.0
"""Seconds that the client may take, after an attempt's time is up, to say so."""


class ResultProducer:
    """Sends records, keyed by their molecule, so that those of one molecule stay in order in one partition.

    The client deduplicates what it repeats itself. What is sent again after an attempt whose answer never came (or by
    another process) may stand in the topic twice; that is harmless, the ledger takes an experiment once.

    Args:
        settings: Brokers, topic, registry, security, attempts and times.
        serializer: Makes the messages; made from the settings when it is not given.
        connect: Makes Kafka's producer of its properties.

    Raises:
        ClientConfigError: the client cannot do what the settings ask for.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        serializer: RecordSerializer | None = None,
        connect: Callable[[dict[str, Any]], Producer] = Producer,
    ) -> None:
        self._settings = settings
        self._serializer = serializer or RecordSerializer(settings)
        self._connections = ConnectionLog()
        self._connect = connect
        self._client = self._new_client()
        if settings.acks != "all":
            log.warning("KAFKA_ACKS=%s: Kafka may lose a record that it has confirmed, or keep it twice", settings.acks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, molecule: str, record: VQEDecoratedResult) -> str:
        """Send a record and wait until the broker has confirmed it.

        Takes at most `retries` attempts of `timeout` seconds each, with `retry_delay` between them.

        Args:
            molecule: The record's partition key.
            record: What to send.

        Returns:
            `<topic>+<partition>+<offset>`, the name of the message.

        Raises:
            KafkaError: it was not confirmed; the kind of error says whether to try again later.
        """
        ((_, outcome),) = self.send_all([(molecule, record)])
        if isinstance(outcome, KafkaError):
            raise outcome
        return outcome

    def send_all(self, pairs: Iterable[tuple[str, VQEDecoratedResult]]) -> Iterator[tuple[int, str | KafkaError]]:
        """Send many records, the next ones before the first is confirmed; memory is bounded by MAX_BYTES_IN_FLIGHT.

        Args:
            pairs: Molecule (partition key) and record, taken one by one as there is room.

        Yields:
            Position of a record, and either where it is now or why it is not; in the order of the answers.
        """
        batch = _Batch(self)
        for index, (molecule, record) in enumerate(pairs):
            try:
                value = self._value(record)
            except KafkaError as error:
                yield index, error
                continue
            while not batch.has_room(len(value)):
                yield from batch.outcomes(_LOOK)
            batch.start(_Sent(index, molecule, value))
            yield from batch.outcomes(0)
        while batch.bytes:
            yield from batch.outcomes(_LOOK)

    def close(self) -> None:
        """Wait for what is on its way, at most the time of one attempt."""
        if left := self._client.flush(self._settings.timeout + _GRACE):
            log.error("%d messages were not confirmed when the Kafka client was closed", left)
            self._client.purge()

    def _new_client(self) -> Producer:
        try:
            return self._connect(producer_config(self._settings) | {"error_cb": self._connections.add})
        except KafkaException as error:
            raise config_error(error.args[0]) from error

    def _value(self, record: VQEDecoratedResult) -> bytes:
        for attempt in range(1, self._settings.retries + 1):
            try:
                value = self._serializer.to_bytes(record)
                break
            except KafkaError as error:
                if not error.transient or attempt == self._settings.retries:
                    raise
                log.warning("attempt %d of %d: %s", attempt, self._settings.retries, error)
                time.sleep(self._settings.retry_delay)
        if len(value) > self._settings.max_message_bytes:
            raise too_large(self._settings, len(value))
        return value

    def _renew(self) -> None:
        """Replace a client that met a fatal error: it takes no more messages."""
        self._client.purge()
        self._client.flush(_GRACE)
        self._client = self._new_client()


@dataclass
class _Sent:
    """A record on its way, and what the client said of its last attempt."""

    index: int
    molecule: str
    value: bytes
    attempt: int = 0
    due: float = 0.0
    where: str = ""
    error: ClientError | None = None


class _Batch:
    """The records of one `send_all` that are on their way, or wait for their next attempt."""

    def __init__(self, producer: ResultProducer) -> None:
        self._producer = producer
        self._settings = producer._settings
        self._connections = producer._connections
        self._begun = time.monotonic()
        self._overdue: dict[int, float] = {}
        self._ended: deque[_Sent] = deque()
        self._later: list[_Sent] = []
        self.bytes = 0

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more may be on their way."""
        return not self.bytes or self.bytes + size <= MAX_BYTES_IN_FLIGHT

    def start(self, sent: _Sent) -> None:
        """Take a record."""
        self.bytes += len(sent.value)
        self._attempt(sent)

    def outcomes(self, wait: float) -> Iterator[tuple[int, str | KafkaError]]:
        """Look at what has happened, for `wait` seconds at most if nothing has; yields the records that are through."""
        self._producer._client.poll(wait)
        while self._ended:
            sent = self._ended.popleft()
            if (outcome := self._outcome(sent)) is not None:
                self.bytes -= len(sent.value)
                yield sent.index, outcome
        now = time.monotonic()
        # All have the same time, so that the first that was sent is the first that is overdue.
        if self._overdue and (self._connections.refused_since(self._begun) or now > next(iter(self._overdue.values()))):
            self._producer._client.purge()
        due = [sent for sent in self._later if sent.due <= now]
        self._later = [sent for sent in self._later if sent.due > now]
        for sent in due:
            self._attempt(sent)

    def _attempt(self, sent: _Sent) -> None:
        sent.attempt += 1
        self._overdue[sent.index] = time.monotonic() + self._settings.timeout + _GRACE
        try:
            self._producer._client.produce(
                self._settings.topic,
                value=sent.value,
                key=sent.molecule,
                on_delivery=functools.partial(self._end, sent),
            )
        except BufferError:
            self._end(sent, ClientError(ClientError._QUEUE_FULL), None)
        except KafkaException as error:
            self._end(sent, error.args[0], None)

    def _end(self, sent: _Sent, error: ClientError | None, message: Message | None) -> None:
        """Called by the client, when one of our threads polls it."""
        sent.error = error
        if error is None and message is not None:
            sent.where = _where(message)
        self._overdue.pop(sent.index, None)
        self._ended.append(sent)

    def _outcome(self, sent: _Sent) -> str | KafkaError | None:
        """Where the record is, or why it is not; None while there is another attempt to come."""
        if sent.error is None:
            self._connections.clear()
            return sent.where
        error = broker_error(self._settings, sent.error, self._connections, len(sent.value))
        if sent.error.code() == ClientError._FATAL:
            self._producer._renew()
        if not error.transient or sent.attempt >= self._settings.retries:
            return error
        log.warning("attempt %d of %d: %s", sent.attempt, self._settings.retries, error)
        sent.due = time.monotonic() + self._settings.retry_delay
        self._later.append(sent)
        return None


def _where(message: Message) -> str:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None or offset < 0:
        return f"{topic}, unconfirmed"  # with acks=0 nobody says where
    return message_name(topic, partition, offset)
