"""The built-in sink: from Kafka's topic into the raw object store, with nothing lost and nothing twice.

An offset is committed only after its message, and every one before it in the partition, is durably put. So a kill
anywhere means that messages are put again, under the same keys. A message that comes alone is put at once; what waits
meanwhile is put together. Memory is bounded by the bytes that are in hand.
"""

from __future__ import annotations

import gc
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from qpipe_assets.kafka_sink.catching_up import Due, Goal
from qpipe_assets.kafka_sink.gathering import Gathering, Group
from qpipe_assets.kafka_sink.in_hand import InHand, Taken
from qpipe_assets.kafka_sink.message_landing import Deserializer, Landed, MessageLanding, Readable
from qpipe_assets.kafka_sink.patience import GivenUpError, Patience
from qpipe_resources.kafka.errors import ClientConfigError, KafkaError
from qpipe_resources.object_store import ObjectStore

if TYPE_CHECKING:
    from qpipe_resources.kafka.consumer import Message, Partition

MEBIBYTE = 1024 * 1024
KAFKA = "Kafka"
_POLL_SECONDS = 0.1
_HOLD_SECONDS = 5.0
"""How long to wait for room before partitions are paused: pausing throws away what the client has fetched ahead."""

_OBJECTS_BETWEEN_COLLECTIONS = 200_000
_WATCH_SECONDS = 0.5
_READERS = 2
"""Decoding is one at a time; the other one waits for a schema meanwhile."""
_PAUSE_SECONDS = 0.01
"""To wait while messages are being read: waking up for each of them would take their turns away."""
_PROBE_SECONDS = 5.0
"""Between two questions whether Kafka is back."""

Log = Callable[[str], None]
Result = TypeVar("Result")


class SinkStalledError(RuntimeError):
    """What was there has not landed in time; the message says why. Everything that has not landed is still in Kafka."""


class MessageConsumer(Protocol):
    """The consumer's side of Kafka, see qpipe_resources.kafka.consumer."""

    def subscribe(self, on_revoked: Callable[[Collection[Partition], bool], None]) -> None:
        """Join the group. `on_revoked` is told partitions that go, and whether they are gone already."""

    def poll(self, seconds: float) -> Message | None:
        """The next message, if one comes in time."""

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit, for each partition, the offset of the first message that is not done."""

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """The group's committed offsets, of partitions that have one."""

    def positions(self) -> dict[Partition, int]:
        """The offset from which `poll` goes on, of this consumer's partitions, where it is known."""

    def end_offsets(self) -> dict[Partition, int]:
        """The offset after the last message, of partitions of the topic that hold any."""

    def lag(self) -> int | None:
        """Messages of this consumer's partitions that it has not been given yet; None while that is not known."""

    def pause(self) -> None:
        """Give no messages of the partitions that are assigned now."""

    def resume(self) -> None:
        """Give messages again."""

    def close(self) -> None:
        """Leave the group."""


@dataclass(frozen=True)
class SinkSettings:
    """Bounds of a sink: objects stored at once, bytes in hand (one message may exceed it), seconds between commits.

    `bytes_together` is the size of an object from which no more messages join it, `messages_together` their number.
    `give_up_seconds` is how long a run that shall end waits for a service that is down, `grace_seconds` how long a
    stopped one goes on with what is in hand.
    """

    workers: int = 16
    bytes_in_hand: int = 32 * MEBIBYTE
    messages_in_hand: int = 1000
    bytes_together: int = MEBIBYTE
    messages_together: int = 100
    commit_seconds: float = 1.0
    give_up_seconds: float = 120.0
    grace_seconds: float = 8.0


@dataclass(frozen=True)
class SinkProgress:
    """What a sink has done: results landed, their bytes as put, dead letters; `lag` messages wait in Kafka."""

    landed: int = 0
    bytes: int = 0
    dead_letters: int = 0
    lag: int | None = None


@dataclass(frozen=True)
class _Finished:
    """What a worker has made of a message: by reading it, or else by putting it."""

    taken: Taken
    outcome: Readable | Landed | BaseException
    by_reading: bool


def silent(line: str) -> None:
    """Log nothing."""


