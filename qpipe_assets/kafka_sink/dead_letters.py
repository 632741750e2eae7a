"""Messages that are no record: kept beside the results with the reason, counted, and tried again when asked.

dead-letters/<topic>/<topic>+<partition>+<offset>.bin     the message's value, byte for byte
dead-letters/<topic>/<topic>+<partition>+<offset>.json    the reason, and what else was known of the message

Where the name is taken by another message, both have the value's digest behind it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from qpipe_assets.kafka_sink.put_beside import lies_there
from qpipe_resources.object_layout import DEAD_LETTERS, digest, message_name
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
    in bytes, None where there is no value at all, `beside` the value's digest where another message has the name.
    """

    reason: str
    topic: str
    partition: int
    offset: int
    timestamp: str
    key: str | None
    size: int | None
    beside: str | None = None

    @property
    def name(self) -> str:
        """The message's name, by which results are called, too."""
        return message_name(self.topic, self.partition, self.offset)

    @property
    def key_prefix(self) -> str:
        """Key of its objects in the store, without their endings."""
        return f"{DEAD_LETTERS}{self.topic}/{self.name}" + (f"+{self.beside}" if self.beside else "")


class ForeignObjectError(ValueError):
    """An object among the dead letters, under `key`, that somebody else wrote."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} does not say why a message is no record: remove it")
        self.key = key


def _raise(error: ForeignObjectError) -> None:
    raise error


def letter_of(message: Message, reason: str) -> DeadLetter:
    """A message as a dead letter."""
    key = None if message.key is None else message.key.decode("utf-8", "backslashreplace")
    size = None if message.value is None else len(message.value)
    timestamp = _moment(message.timestamp)
    return DeadLetter(reason, message.topic, message.partition, message.offset, timestamp, key, size)


def bury(store: ObjectStore, letter: DeadLetter, value: bytes | None) -> DeadLetter:
    """Keep a message that is no record, beside another of its name; returns the letter as it is kept.

    The reason comes last: where it stands, the value stands.
    """
    data = value or b""
    there = lies_there(store, letter.key_prefix + _VALUE, data)
    if there is False:
        letter = replace(letter, beside=digest(data))
    if not there:
        store.put(letter.key_prefix + _VALUE, data)
    store.put(letter.key_prefix + _REASON, json.dumps(asdict(letter), indent=2).encode())
    return letter


def listed(store: ObjectStore, topic: str | None = None) -> list[ObjectInfo]:
    """The reasons of all dead letters, or of a topic's, newest first."""
    found = store.list_objects(f"{DEAD_LETTERS}{topic}/" if topic else DEAD_LETTERS)
    reasons = [info for info in found if info.key.endswith(_REASON)]
    return sorted(reasons, key=lambda info: (info.modified, info.key), reverse=True)


def read(store: ObjectStore, key: str) -> DeadLetter:
    """The dead letter whose reason lies under the key.

    Raises:
        ObjectMissingError: it was removed meanwhile.
        ForeignObjectError: somebody else wrote the object.
    """
    try:
        letter = DeadLetter(**json.loads(store.get(key).data))
        dt.datetime.fromisoformat(letter.timestamp)
    except (TypeError, ValueError) as error:
        raise ForeignObjectError(key) from error
    return letter


def letters(
    store: ObjectStore, topic: str, foreign: Callable[[ForeignObjectError], None] = _raise
) -> Iterator[tuple[DeadLetter, bytes | None]]:
    """Each dead letter of a topic with the message's value; `foreign` is told what is none.

    A reason without a value is what a removal left that was cut short; it goes.
    """
    for info in listed(store, topic):
        try:
            letter = read(store, info.key)
        except ForeignObjectError as error:
            foreign(error)
            continue
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
