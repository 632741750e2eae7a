"""Records that are read and not put yet: what belongs together and waits at the same time becomes one object."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from qpipe_assets.kafka_sink.in_hand import Taken
from qpipe_assets.kafka_sink.message_landing import Readable


@dataclass
class Group:
    """Messages that belong together; `since` is the time of the first (monotonic seconds)."""

    since: float
    taken: list[Taken] = field(default_factory=list)
    messages: list[Readable] = field(default_factory=list)
    size: int = 0


class Gathering:
    """Groups that fill up.

    Args:
        most_bytes: Of records, from which a group waits for no more.
        most_messages: The same of messages.
    """

    def __init__(self, most_bytes: int, most_messages: int) -> None:
        self._most_bytes = most_bytes
        self._most_messages = most_messages
        self._groups: dict[object, Group] = {}

    def add(self, taken: Taken, message: Readable) -> Group | None:
        """Take a message in; returns its group when that is full. One that is large by itself gets no company."""
        if len(message.data) >= self._most_bytes:
            return Group(time.monotonic(), [taken], [message], len(message.data))
        group = self._groups.setdefault(message.belongs, Group(time.monotonic()))
        group.taken.append(taken)
        group.messages.append(message)
        group.size += len(message.data)
        if group.size < self._most_bytes and len(group.messages) < self._most_messages:
            return None
        return self._groups.pop(message.belongs)

    def older_than(self, seconds: float) -> Iterator[Group]:
        """Give up groups that have waited so long; all of them after 0 seconds."""
        end = time.monotonic() - seconds
        for name in [name for name, group in self._groups.items() if group.since <= end]:
            yield self._groups.pop(name)
