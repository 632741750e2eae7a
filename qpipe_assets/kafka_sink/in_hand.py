"""The messages that a sink has taken and not finished, and up to where each partition is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qpipe_resources.kafka.consumer import Message, Partition


class InOrder:
    """One partition whose messages are finished in any order.

    `position` is the offset to commit: every message before it is done. Offsets are taken in rising order, with gaps
    where the log has them (compaction, transactions).
    """

    def __init__(self) -> None:
        self.position: int | None = None
        self._taken: deque[int] = deque()
        self._done: set[int] = set()

    def follows(self, offset: int) -> bool:
        """Whether the offset comes after all that were taken; if not, the log begins anew and this one is history."""
        last = self._taken[-1] if self._taken else (self.position or 0) - 1
        return offset > last

    def take(self, offset: int) -> None:
        """A message is in hand from now on; it must follow."""
        self._taken.append(offset)

    def finish(self, offset: int) -> None:
        """A message that was taken is done for good."""
        self._done.add(offset)
        while self._taken and self._taken[0] in self._done:
            first = self._taken.popleft()
            self._done.remove(first)
            self.position = first + 1

    def pass_by(self, offset: int) -> None:
        """The consumer goes on at the offset: if all that was taken is done, there was no message up to it."""
        if not self._taken and offset > (self.position or 0):
            self.position = offset


@dataclass(frozen=True)
class Taken:
    """One message in hand: its partition as it was assigned then, its offset, the bytes that it holds."""

    partition: InOrder
    offset: int
    size: int


class InHand:
    """All messages in hand: how many, how many bytes, and which offsets may be committed."""

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0
        self._partitions: dict[Partition, InOrder] = {}
        self._committed: dict[Partition, int] = {}

    def take(self, message: Message) -> Taken:
        """A message is in hand from now on."""
        name = (message.topic, message.partition)
        partition = self._partitions.get(name)
        if partition is None or not partition.follows(message.offset):
            partition = self._partitions[name] = InOrder()
            self._committed.pop(name, None)
        partition.take(message.offset)
        taken = Taken(partition, message.offset, len(message.value or b""))
        self.messages += 1
        self.bytes += taken.size
        return taken

    def release(self, taken: Taken, *, done: bool) -> None:
        """A message is in hand no more; unless it is done, its partition stays where it is."""
        self.messages -= 1
        self.bytes -= taken.size
        if done:
            # Where the partition was given away meanwhile, nobody asks for its position any more.
            taken.partition.finish(taken.offset)

    def pass_by(self, positions: Mapping[Partition, int]) -> None:
        """The consumer goes on here, of partitions that are its own; every message before is in hand or done."""
        for name, offset in positions.items():
            self._partitions.setdefault(name, InOrder()).pass_by(offset)

    def committable(self) -> dict[Partition, int]:
        """Positions that are not committed yet."""
        positions = {name: partition.position for name, partition in self._partitions.items()}
        return {name: at for name, at in positions.items() if at is not None and self._committed.get(name) != at}

    def commit(self, positions: dict[Partition, int]) -> None:
        """Positions are committed."""
        self._committed |= positions

    def reached(self, name: Partition, offset: int) -> bool:
        """Whether a partition is committed here up to an offset."""
        return self._committed.get(name, 0) >= offset

    def give_away(self, partitions: Collection[Partition]) -> None:
        """Partitions belong to somebody else: what is in hand of them is finished, but never committed."""
        for name in partitions:
            self._partitions.pop(name, None)
            self._committed.pop(name, None)
