"""`qpipe sink` without a broker: what it takes, what it refuses, and what it does with dead letters."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qpipe_assets.kafka_sink import dead_letters
from qpipe_assets.kafka_sink.sink import SinkSettings
from qpipe_assets.tables.decode import decode
from qpipe_resources.object_store import FolderObjectStore
from tests.cli.conftest import qpipe, rows
from tests.fake_kafka import TOPIC, FakeConsumer, FakeDeserializer, FakeLog, FakeMessage, messages, record


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeLog], list[Any]]:
    """Makes the command read a log; gives the settings with which it connected."""

    def connect(log: FakeLog) -> list[Any]:
        asked: list[Any] = []

        def consumer(settings: Any) -> FakeConsumer:
            asked.append(settings)
            return FakeConsumer(log)

        monkeypatch.setattr("qpipe_resources.kafka.consumer.ResultConsumer", consumer)
        monkeypatch.setattr(
            "qpipe_resources.kafka.serialization.RecordDeserializer", lambda settings: FakeDeserializer()
        )
        return asked

    return connect


def test_it_lands_in_the_folder_of_a_local_installation(home: Path, connected: Callable[[FakeLog], list[Any]]) -> None:
    asked = connected(FakeLog([*messages(3), FakeMessage(3, b"?")]))
    result = qpipe("sink", "--once", "--servers", "broker:9092", "--group", "mine")
    assert result.exit_code == 0, result.stderr
    objects = (home / "raw-results" / "experiments").rglob("*.avro")
    assert sum(len(decode(path.read_bytes())) for path in objects) == 3
    assert "3 landed" in result.stderr and "1 dead letters" in result.stderr and "magic byte" in result.stderr
    assert (asked[0].servers, asked[0].group) == ("broker:9092", "mine")


def test_signals_are_as_before_afterwards(home: Path, connected: Callable[[FakeLog], list[Any]]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    connected(FakeLog([]))
    assert qpipe("sink", "--until-caught-up").exit_code == 0
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_what_cannot_be_caught_up_with_ends_with_exit_code_1_and_the_remedy(
    home: Path, connected: Callable[[FakeLog], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    connected(FakeLog(messages(1)))
    monkeypatch.setattr("tests.fake_kafka.FakeConsumer._answer", _no_broker)
    monkeypatch.setattr("qpipe_assets.kafka_sink.sink.SinkSettings", lambda: SinkSettings(give_up_seconds=0.3))
    result = qpipe("sink", "--once")
    assert result.exit_code == 1
    assert "error: no broker at localhost:9092" in result.stderr


def _no_broker(consumer: FakeConsumer) -> None:
    from qpipe_resources.kafka.errors import BrokerUnavailableError

    raise BrokerUnavailableError("no broker at localhost:9092 answers: start it")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--topic", "a/b"], "--topic"),
        (["--group", ""], "--group"),
        (["--sasl-plain-password", "x"], "KAFKA_SASL_PLAIN_PASSWORD"),
        (["--servers", "nowhere"], "--servers"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_before_anything(home: Path, flags: list[str], named: str) -> None:
    result = qpipe("sink", *flags)
    assert result.exit_code == 2
    assert named in result.stderr
    assert not home.exists()


def test_dead_letters_that_are_good_now_land_and_the_others_stay(
    home: Path, connected: Callable[[FakeLog], list[Any]]
) -> None:
    connected(FakeLog([]))
    store = FolderObjectStore(home / "raw-results")
    for offset, value in enumerate((record(1), b"?")):
        letter = dead_letters.letter_of(FakeMessage(offset, value), "the registry has no schema 9")
        dead_letters.bury(store, letter, value)
    told = rows(qpipe("sink", "--retry-dead-letters", "--format", "json"))
    assert [(row["message"], row["is"]) for row in told] == [
        (f"{TOPIC}+0+1", "dead letter"),
        (f"{TOPIC}+0+0", "landed"),
    ]
    assert decode(store.get(told[1]["key"]).data)[0].row["basis_set"] == "sto3g"
    [left] = dead_letters.listed(store)
    assert "magic byte" in dead_letters.read(store, left.key).reason
    assert not list((home / "raw-results" / "dead-letters").rglob("*+0+0.*"))


def test_dead_letters_are_left_alone_while_the_registry_is_down(
    home: Path, connected: Callable[[FakeLog], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    connected(FakeLog([]))
    monkeypatch.setattr(FakeDeserializer, "registry_down", True)
    store = FolderObjectStore(home / "raw-results")
    dead_letters.bury(store, dead_letters.letter_of(FakeMessage(0, record(1)), "why"), record(1))
    result = qpipe("sink", "--retry-dead-letters")
    assert result.exit_code == 1
    assert "Schema Registry at http://localhost:8081" in result.stderr
    assert len(dead_letters.listed(store)) == 1
