"""Messages that are no record: kept beside the results with the reason, counted, and tried again when asked.

dead-letters/<topic>/<topic>+<partition>+<offset>.bin     the message's value, byte for byte
dead-letters/<topic>/<topic>+<partition>+<offset>.json    the reason, and what else was known of the message
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from qpipe_resources.object_layout import DEAD_LETTERS, message_name
from qpipe_resources.object_store import ObjectInfo, ObjectMissingError, ObjectStore

if TYPE_CHECKING:
    from qpipe_resources.kafka.consumer import Message

_REASON = ".json"
_VALUE = ".bin"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class DeadLetter:
    """Why a message is no record, and where it came from.

    `timestamp` is Kafka's as ISO 8601 in UTC, `key` the message's with what is no UTF-8 as escapes, `size` the value's
    in bytes, None where there is no value at all.
    """

    reason: str
    topic: str
    partition: int
    offset: int
    timestamp: str
    key: str | None
    size: int | None

    @property
    def name(self) -> str:
        """The message's name, by which results are called, too."""
        return message_name(self.topic, self.partition, self.offset)

    @property
    def key_prefix(self) -> str:
        """Key of its objects in the store, without their endings."""
        return f"{DEAD_LETTERS}{self.topic}/{self.name}"


def letter_of(message: Message, reason: str) -> DeadLetter:
    """A message as a dead letter."""
    key = None if message.key is None else message.key.decode("utf-8", "backslashreplace")
    size = None if message.value is None else len(message.value)
    timestamp = _moment(message.timestamp)
    return DeadLetter(reason, message.topic, message.partition, message.offset, timestamp, key, size)


def bury(store: ObjectStore, letter: DeadLetter, value: bytes | None) -> None:
    """Keep a message that is no record. The reason comes last: where it stands, the value stands."""
    store.put(letter.key_prefix + _VALUE, value or b"")
    store.put(letter.key_prefix + _REASON, json.dumps(asdict(letter), indent=2).encode())


def listed(store: ObjectStore, topic: str | None = None) -> list[ObjectInfo]:
    """The reasons of all dead letters, or of a topic's, newest first."""
    found = store.list_objects(f"{DEAD_LETTERS}{topic}/" if topic else DEAD_LETTERS)
    reasons = [info for info in found if info.key.endswith(_REASON)]
    return sorted(reasons, key=lambda info: (info.modified, info.key), reverse=True)


def read(store: ObjectStore, key: str) -> DeadLetter:
    """The dead letter whose reason lies under the key.

    Raises:
        ObjectMissingError: it was removed meanwhile.
        ValueError: somebody else wrote the object.
    """
    try:
        return DeadLetter(**json.loads(store.get(key).data))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{key} does not say why a message is no record: remove it") from error


def letters(store: ObjectStore, topic: str) -> Iterator[tuple[DeadLetter, bytes | None]]:
    """Each dead letter of a topic with the message's value.

    A reason without a value is what a removal left that was cut short; it goes.
    """
    for info in listed(store, topic):
        letter = read(store, info.key)
        try:
            value = store.get(letter.key_prefix + _VALUE).data
        except ObjectMissingError:
            store.delete(info.key)
            continue
        yield letter, None if letter.size is None else value


def remove(store: ObjectStore, letter: DeadLetter) -> None:
    """Remove a dead letter whose message has landed."""
    store.delete(letter.key_prefix + _VALUE)
    store.delete(letter.key_prefix + _REASON)


def _moment(timestamp: int) -> str:
    """Milliseconds since 1970 as ISO 8601 in UTC; what Kafka does not know, or no calendar has, is 1970 itself."""
    try:
        found = _EPOCH + dt.timedelta(milliseconds=max(timestamp, 0))
    except OverflowError:
        found = _EPOCH
    return found.isoformat(timespec="milliseconds")
