"""A stand-in for Kafka's producer: what happens to each attempt is told in advance."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException


class FakeMessage:
    """What a delivery report tells of a message."""

    def __init__(self, topic: str, offset: int) -> None:
        self._topic, self._offset = topic, offset

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset


class FakeProducer:
    """Takes messages as the client does.

    Args:
        config: The properties that it is made of.
        script: For each attempt the code of its error; None delivers it, "silent" never reports, an exception is
            raised. After its end everything is delivered.
        reports: Codes that the client reports about its connections, at every poll.
    """

    def __init__(
        self, config: dict[str, Any], script: Sequence[int | str | Exception | None] = (), reports: Sequence[int] = ()
    ) -> None:
        self.config = config
        self.attempts: list[tuple[str, str, bytes]] = []
        self.delivered: list[bytes] = []
        self.purges = 0
        self.most_bytes = 0
        self._script = deque(script)
        self._reports = reports
        self._pending: list[tuple[int | str | None, bytes, Callable[..., None]]] = []

    def produce(self, topic: str, value: bytes, key: str, on_delivery: Callable[..., None]) -> None:
        self.attempts.append((topic, key, value))
        fate = self._script.popleft() if self._script else None
        if isinstance(fate, Exception):
            raise fate
        self._pending.append((fate, value, on_delivery))
        self.most_bytes = max(self.most_bytes, sum(len(sent) for _, sent, _ in self._pending))

    def poll(self, seconds: float = 0) -> int:
        for code in self._reports:
            self.config["error_cb"](KafkaError(code))
        # Only a poll that waits sees answers: those that do not show that many messages are on their way.
        return self._report(lambda fate: fate != "silent") if seconds else 0

    def purge(self) -> None:
        self.purges += 1
        self._pending = [(KafkaError._PURGE_INFLIGHT, value, report) for _, value, report in self._pending]

    def flush(self, seconds: float = -1) -> int:
        self._report(lambda fate: fate != "silent")
        return len(self._pending)

    def _report(self, ready: Callable[[int | str | None], bool]) -> int:
        due = [item for item in self._pending if ready(item[0])]
        self._pending = [item for item in self._pending if not ready(item[0])]
        for fate, value, report in due:
            if isinstance(fate, int):
                report(KafkaError(fate), None)
            else:
                self.delivered.append(value)
                report(None, FakeMessage("experiment.vqe", len(self.delivered) - 1))
        return len(due)


def full() -> Exception:
    """What the client raises when its queue is full."""
    return BufferError("Local: Queue full")


def refusing(code: int) -> Exception:
    """What the client raises when it does not even take a message."""
    return KafkaException(KafkaError(code))
