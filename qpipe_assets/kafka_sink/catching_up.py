"""When a sink that shall end has caught up, whoever of its group landed the messages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qpipe_assets.kafka_sink.in_hand import InHand
    from qpipe_assets.kafka_sink.sink import MessageConsumer
    from qpipe_resources.kafka.consumer import Partition

_LOOK_SECONDS = 0.5
"""Between two looks at the group's committed offsets."""


class Due:
    """Says once in a while that it is time; the first time at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at = 0.0

    def passed(self) -> bool:
        """Whether it is time; if so, it is not for a while."""
        now = time.monotonic()
        if now < self._at:
            return False
        self._at = now + self._seconds
        return True


class Goal:
    """The end of the topic as it was at the start, and whether the group's committed offsets have come there."""

    def __init__(self, consumer: MessageConsumer, in_hand: InHand) -> None:
        self.moved_at = time.monotonic()
        self._consumer = consumer
        self._in_hand = in_hand
        self._due = Due(_LOOK_SECONDS)
        self._ends: dict[Partition, int] | None = None
        self._committed: dict[Partition, int] = {}

    def reached(self) -> bool | None:
        """Whether everything that was there has landed; None when it is too early to look again.

        Raises:
            KafkaError: nobody tells.
        """
        if self._ends is not None and not self._behind(self._ends):
            return True
        if not self._due.passed():
            return None
        if self._ends is None:
            self._ends = self._consumer.end_offsets()
        # Other consumers of the group may have them.
        behind = self._behind(self._ends)
        committed = self._consumer.committed(behind) if behind else {}
        if committed != self._committed:
            self._committed, self.moved_at = committed, time.monotonic()
        return all(committed.get(name, 0) >= self._ends[name] for name in behind)

    def _behind(self, ends: dict[Partition, int]) -> list[Partition]:
        """Partitions whose end was not committed here."""
        return [name for name, end in ends.items() if not self._in_hand.reached(name, end)]
