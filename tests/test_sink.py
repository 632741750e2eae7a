"""The sink: an offset is committed only when everything before it is durably put, and no message stops it."""

from __future__ import annotations

import io
import json
import math
import random
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qpipe_assets.kafka_sink import dead_letters
from qpipe_assets.kafka_sink.in_hand import InHand, Taken
from qpipe_assets.kafka_sink.message_landing import land_dead_letters
from qpipe_assets.kafka_sink.patience import GivenUpError, Patience
from qpipe_assets.kafka_sink.put_beside import put_together
from qpipe_assets.kafka_sink.sink import _READERS, Sink, SinkSettings, SinkStalledError
from qpipe_assets.tables.decode import decode, json_documents
from qpipe_assets.tables.installation import open_installation
from qpipe_resources.avro_container import EncodedRecord, cut
from qpipe_resources.kafka.errors import SchemaRefusedError
from qpipe_resources.object_store import FolderObjectStore
from qpipe_resources.serialization import avro_schema
from qpipe_resources.settings import Settings
from tests.fake_kafka import (
    NOON,
    TOPIC,
    FakeConsumer,
    FakeDeserializer,
    FakeLog,
    FakeMessage,
    Partition,
    encoded,
    messages,
    record,
)
from tests.synthetic import plain_record

FOLDER = f"experiments/{TOPIC}/molecule=H2/year=2026/month=11/day=21"
QUICK = SinkSettings(bytes_together=0, workers=4, commit_seconds=0.0, give_up_seconds=20.0, grace_seconds=5.0)
HASTY = replace(QUICK, give_up_seconds=0.5)


def landed(store: FolderObjectStore) -> list[str]:
    return [info.key for info in store.list_objects("experiments/")]


@pytest.fixture
def store(tmp_path: Path) -> FolderObjectStore:
    return FolderObjectStore(tmp_path / "store")


def run(log: FakeLog, store: Any, deserializer: FakeDeserializer | None = None, **options: Any) -> Sink:
    sink = Sink(store, deserializer or FakeDeserializer(), FakeConsumer(log), QUICK)
    sink.run(until_caught_up=True, **options)
    return sink


# What lands, and under which key


def test_a_message_lands_under_the_key_that_topic_partition_offset_and_date_give(store: FolderObjectStore) -> None:
    sink = run(FakeLog([FakeMessage(7, record(1), partition=3)]), store)
    assert landed(store) == [f"{FOLDER}/experiment.vqe+3+7.avro"]
    assert (sink.progress.landed, sink.progress.dead_letters) == (1, 0)


def test_what_is_put_is_what_the_writer_wrote_with_its_schema_and_is_ingested(store: FolderObjectStore) -> None:
    of_later = avro_schema() | {
        "fields": [*avro_schema()["fields"], {"name": "invented_later", "type": {"type": "array", "items": "double"}}]
    }
    written = encoded(plain_record(1) | {"invented_later": [1.5, math.nan]}, of_later)

    class OfLater(FakeDeserializer):
        def take_apart(self, message_value: bytes) -> EncodedRecord:
            return written

    run(FakeLog([FakeMessage(0, b"\x00")]), store, OfLater())
    data = store.get(landed(store)[0]).data
    reader = fastavro.reader(io.BytesIO(data))
    assert reader.writer_schema["fields"][-1]["name"] == "invented_later"
    assert [row["invented_later"][0] for row in reader] == [1.5]
    assert written.data in data
    assert decode(data)[0].molecule == "H2"


def test_a_record_that_breaks_a_rule_takes_none_of_those_it_landed_with_into_the_quarantine(tmp_path: Path) -> None:
    """In Avro, where the schema holds and a field's value does not; as JSON the sink sees it itself."""
    installation = open_installation(Settings(home=tmp_path, dagster_home=tmp_path / "dagster"))
    broken = plain_record(7) | {"hamiltonian_time": math.nan}
    log = FakeLog([*messages(7), FakeMessage(7, b"\x00" + json.dumps(broken).encode()), FakeMessage(8, record(8))])
    Sink(installation.store, SlowDeserializer(), FakeConsumer(log), TOGETHER).run(until_caught_up=True)
    assert len(list(installation.store.list_objects("experiments/"))) < 9
    for _ in range(2):
        installation.ingest().run("H2")
        assert installation.lakehouse.load("vqe_results").scan().count() == 8
        (refused,) = installation.discovery.quarantined()
        assert "/apart/" in str(refused["object_key"]) and "hamiltonian_time" in str(refused["error"])
    installation.ingest().run("H2", rebuild=True)
    assert installation.lakehouse.load("vqe_results").scan().count() == 8
    assert len(installation.discovery.quarantined()) == 1