class Sink:
    """One run of the sink: `run`, which `stop` ends.

    Args:
        store: Where results land.
        deserializer: Reads messages by the schema id that they carry.
        consumer: Closed at the end of the run.
        settings: Bounds.
        log: Told what goes wrong and what becomes of it.
    """

    def __init__(
        self,
        store: ObjectStore,
        deserializer: Deserializer,
        consumer: MessageConsumer,
        settings: SinkSettings | None = None,
        log: Log = silent,
    ) -> None:
        self._settings = settings or SinkSettings()
        self._consumer = consumer
        self._log = log
        self._stopped = threading.Event()
        self._given_up = threading.Event()
        self._patience = Patience(log, self._given_up)
        self._landing = MessageLanding(store, deserializer, self._patience)
        self._readers = ThreadPoolExecutor(_READERS, "sink-read")
        self._writers = ThreadPoolExecutor(self._settings.workers, "sink-put")
        self._finished: queue.SimpleQueue[_Finished] = queue.SimpleQueue()
        self._in_hand = InHand()
        self._being_read = 0
        self._gathering = Gathering(self._settings.bytes_together, self._settings.messages_together)
        self._progress = SinkProgress()
        self._commit_due = Due(self._settings.commit_seconds)
        self._watch_due = Due(_WATCH_SECONDS)
        self._probe_due = Due(_PROBE_SECONDS)
        self._moved_at = time.monotonic()
        self._full_since: float | None = None
        self._paused = False

    @property
    def progress(self) -> SinkProgress:
        """What was done so far."""
        return self._progress

    def stop(self) -> None:
        """End the run: nothing more is taken, what is in hand is finished. For signal handlers and other threads."""
        self._stopped.set()

    def run(
        self,
        *,
        until_caught_up: bool = False,
        max_seconds: float = float("inf"),
        watch: Callable[[SinkProgress], None] = lambda progress: None,
    ) -> SinkProgress:
        """Consume until stopped.

        Args:
            until_caught_up: End when all has landed that was in the topic at the start.
            max_seconds: End after this time.
            watch: Told the progress several times a second.

        Returns:
            What was done.

        Raises:
            SinkStalledError: `until_caught_up`, and nothing went on for `give_up_seconds`.
            ClientConfigError: the Kafka client cannot be used like this.
        """
        end = time.monotonic() + max_seconds
        goal = Goal(self._consumer, self._in_hand) if until_caught_up else None
        with _rare_collections():
            try:
                self._consumer.subscribe(self._revoked)
                while not self._stopped.is_set() and time.monotonic() < end:
                    self._step(watch)
                    if goal is not None and self._reached(goal):
                        break
            finally:
                self._finish()
        return self.progress

    def _step(self, watch: Callable[[SinkProgress], None]) -> None:
        self._take_one()
        self._collect()
        if self._watch_due.passed():
            self._progress = replace(self._progress, lag=self._consumer.lag())
            watch(self._progress)
        # With nothing in hand there is no more to come that one commit could cover.
        if self._commit_due.passed() or not self._in_hand.messages:
            self._commit()
        if self._probe_due.passed() and self._patience.is_failing(KAFKA):
            self._try(self._consumer.end_offsets)

    def _take_one(self) -> None:
        """Take the next message, or wait a little for it, or for room."""
        if not self._is_full():
            self._full_since = None
            if self._paused:
                self._consumer.resume()
                self._paused = False
            self._poll()
            return
        now = time.monotonic()
        self._full_since = self._full_since or now
        if now < self._full_since + _HOLD_SECONDS:
            self._collect(_POLL_SECONDS)
            return
        # The broker takes a consumer that does not poll for dead. Partitions that are assigned meanwhile are not
        # paused yet: what they give is taken, and they are paused with the others.
        self._consumer.pause()
        self._paused = True
        self._poll()

    def _is_full(self) -> bool:
        in_hand, limits = self._in_hand, self._settings
        return in_hand.bytes >= limits.bytes_in_hand or in_hand.messages >= limits.messages_in_hand

    def _poll(self) -> None:
        # While something is in hand, it is that which is waited for.
        patience = 0.0 if self._in_hand.messages else _POLL_SECONDS
        message = self._try(lambda: self._consumer.poll(patience))
        if message is not None:
            taken = self._in_hand.take(message)
            self._being_read += 1
            self._readers.submit(self._read, message, taken)
        elif self._in_hand.messages:
            if self._being_read > 1:
                time.sleep(_PAUSE_SECONDS)
            self._collect(_POLL_SECONDS)

    def _try(self, action: Callable[[], Result | None]) -> Result | None:
        """What Kafka answers; None when it has nothing, or is in trouble: that is told, and tried again later."""
        try:
            answer = action()
        except ClientConfigError:
            raise
        except KafkaError as error:
            self._patience.failed(KAFKA, error)
            self._stopped.wait(_POLL_SECONDS)
            return None
        if answer is not None:
            self._patience.succeeded(KAFKA)
        return answer

    def _read(self, message: Message, taken: Taken) -> None:
        try:
            outcome: Readable | Landed | BaseException = self._landing.read(message)
        except BaseException as error:  # the loop raises it
            outcome = error
        self._finished.put(_Finished(taken, outcome, by_reading=True))

    def _put(self, group: Group) -> None:
        try:
            outcomes: Sequence[Landed | BaseException] = self._landing.put(group.messages)
        except BaseException as error:  # the loop raises it
            outcomes = [error] * len(group.taken)
        for taken, outcome in zip(group.taken, outcomes, strict=True):
            self._finished.put(_Finished(taken, outcome, by_reading=False))

    def _collect(self, seconds: float = 0.0) -> None:
        """Take note of what the workers have finished, waiting for the first of it if asked to; have put what waits."""
        try:
            while True:
                finished = self._finished.get(timeout=seconds) if seconds else self._finished.get_nowait()
                seconds = 0.0
                self._note(finished)
        except queue.Empty:
            pass
        # When nothing is being read, nothing is about to join.
        for group in self._gathering.older_than(self._settings.commit_seconds if self._being_read else 0.0):
            self._let_put(group)

    def _note(self, finished: _Finished) -> None:
        taken, outcome = finished.taken, finished.outcome
        self._being_read -= finished.by_reading
        if isinstance(outcome, Readable):
            group = self._gathering.add(taken, outcome)
            if group is not None:
                self._let_put(group)
            return
        self._in_hand.release(taken, done=isinstance(outcome, Landed))
        if isinstance(outcome, GivenUpError):
            return
        if isinstance(outcome, BaseException):
            raise outcome
        self._moved_at = time.monotonic()
        done = self._progress
        if outcome.reason is None:
            self._progress = replace(done, landed=done.landed + 1, bytes=done.bytes + outcome.size)
        else:
            self._progress = replace(done, dead_letters=done.dead_letters + 1)
            self._log(f"dead letter {outcome.key}: {outcome.reason}")

    def _let_put(self, group: Group) -> None:
        # What is not put by now stays in Kafka.
        if not self._given_up.is_set():
            self._writers.submit(self._put, group)

    def _commit(self) -> None:
        try:
            # A topic with transactions ends with what is no message.
            self._in_hand.pass_by(self._consumer.positions())
            positions = self._in_hand.committable()
            if positions:
                self._consumer.commit(positions)
                self._in_hand.commit(positions)
        except KafkaError as error:
            self._patience.failed(KAFKA, error)

    def _revoked(self, partitions: Collection[Partition], lost: bool) -> None:
        """Partitions go to another consumer: what is done is committed, what is in hand will be put twice."""
        self._collect()
        if not lost:
            self._commit()
        self._in_hand.give_away(partitions)

    def _reached(self, goal: Goal) -> bool:
        if self._try(goal.reached):
            return True
        patience, trouble = self._settings.give_up_seconds, self._patience.trouble()
        if trouble is not None:
            if trouble[0] > patience:
                raise SinkStalledError(trouble[1])
        elif time.monotonic() > max(self._moved_at, goal.moved_at) + patience:
            raise SinkStalledError(
                f"nothing has landed for {patience:.0f} s although messages wait: another consumer of the same group "
                "holds their partitions; see what it does, or stop it"
            )
        return False

    def _finish(self) -> None:
        """Finish what is in hand, unless a service is down, and commit what is done."""
        end = time.monotonic() + self._settings.grace_seconds
        try:
            while self._in_hand.messages and self._patience.trouble() is None and time.monotonic() < end:
                self._collect(_POLL_SECONDS)
        finally:
            self._given_up.set()
            for pool in (self._readers, self._writers):
                pool.shutdown(cancel_futures=True)
            try:
                self._collect()
                self._commit()
                self._progress = replace(self._progress, lag=self._consumer.lag())
            finally:
                self._consumer.close()


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Inside, Python looks for cycles of dead objects more rarely.

    A record is tens of thousands of objects without any cycle; looking through them costs a third of decoding it.
    """
    threshold = gc.get_threshold()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, *threshold[1:])
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
