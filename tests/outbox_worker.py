"""Processes that land records by way of the outbox, and can be killed at any step of it.

    python -m tests.outbox_worker campaign HOME FIRST COUNT [POINT]    lands records, dies by SIGKILL at the point
    python -m tests.outbox_worker replay HOME [slow]                   delivers what waits
    python -m tests.outbox_worker land HOME NUMBER                     lands one record; prints what became of it

The broker is a folder: a message is an object under the next offset, so that one that is sent twice is there twice.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qpipe_resources.object_store
from qpipe_assets.landing import Landing, UndeliveredError
from qpipe_resources.delivery import DeliveryError
from qpipe_resources.object_layout import message_name, result_key
from qpipe_resources.object_store import FolderObjectStore
from qpipe_resources.outbox import Outbox, open_outbox
from qpipe_resources.settings import Settings
from simulation.record import VQEDecoratedResult
from tests.synthetic import plain_record

MOLECULE = "LiH"
KILL_POINTS = (
    "outbox wrote a part",
    "outbox has it",
    "broker was asked",
    "broker has it",
    "outbox moves it",
    "outbox moved it",
)


def make_record(number: int, molecule: str = MOLECULE) -> VQEDecoratedResult:
    """A record as a run makes it, different for each number."""
    record = VQEDecoratedResult.model_validate(plain_record(number, molecule))
    identity = hashlib.sha256(f"{molecule} {number}".encode()).hexdigest()
    return record.model_copy(update={"experiment_id": identity, "started_at": "2026-11-21T12:00:00+00:00"})


def settings_of(home: Path) -> Settings:
    return Settings(home=home, dagster_home=home / "dagster")


class FolderBroker:
    """A topic in the raw object store: what a broker and a sink make of messages, without either."""

    immediate = False

    def __init__(
        self, store: FolderObjectStore, topic: str = "experiment.vqe", *, down: bool = False, seconds: float = 0.0
    ) -> None:
        self._store = store
        self._topic = topic
        self._seconds = seconds
        self.down = down

    def deliver(self, molecule: str, record: VQEDecoratedResult) -> str:
        if self.down:
            raise DeliveryError("the Kafka broker at localhost:9092 does not answer: start it")
        time.sleep(self._seconds)
        for offset in range(1_000_000):
            key = result_key(self._topic, molecule, "2026-11-21", message_name(self._topic, 0, offset))
            path = self._store.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(path, "xb") as file:
                    file.write(record.to_json())
                return message_name(self._topic, 0, offset)
            except FileExistsError:
                continue
        raise AssertionError("the topic is full")

    def close(self) -> None:
        pass


def messages(home: Path) -> list[str]:
    """The experiments in the broker, in no order, each as often as it was sent."""
    paths = settings_of(home).raw_results.glob("experiments/*/molecule=*/**/*.json")
    return [str(VQEDecoratedResult.model_validate_json(path.read_bytes()).experiment_id) for path in paths]


def landing(home: Path, *, down: bool = False) -> Landing:
    settings = settings_of(home)
    store = FolderObjectStore(settings.raw_results)
    return Landing(store, settings, MOLECULE, FolderBroker(store, down=down))


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before(function: Callable[..., Any], action: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **options: Any) -> Any:
        action(*args)
        return function(*args, **options)

    return wrapped


def _after(function: Callable[..., Any], action: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **options: Any) -> Any:
        result = function(*args, **options)
        action(*args)
        return result

    return wrapped


def die_at(point: str) -> None:
    """Arm this process to die when it comes to a point."""
    replace = os.replace
    match point:
        case "outbox wrote a part":
            qpipe_resources.object_store.os.replace = _before(replace, _die)  # type: ignore[attr-defined]
        case "outbox has it":
            Outbox.keep = _after(Outbox.keep, _die)  # type: ignore[method-assign]
        case "broker was asked":
            FolderBroker.deliver = _before(FolderBroker.deliver, _die)  # type: ignore[method-assign]
        case "broker has it":
            FolderBroker.deliver = _after(FolderBroker.deliver, _die)  # type: ignore[method-assign]
        case "outbox moves it":
            os.utime = _after(os.utime, _die)
        case "outbox moved it":
            Outbox.settle = _after(Outbox.settle, _die)  # type: ignore[method-assign]
        case _:
            raise ValueError(point)


def _campaign(home: Path, first: int, count: int, point: str | None) -> None:
    """Land records that have not landed, as a campaign does; the second new one meets the point."""
    way = landing(home)
    way.deliver_waiting()
    records = [make_record(number) for number in range(first, first + count)]
    landed = way.landed([str(record.experiment_id) for record in records])
    for index, record in enumerate(one for one in records if one.experiment_id not in landed):
        if index == 1 and point is not None:
            die_at(point)
        way.land(record)


def main(command: str, home: Path, *arguments: str) -> None:
    match command:
        case "campaign":
            first, count, *point = arguments
            _campaign(home, int(first), int(count), point[0] if point else None)
        case "replay":
            settings = settings_of(home)
            outbox = open_outbox(settings)
            broker = FolderBroker(FolderObjectStore(settings.raw_results), seconds=0.05 if arguments else 0.0)
            for attempt in outbox.deliver_all(outbox.undelivered(), broker):
                assert attempt.where is not None, attempt
        case "land":
            try:
                print(landing(home, down=arguments[1:] == ("down",)).land(make_record(int(arguments[0]))))
            except UndeliveredError as error:
                print(f"kept={error.kept} {error}")
        case _:
            raise ValueError(command)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