def test_a_topic_made_anew_overwrites_no_earlier_object(store: FolderObjectStore) -> None:
    run(FakeLog([FakeMessage(0, record(1))]), store)
    (earlier,) = landed(store)
    content = store.get(earlier)
    for _ in range(2):  # the second time as after a kill: the same message again
        run(FakeLog([FakeMessage(0, record(2))]), store)
    (beside,) = set(landed(store)) - {earlier}
    assert store.get(earlier) == content
    assert beside.startswith(f"{FOLDER}/experiment.vqe+0+0+")
    assert seeds(store, beside) == [2]


def test_a_message_that_comes_again_is_no_new_version_of_its_object(store: FolderObjectStore) -> None:
    versions = []
    for _ in range(2):
        run(FakeLog([FakeMessage(0, record(1))]), store)
        versions.append([(info.key, info.etag) for info in store.list_objects("experiments/")])
    assert versions[0] == versions[1]


def test_plain_json_is_accepted_and_put_byte_for_byte(store: FolderObjectStore) -> None:
    written = json.dumps(plain_record(1), indent=3).encode()
    run(FakeLog([FakeMessage(0, written)]), store)
    assert store.get(landed(store)[0]).data == written


@pytest.mark.parametrize(("timestamp", "day"), [(-1, "1970/01/01"), (10**18, "1970/01/01"), (NOON, "2026/11/21")])
def test_a_timestamp_that_no_calendar_has_gives_a_key_all_the_same(
    store: FolderObjectStore, timestamp: int, day: str
) -> None:
    run(FakeLog([FakeMessage(0, record(1), timestamp=timestamp)]), store)
    year, month, date = day.split("/")
    assert f"year={year}/month={month}/day={date}/" in landed(store)[0]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the sink runs after it."""


class MortalStore(FolderObjectStore):
    """The sink dies with a put that is done, after so many."""

    def __init__(self, root: Path, consumer: FakeConsumer, die_at: int) -> None:
        super().__init__(root)
        self._consumer = consumer
        self._left = die_at

    def put(self, key: str, data: bytes) -> str:
        etag = super().put(key, data)
        if not self._left:
            self._consumer.down = True  # dead processes commit nothing
            raise Killed
        self._left -= 1
        return etag


# What waits is put together


TOGETHER = replace(QUICK, bytes_together=1 << 20, commit_seconds=0.5)


class SlowDeserializer(FakeDeserializer):
    """Takes so long that more messages wait meanwhile."""

    def take_apart(self, message_value: bytes) -> EncodedRecord:
        time.sleep(0.002)
        return super().take_apart(message_value)


def documents(store: FolderObjectStore) -> list[tuple[str, bytes]]:
    """Each record, as an object of its own, with the key of the object that it lies in."""
    return [(key, document) for key in landed(store) for document in cut(store.get(key).data)]


def seeds(store: FolderObjectStore, key: str) -> list[int]:
    """The records of an object, by what makes them distinct."""
    return [found.row["vqe_result"]["initial_data"]["seed"] for found in decode(store.get(key).data)]


def test_messages_that_wait_share_an_object_that_the_first_one_names(store: FolderObjectStore) -> None:
    log = FakeLog(messages(60, partitions=2))
    sink = Sink(store, SlowDeserializer(), FakeConsumer(log), TOGETHER)
    progress = sink.run(until_caught_up=True)
    assert progress.landed == 60 and log.committed == {(TOPIC, 0): 30, (TOPIC, 1): 30}
    assert len(landed(store)) < 20
    assert len({document for _, document in documents(store)}) == len(documents(store)) == 60
    first = {f"{FOLDER}/{TOPIC}+{m.partition}+{m.offset}": decode(m.value[1:])[0] for m in log.messages if m.value}
    for key in landed(store):
        found = decode(store.get(key).data)
        name = key.removesuffix(".avro") if len(found) == 1 else key.rpartition("+")[0]
        assert found[0].experiment_id == first[name].experiment_id


def test_what_belongs_elsewhere_gets_an_object_of_its_own(store: FolderObjectStore) -> None:
    lih = {"molecule_data": {"symbols": ["Li", "H"], "coords": [[0.0, 0.0, 0.0], [0.0, 0.0, 1.6]]}}
    values = [record(n, molecule=lih) if n % 2 else record(n) for n in range(20)]
    log = FakeLog([FakeMessage(n, value, timestamp=NOON + (n // 10) * 86_400_000) for n, value in enumerate(values)])
    Sink(store, SlowDeserializer(), FakeConsumer(log), TOGETHER).run(until_caught_up=True)
    assert log.committed == {(TOPIC, 0): 20}
    for key in landed(store):
        assert {record.molecule for record in decode(store.get(key).data)} == {key.split("/")[2].split("=")[1]}
    assert {tuple(key.split("/")[2:6]) for key in landed(store)} == {
        (f"molecule={molecule}", "year=2026", "month=11", f"day={day}")
        for molecule in ("H2", "LiH")
        for day in (21, 22)
    }
    assert len(documents(store)) == 20


def test_an_object_takes_no_more_than_its_bytes_or_messages(store: FolderObjectStore) -> None:
    few = replace(TOGETHER, messages_together=7)
    Sink(store, SlowDeserializer(), FakeConsumer(FakeLog(messages(50))), few).run(until_caught_up=True)
    assert len(documents(store)) == 50
    assert max(len(cut(store.get(key).data)) for key in landed(store)) <= 7


@pytest.mark.parametrize("die_at", [0, 1, 3])
def test_after_a_crash_groups_that_are_cut_otherwise_hold_every_message(store: FolderObjectStore, die_at: int) -> None:
    log = FakeLog(messages(60))
    consumer = FakeConsumer(log)
    with pytest.raises(Killed):
        Sink(
            MortalStore(store.root, consumer, die_at),
            SlowDeserializer(),
            consumer,
            replace(TOGETHER, messages_together=11),
        ).run()
    Sink(store, SlowDeserializer(), FakeConsumer(log), replace(TOGETHER, messages_together=17)).run(
        until_caught_up=True
    )
    assert log.committed == {(TOPIC, 0): 60}
    assert len({document for _, document in documents(store)}) == 60


def test_a_put_that_ends_late_replaces_nothing_of_what_others_have_put_and_committed_since(tmp_path: Path) -> None:
    """A rebalance takes the partition away while its first group is being put; whoever gets it cuts otherwise."""
    log, let_go = FakeLog(messages(5)), threading.Event()

    class Late(FolderObjectStore):
        puts = 0

        def put(self, key: str, data: bytes) -> str:
            self.puts += 1
            if self.puts == 1:
                assert let_go.wait(30)
            return super().put(key, data)

    store, early = Late(tmp_path), FakeConsumer(FakeLog(log.messages[:2]))
    early_sink = Sink(store, FakeDeserializer(), early, TOGETHER)
    running = threading.Thread(target=lambda: early_sink.run(max_seconds=30))
    running.start()
    while not store.puts:
        time.sleep(0.01)
    early.on_revoked([(TOPIC, 0)], False)
    Sink(store, SlowDeserializer(), FakeConsumer(log), TOGETHER).run(until_caught_up=True)
    let_go.set()
    early_sink.stop()
    running.join(30)
    assert log.committed == {(TOPIC, 0): 5}
    assert {seed for key in landed(store) for seed in seeds(store, key)} == set(range(5))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.sets(st.integers(0, 9), max_size=6)), max_size=8)
)
def test_whatever_is_put_together_and_again_is_there_and_never_twice_in_an_object(
    tmp_path: Path, groups: list[tuple[str, int, set[int]]]
) -> None:
    """Groups of documents of two logs that give the same names, as one has that was made anew."""
    store, expected = FolderObjectStore(tmp_path / uuid.uuid4().hex), set()
    for log, first, others in groups:
        offsets = [first, *sorted(n for n in others if n > first)]
        named = [f'{{"log":"{log}","offset":{n}}}'.encode() for n in offsets]
        before = {key: store.get(key).data for key in landed(store)}
        put_together(store, f"experiments/t+0+{first}.json", b"\n".join(named), alone=len(named) == 1)
        expected |= set(named)
        assert all(store.get(key).data == data for key, data in before.items())
    held = [json_documents(store.get(key).data) for key in landed(store)]
    assert {document for object_ in held for document in object_} == expected
    assert all(len(set(object_)) == len(object_) for object_ in held)


# Poison

IMPOSSIBLE = {"molecule_data": {"symbols": ["Qq"], "coords": [[0.0, 0.0, 0.0]]}}
POISON = [
    ("a tombstone", None, "null value"),
    ("nothing", b"", "magic byte"),
    ("no magic byte", b"\x01\x02", "magic byte"),
    ("a JSON that is no record", b'{"a": 1}', "vqe_result"),
    ("JSON cut short", b'{"vqe_result": ', "JSON"),
    ("another schema", b'\x00{"name": "x"}', "vqe_result"),
    ("no object at all", b"\x00[1, 2]", "reading it failed"),
    ("a broken rule", record(1, total_time="1")[1:], "total_time"),
    ("a moment that no reader can store", record(1, started_at="0001-01-01T00:00:00+14:00")[1:], "0001-01-01"),
    ("an impossible molecule", record(1, molecule=IMPOSSIBLE), "Qq"),
    ("an impossible molecule as JSON", record(1, molecule=IMPOSSIBLE)[1:], "Qq"),
    ("what breaks the decoder", b"\x00{", "JSONDecodeError"),
]


@pytest.mark.parametrize(("value", "named"), [(v, n) for _, v, n in POISON], ids=[title for title, _, _ in POISON])
def test_poison_is_kept_with_its_reason_and_stops_nothing(
    store: FolderObjectStore, value: bytes | None, named: str
) -> None:
    log = FakeLog([FakeMessage(0, record(0)), FakeMessage(1, value, key=b"\xff"), FakeMessage(2, record(2))])
    told: list[str] = []
    sink = Sink(store, FakeDeserializer(), FakeConsumer(log), QUICK, told.append)
    progress = sink.run(until_caught_up=True)
    assert (progress.landed, progress.dead_letters) == (2, 1)
    assert log.committed == {(TOPIC, 0): 3}
    [info] = dead_letters.listed(store)
    letter = dead_letters.read(store, info.key)
    assert named in letter.reason and any(letter.reason in line for line in told)
    assert (letter.topic, letter.partition, letter.offset, letter.key) == (TOPIC, 0, 1, "\\xff")
    assert letter.timestamp == "2026-11-21T12:00:00.000+00:00"
    assert letter.size == (None if value is None else len(value))
    assert store.get(f"dead-letters/{TOPIC}/{TOPIC}+0+1.bin").data == (value or b"")


def test_dead_letters_that_are_good_by_now_land_under_their_own_keys_and_go(store: FolderObjectStore) -> None:
    late, bad = record(1), b"\x01"
    deserializer = FakeDeserializer()
    for offset, value in enumerate((late, bad, None)):
        dead_letters.bury(store, dead_letters.letter_of(FakeMessage(offset, value), "schema id 9 is unknown"), value)
    landed_again = dict(land_dead_letters(store, deserializer, TOPIC))
    assert landed(store) == [f"{FOLDER}/{TOPIC}+0+0.avro"]
    assert landed_again[f"{TOPIC}+0+0"].reason is None
    assert "magic byte" in (landed_again[f"{TOPIC}+0+1"].reason or "")
    assert "null value" in (landed_again[f"{TOPIC}+0+2"].reason or "")
    assert {letter.name for letter, _ in dead_letters.letters(store, TOPIC)} == {f"{TOPIC}+0+1", f"{TOPIC}+0+2"}


def test_a_topic_made_anew_overwrites_no_earlier_dead_letter(store: FolderObjectStore) -> None:
    values = [b"early", b"later", b"later"]  # the third is the second again, as after a kill
    for value in values:
        run(FakeLog([FakeMessage(0, value)]), store)
    kept = list(dead_letters.letters(store, TOPIC))
    assert sorted(value for _, value in kept) == [b"early", b"later"]
    assert {letter.name for letter, _ in kept} == {f"{TOPIC}+0+0"}
    assert {letter.key_prefix for letter, _ in kept} == {
        info.key.removesuffix(".json") for info in dead_letters.listed(store)
    }
    # Each of the two goes, or gets another reason, by itself.
    (beside,) = (letter for letter, _ in kept if letter.beside)
    assert dead_letters.bury(store, replace(beside, reason="anew"), b"later").key_prefix == beside.key_prefix
    dead_letters.remove(store, beside)
    [(left, value)] = dead_letters.letters(store, TOPIC)
    assert (left.beside, value) == (None, b"early")


@pytest.mark.parametrize("foreign", [b"{}", b"[]", b"\xff", b'{"reason": "r"}'])
def test_an_object_of_somebody_else_among_the_dead_letters_is_told_and_stops_none(
    store: FolderObjectStore, foreign: bytes
) -> None:
    for offset in range(3):
        message = FakeMessage(offset, record(offset))
        dead_letters.bury(store, dead_letters.letter_of(message, "why"), message.value)
    store.put(f"dead-letters/{TOPIC}/foreign.json", foreign)
    *good, (name, landed_as) = land_dead_letters(store, FakeDeserializer(), TOPIC)
    assert [one.reason for _, one in good] == [None] * 3 and len(landed(store)) == 3
    assert name == f"dead-letters/{TOPIC}/foreign.json" and "remove it" in (landed_as.reason or "")
    assert store.get(name).data == foreign


def test_a_removal_that_was_cut_short_is_finished_by_the_next_look(store: FolderObjectStore) -> None:
    letter = dead_letters.letter_of(FakeMessage(0, b"x"), "why")
    dead_letters.bury(store, letter, b"x")
    store.delete(letter.key_prefix + ".bin")
    assert list(dead_letters.letters(store, TOPIC)) == []
    assert dead_letters.listed(store) == []


# Order of put and commit


class SlowStore(FolderObjectStore):
    """Puts take random time, so that they end in another order than they begin."""

    def __init__(self, root: Path, seed: int) -> None:
        super().__init__(root)
        self._random = random.Random(seed)

    def put(self, key: str, data: bytes) -> str:
        time.sleep(self._random.random() * 0.01)
        return super().put(key, data)


@pytest.mark.parametrize("seed", range(3))
def test_no_offset_is_committed_before_everything_up_to_it_is_put(tmp_path: Path, seed: int) -> None:
    store = SlowStore(tmp_path, seed)
    log = FakeLog(messages(40, partitions=2))

    def everything_is_put(offsets: Mapping[Partition, int]) -> None:
        there = set(landed(store))
        for (topic, partition), offset in offsets.items():
            assert {f"{FOLDER}/{topic}+{partition}+{n}.avro" for n in range(offset)} <= there

    sink = Sink(store, FakeDeserializer(), FakeConsumer(log, everything_is_put), QUICK)
    sink.run(until_caught_up=True)
    assert log.committed == {(TOPIC, 0): 20, (TOPIC, 1): 20}
    assert len(log.commits) > 2


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
    st.sets(st.integers(0, 29)),
)
def test_the_position_is_that_of_the_first_message_not_done(
    steps: list[tuple[int, int]], order: random.Random, abandoned: set[int]
) -> None:
    """Whatever the order in which messages of several partitions, with gaps, are finished, or not."""
    in_hand, taken, offsets = InHand(), [], {0: 0, 1: 0, 2: 0}
    for partition, gap in steps:
        message = FakeMessage(offsets[partition], b"123", partition=partition)
        taken.append((message, in_hand.take(message)))
        offsets[partition] += gap
    shuffled = list(enumerate(taken))
    order.shuffle(shuffled)
    done: set[tuple[int, int]] = set()
    for number, (message, token) in shuffled:
        in_hand.release(token, done=number not in abandoned)
        if number not in abandoned:
            done.add((message.partition, message.offset))
        positions = in_hand.committable()
        for partition in offsets:
            mine = [m.offset for m, _ in taken if m.partition == partition]
            finished = 0
            while finished < len(mine) and (partition, mine[finished]) in done:
                finished += 1
            expected = mine[finished - 1] + 1 if finished else None
            assert positions.get((TOPIC, partition)) == expected
    assert (in_hand.messages, in_hand.bytes) == (0, 0)


def test_a_commit_is_not_repeated() -> None:
    in_hand = InHand()
    in_hand.release(in_hand.take(FakeMessage(4, b"")), done=True)
    assert in_hand.committable() == {(TOPIC, 0): 5}
    in_hand.commit({(TOPIC, 0): 5})
    assert in_hand.committable() == {}
    assert in_hand.reached((TOPIC, 0), 5) and not in_hand.reached((TOPIC, 0), 6)


def test_what_is_finished_after_its_partition_was_given_away_is_never_committed() -> None:
    in_hand = InHand()
    early = in_hand.take(FakeMessage(0, b""))
    in_hand.give_away([(TOPIC, 0)])
    again: Taken = in_hand.take(FakeMessage(0, b""))
    in_hand.release(early, done=True)
    assert in_hand.committable() == {}
    in_hand.release(again, done=True)
    assert in_hand.committable() == {(TOPIC, 0): 1}


def test_a_log_that_begins_anew_is_followed() -> None:
    in_hand = InHand()
    in_hand.release(in_hand.take(FakeMessage(50, b"")), done=True)
    in_hand.commit(in_hand.committable())
    in_hand.release(in_hand.take(FakeMessage(0, b"")), done=True)
    assert in_hand.committable() == {(TOPIC, 0): 1}


class StuckStore(FolderObjectStore):
    """The put of one message takes until it is let go."""

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(root)
        self._name = name
        self.let_go = threading.Event()

    def put(self, key: str, data: bytes) -> str:
        if key.endswith(f"/{self._name}.avro"):
            assert self.let_go.wait(30)
        return super().put(key, data)


@pytest.mark.parametrize(("lost", "expected"), [(False, {(TOPIC, 0): 2}), (True, {})])
def test_on_a_rebalance_what_is_done_is_committed_unless_the_partition_is_lost(
    tmp_path: Path, lost: bool, expected: dict[Partition, int]
) -> None:
    store, log = StuckStore(tmp_path, f"{TOPIC}+0+2"), FakeLog(messages(4))
    consumer = FakeConsumer(log)
    sink = Sink(store, FakeDeserializer(), consumer, replace(QUICK, commit_seconds=1e9))
    committed: list[dict[Partition, int]] = []

    def watch(progress: Any) -> None:
        if progress.landed == 3:
            consumer.on_revoked([(TOPIC, 0)], lost)
            committed.append(dict(log.committed))
            store.let_go.set()
            sink.stop()

    sink.run(watch=watch, max_seconds=30)
    # The fourth is done and the third is not: it goes to the partition's new owner, and both are put again.
    assert committed == [expected]
    assert log.committed == expected


# What fails


@pytest.mark.parametrize("die_at", [0, 1, 5, 9])
def test_after_a_crash_between_put_and_commit_the_next_sink_puts_the_same_keys(
    store: FolderObjectStore, die_at: int
) -> None:
    log = FakeLog(messages(10))
    consumer = FakeConsumer(log)
    with pytest.raises(Killed):
        Sink(MortalStore(store.root, consumer, die_at), FakeDeserializer(), consumer, replace(QUICK, workers=2)).run()
    assert log.committed.get((TOPIC, 0), 0) <= die_at
    run(log, store)
    assert landed(store) == sorted(f"{FOLDER}/{TOPIC}+0+{n}.avro" for n in range(10))
    assert log.committed == {(TOPIC, 0): 10}


class RefusingStore(FolderObjectStore):
    """Refuses puts while it is down."""

    down = True
    refused = 0

    def put(self, key: str, data: bytes) -> str:
        if self.down:
            self.refused += 1
            raise OSError(28, "No space left on device")
        return super().put(key, data)


def test_a_store_that_refuses_is_waited_for_and_told_once(tmp_path: Path) -> None:
    store, told = RefusingStore(tmp_path), []
    log = FakeLog(messages(5))
    sink = Sink(store, FakeDeserializer(), FakeConsumer(log), QUICK, told.append)

    def watch(progress: Any) -> None:
        if store.down and store.refused >= 5:
            assert log.committed == {}
            store.down = False
        if progress.landed == 5:
            sink.stop()

    progress = sink.run(watch=watch, max_seconds=30)
    assert progress.landed == 5 and progress.dead_letters == 0
    assert log.committed == {(TOPIC, 0): 5}
    assert len(told) == 2
    assert "object store" in told[0] and "No space left" in told[0] and "qpipe doctor" in told[0]
    assert "object store is back" in told[1]


def test_a_registry_that_is_down_makes_nothing_poison(store: FolderObjectStore) -> None:
    deserializer, told = FakeDeserializer(), []
    deserializer.registry_down = True
    log = FakeLog(messages(3))
    sink = Sink(store, deserializer, FakeConsumer(log), QUICK, told.append)

    def watch(progress: Any) -> None:
        if told:
            deserializer.registry_down = False
        if progress.landed == 3:
            sink.stop()

    progress = sink.run(watch=watch, max_seconds=30)
    assert (progress.landed, progress.dead_letters) == (3, 0)
    assert "Schema Registry at http://localhost:8081" in told[0]


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(24, "Too many open files"), SchemaRefusedError("HTTP 422: why")], ids=repr
)
@pytest.mark.parametrize("method", ["look_up_schema", "take_apart"])
def test_what_says_nothing_about_a_message_makes_it_wait_and_is_told(
    store: FolderObjectStore, error: Exception, method: str
) -> None:
    told: list[str] = []

    class Troubled(FakeDeserializer):
        """Fails until that was told."""

    def fail(deserializer: FakeDeserializer, value: bytes) -> Any:
        if not told:
            raise error
        return getattr(FakeDeserializer, method)(deserializer, value)

    setattr(Troubled, method, fail)
    log = FakeLog(messages(3))
    progress = Sink(store, Troubled(), FakeConsumer(log), QUICK, told.append).run(until_caught_up=True)
    assert (progress.landed, progress.dead_letters) == (3, 0)
    assert str(error) in told[0] and "nothing is lost" in told[0]


class HangingRegistry(FakeDeserializer):
    """Knows one schema; asked for another, it is silent until its client gives up."""

    def __init__(self, seconds: float = float("inf")) -> None:
        self.asked = 0
        self.let_go = threading.Event()
        self._seconds = min(seconds, threading.TIMEOUT_MAX)
        self.registry_down = True

    def lacks_schema(self, message_value: bytes) -> bool:
        return message_value.startswith(b"\x00?")

    def look_up_schema(self, message_value: bytes) -> None:
        self.asked += 1
        self.let_go.wait(self._seconds)
        super().look_up_schema(message_value)


def test_a_registry_that_hangs_keeps_no_message_that_does_not_need_it(store: FolderObjectStore) -> None:
    registry = HangingRegistry()
    log = FakeLog([FakeMessage(0, b"\x00?"), FakeMessage(1, record(1)), FakeMessage(2, record(2)[1:])])
    sink = Sink(store, registry, FakeConsumer(log), QUICK)

    def watch(progress: Any) -> None:
        if progress.landed == 2:
            sink.stop()
            registry.let_go.set()

    assert sink.run(watch=watch, max_seconds=30).landed == 2
    assert log.committed == {}


def test_a_registry_that_was_not_asked_is_not_told_to_be_back(store: FolderObjectStore) -> None:
    registry, told = HangingRegistry(seconds=0.0), []
    log = FakeLog([FakeMessage(0, b"\x00?")])
    consumer = FakeConsumer(log)
    sink = Sink(store, registry, consumer, QUICK, told.append)
    later = [FakeMessage(1, record(1)), FakeMessage(2, record(2)[1:])]

    def watch(progress: Any) -> None:
        if told:
            consumer.give(later)
            later.clear()
        if progress.landed == 2:
            sink.stop()

    assert sink.run(watch=watch, max_seconds=30).landed == 2
    assert len(told) == 1 and "does not answer" in told[0]


def test_a_stopped_sink_waits_for_one_answer_of_the_registry_and_asks_no_more(store: FolderObjectStore) -> None:
    registry = HangingRegistry(seconds=2.0)
    log = FakeLog([FakeMessage(offset, b"\x00?") for offset in range(40)])
    sink = Sink(store, registry, FakeConsumer(log), replace(QUICK, grace_seconds=0.1))

    def stop_once_all_ask() -> None:
        while registry.asked < _READERS:
            time.sleep(0.01)
        sink.stop()

    threading.Thread(target=stop_once_all_ask, daemon=True).start()
    begun = time.monotonic()
    sink.run(max_seconds=60)
    # Without the stop: forty answers of two seconds, _READERS at once.
    assert time.monotonic() - begun < 40 * 2.0 / _READERS
    assert registry.asked == _READERS
    assert log.committed == {}


def test_nothing_is_attempted_once_the_work_was_stopped() -> None:
    stopped, attempts = threading.Event(), []
    stopped.set()
    with pytest.raises(GivenUpError, match="disk"):
        Patience(lambda line: None, stopped).attempt("disk", lambda: attempts.append(1))
    assert attempts == []


def test_a_broker_that_is_down_is_waited_for(store: FolderObjectStore) -> None:
    log = FakeLog(messages(3))
    consumer, told = FakeConsumer(log), []
    consumer.down = True
    sink = Sink(store, FakeDeserializer(), consumer, QUICK, told.append)

    def watch(progress: Any) -> None:
        if told:
            consumer.down = False
        if log.committed:
            sink.stop()

    assert sink.run(watch=watch, max_seconds=30).landed == 3
    assert "localhost:9092" in told[0] and "Kafka is back" in told[1]


@pytest.mark.parametrize("what", ["store", "registry", "broker"])
def test_a_run_that_shall_end_gives_up_after_a_while_and_commits_nothing_undone(tmp_path: Path, what: str) -> None:
    store, deserializer, log = RefusingStore(tmp_path), FakeDeserializer(), FakeLog(messages(3))
    store.down, deserializer.registry_down = what == "store", what == "registry"
    consumer = FakeConsumer(log)
    consumer.down = what == "broker"
    begun = time.monotonic()
    with pytest.raises(SinkStalledError, match=r"No space left|does not answer|no broker"):
        Sink(store, deserializer, consumer, HASTY).run(until_caught_up=True)
    assert time.monotonic() - begun < 20
    assert log.committed == {} and consumer.closed


def test_a_group_that_does_not_move_is_given_up(store: FolderObjectStore) -> None:
    log = FakeLog(messages(1))
    consumer = FakeConsumer(log)
    consumer.paused = True  # somebody else has the partition and does nothing
    with pytest.raises(SinkStalledError, match="another consumer"):
        Sink(store, FakeDeserializer(), consumer, HASTY).run(until_caught_up=True)


def test_an_error_of_the_program_ends_the_sink_and_commits_nothing_undone(store: FolderObjectStore) -> None:
    class Broken(FakeDeserializer):
        def take_apart(self, message_value: bytes) -> Any:
            raise KeyboardInterrupt

    log = FakeLog(messages(1))
    consumer = FakeConsumer(log)
    with pytest.raises(KeyboardInterrupt):
        Sink(store, Broken(), consumer, QUICK).run()
    assert log.committed == {} and consumer.closed


# Bounds and ends


def test_the_bytes_in_hand_are_bounded_and_the_consumer_is_polled_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qpipe_assets.kafka_sink.sink._HOLD_SECONDS", 0.2)
    store = RefusingStore(tmp_path)
    log = FakeLog(messages(50))
    consumer = FakeConsumer(log)
    size = len(record(0))
    sink = Sink(store, FakeDeserializer(), consumer, SinkSettings(workers=2, bytes_in_hand=5 * size, commit_seconds=0))

    def watch(progress: Any) -> None:
        if consumer.paused:
            assert len(log.messages) - (consumer.lag() or 0) <= 7
            store.down = False
        if progress.landed == 50:
            sink.stop()

    assert sink.run(watch=watch, max_seconds=30).landed == 50
    assert not store.down and not consumer.paused


def test_a_message_larger_than_the_bound_passes(store: FolderObjectStore) -> None:
    log = FakeLog(messages(3))
    settings = SinkSettings(bytes_in_hand=1, commit_seconds=0)
    assert Sink(store, FakeDeserializer(), FakeConsumer(log), settings).run(until_caught_up=True).landed == 3


def test_a_stopped_sink_finishes_what_it_has_and_commits_it(tmp_path: Path) -> None:
    log = FakeLog(messages(12))
    consumer = FakeConsumer(log)
    sink = Sink(SlowStore(tmp_path, 0), FakeDeserializer(), consumer, QUICK)
    threading.Timer(0.02, sink.stop).start()
    done = sink.run(max_seconds=30).landed
    assert len(landed(FolderObjectStore(tmp_path))) == done == log.committed.get((TOPIC, 0), 0)
    assert consumer.closed


def test_a_sink_ends_at_its_time(store: FolderObjectStore) -> None:
    assert Sink(store, FakeDeserializer(), FakeConsumer(FakeLog([])), QUICK).run(max_seconds=0.05).landed == 0


def test_an_empty_topic_is_caught_up_with_at_once(store: FolderObjectStore) -> None:
    assert run(FakeLog([]), store).progress.landed == 0


@pytest.mark.parametrize("committed", [0, 3, 4])
def test_a_topic_that_ends_with_the_marks_of_transactions_is_caught_up_with(
    store: FolderObjectStore, committed: int
) -> None:
    log = FakeLog(messages(3), marks=2)
    log.committed = {(TOPIC, 0): committed}
    assert run(log, store).progress.landed == max(0, 3 - committed)
    # So that the broker counts nothing as waiting, either.
    assert log.committed == {(TOPIC, 0): 5}


def test_marks_are_not_passed_by_before_every_message_is_done() -> None:
    in_hand = InHand()
    taken = [in_hand.take(FakeMessage(offset, b"")) for offset in range(2)]
    in_hand.release(taken[1], done=True)
    in_hand.pass_by({(TOPIC, 0): 4})
    assert in_hand.committable() == {}
    in_hand.release(taken[0], done=True)
    assert in_hand.committable() == {(TOPIC, 0): 2}
    in_hand.pass_by({(TOPIC, 0): 4, (TOPIC, 1): 1})
    assert in_hand.committable() == {(TOPIC, 0): 4, (TOPIC, 1): 1}


def test_a_message_that_was_given_up_is_never_passed_by() -> None:
    in_hand = InHand()
    in_hand.release(in_hand.take(FakeMessage(0, b"")), done=False)
    in_hand.pass_by({(TOPIC, 0): 4})
    assert in_hand.committable() == {}


def test_what_another_consumer_of_the_group_has_landed_counts(store: FolderObjectStore) -> None:
    log = FakeLog(messages(2))
    log.committed = {(TOPIC, 0): 2}
    assert run(log, store).progress.landed == 0
