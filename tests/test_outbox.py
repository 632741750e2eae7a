"""The outbox: nothing computed is lost, whatever dies when; nothing is delivered twice by two who deliver at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from qpipe_assets.landing import Landing, UndeliveredError
from qpipe_assets.tables.installation import open_installation
from qpipe_resources.delivery import DeliveryError, StoreDelivery
from qpipe_resources.delivery_breaker import Breaker
from qpipe_resources.object_store import FolderObjectStore
from qpipe_resources.outbox import NoRecordError, Outbox, open_outbox
from qpipe_resources.settings import Settings
from simulation.record import VQEDecoratedResult
from tests.outbox_worker import KILL_POINTS, MOLECULE, FolderBroker, landing, make_record, messages, settings_of

ROOT = Path(__file__).resolve().parents[1]


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.outbox_worker", *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return out


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def outbox(home: Path) -> Outbox:
    return open_outbox(settings_of(home))


def files(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*/*.json"))


def test_a_kill_between_any_two_steps_loses_no_record_and_counts_none_twice(home: Path, outbox: Outbox) -> None:
    expected = []
    for number, point in enumerate(KILL_POINTS):
        finish(start("campaign", home, 10 * number, 3, point), code=-signal.SIGKILL)
        finish(start("campaign", home, 10 * number, 3))
        expected += [str(make_record(10 * number + one).experiment_id) for one in range(3)]
    assert outbox.undelivered() == []
    assert {file.experiment for file in outbox.sent()} == set(expected)
    sent = Counter(messages(home))
    assert sent.keys() == set(expected)
    assert max(sent.values()) == 2, "a kill before the broker's answer was noted sends again"
    installation = open_installation(settings_of(home))
    installation.ingest().run(MOLECULE)
    rows = installation.lakehouse.sql("select experiment_id from vqe_results", ("vqe_results",)).to_pylist()
    assert sorted(row["experiment_id"] for row in rows) == sorted(expected)


def test_a_record_that_waits_after_a_kill_is_delivered_by_replay_and_moved(home: Path, outbox: Outbox) -> None:
    finish(start("campaign", home, 0, 3, "outbox has it"), code=-signal.SIGKILL)
    [waiting] = outbox.undelivered()
    finish(start("replay", home))
    assert (outbox.undelivered(), messages(home).count(waiting.experiment)) == ([], 1)
    assert waiting.experiment in {file.experiment for file in outbox.sent()}


def test_two_replays_and_a_campaign_at_the_same_time_deliver_each_record_once(home: Path, outbox: Outbox) -> None:
    records = [make_record(number) for number in range(40)]
    for record in records[:30]:
        outbox.keep(MOLECULE, record)
    for process in [start("replay", home, "slow"), start("replay", home, "slow"), start("campaign", home, 0, 40)]:
        finish(process)
    assert Counter(messages(home)) == {record.experiment_id: 1 for record in records}
    assert files(outbox.root / "undelivered") == []
    assert files(outbox.root / "sent") == sorted(str(record.experiment_id) for record in records)


def test_a_process_has_a_record_alone_until_it_is_killed(outbox: Outbox) -> None:
    file = outbox.keep(MOLECULE, make_record(1))
    program = (
        f"import pathlib, time\nfrom qpipe_resources.outbox import Outbox\n"
        f"with Outbox(pathlib.Path({str(outbox.root)!r})).alone({file.experiment!r}):\n"
        "    print('alone', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "alone\n"
    got_it = threading.Event()

    def wait_for_it() -> None:
        with outbox.alone(file.experiment):
            got_it.set()

    threading.Thread(target=wait_for_it, daemon=True).start()
    assert not got_it.wait(0.3)
    os.kill(other.pid, signal.SIGKILL)
    assert got_it.wait(30)
    other.wait()
    other.stdout.close()


def test_a_record_is_in_the_outbox_before_the_broker_is_asked_and_in_sent_after(home: Path, outbox: Outbox) -> None:
    seen = []

    class Watching(FolderBroker):
        def deliver(self, molecule: str, record: VQEDecoratedResult) -> str:
            seen.append((files(outbox.root / "undelivered"), files(outbox.root / "sent")))
            return super().deliver(molecule, record)

    store = FolderObjectStore(settings_of(home).raw_results)
    record = make_record(1)
    assert Landing(store, settings_of(home), MOLECULE, Watching(store)).land(record) == "experiment.vqe+0+0"
    assert seen == [([record.experiment_id], [])]
    assert (files(outbox.root / "undelivered"), files(outbox.root / "sent")) == ([], [record.experiment_id])
    assert VQEDecoratedResult.model_validate_json(outbox.sent()[0].path.read_bytes()) == record


def test_the_folder_store_needs_no_outbox_and_a_bucket_keeps_nothing_after_its_put(home: Path) -> None:
    settings = settings_of(home)
    local = FolderObjectStore(settings.raw_results)
    Landing(local, settings, MOLECULE).land(make_record(1))
    assert not settings.outbox.exists()

    class Bucket:
        """A store that is not this machine's, as far as the landing can see."""

        def put(self, key: str, data: bytes) -> str:
            assert files(settings.outbox / "s3" / "undelivered") == [make_record(2).experiment_id]
            return local.put(key, data)

    bucket = Bucket()
    way = StoreDelivery(bucket, "experiment.vqe")  # type: ignore[arg-type]
    Landing(bucket, settings, MOLECULE, way, way="s3").land(make_record(2))  # type: ignore[arg-type]
    assert [files(settings.outbox / "s3" / part) for part in ("undelivered", "sent")] == [[], []]
    assert len(messages(home)) == 2


def test_what_the_broker_refuses_is_kept_and_the_error_says_what_where_and_what_to_do(
    home: Path, outbox: Outbox
) -> None:
    record = make_record(1)
    with pytest.raises(UndeliveredError) as refused:
        landing(home, down=True).land(record)
    assert refused.value.kept
    for part in (
        "Kafka broker at localhost:9092",
        str(outbox.path(MOLECULE, str(record.experiment_id))),
        "qpipe replay",
    ):
        assert part in str(refused.value)
    assert outbox.read(outbox.undelivered(MOLECULE)[0]) == record


def test_what_waits_or_was_sent_counts_as_landed_and_can_be_read(home: Path) -> None:
    up, down = landing(home), landing(home, down=True)
    sent, waiting, absent = make_record(1), make_record(2), make_record(3)
    up.land(sent)
    with pytest.raises(UndeliveredError):
        down.land(waiting)
    asked = [str(record.experiment_id) for record in (sent, waiting, absent)]
    assert landing(home).landed(asked) == set(asked[:2])
    assert [landing(home).find(one) for one in asked] == [sent, waiting, None]


def test_a_sent_file_that_holds_no_record_is_told_and_counts_as_nothing(
    home: Path, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    torn, both = make_record(1), make_record(2)
    for record in (torn, both):
        landing(home).land(record)
    for file in outbox.sent():
        file.path.write_bytes(b"")
    outbox.keep(MOLECULE, both)
    asked = [str(record.experiment_id) for record in (torn, both)]
    assert landing(home).landed(asked) == {both.experiment_id}
    assert [landing(home).find(one) for one in asked] == [None, both]
    assert not outbox.has_sent(MOLECULE, asked[0])
    assert "is no record" in caplog.text and "left alone" in caplog.text


def test_what_is_on_its_way_elsewhere_is_neither_asked_for_nor_forgotten_nor_delivered_here(home: Path) -> None:
    settings = settings_of(home)
    services = settings.model_copy(update={"env": "services"})
    store = FolderObjectStore(home / "elsewhere")
    sent, waiting = make_record(1), make_record(2)
    Landing(store, services, MOLECULE, FolderBroker(store)).land(sent)
    with pytest.raises(UndeliveredError):
        Landing(store, services, MOLECULE, FolderBroker(store, down=True)).land(waiting)
    installation = open_installation(settings)
    here = Landing(installation.store, settings, MOLECULE, ledger=installation.ledger)
    assert here.landed([str(sent.experiment_id), str(waiting.experiment_id)]) == set()
    assert [here.find(str(record.experiment_id)) for record in (sent, waiting)] == [None, None]
    here.land(sent)
    installation.ingest().run(MOLECULE)
    here.forget_arrived()
    assert here.deliver_waiting() == []
    there = open_outbox(services)
    assert there.root == home / "outbox" / "kafka"
    assert [[file.experiment for file in files] for files in (there.sent(), there.undelivered())] == [
        [sent.experiment_id],
        [waiting.experiment_id],
    ]


def test_a_record_whose_message_is_in_the_tables_leaves_the_outbox_and_is_read_from_its_object(home: Path) -> None:
    record, late = make_record(1), make_record(2)
    landing(home).land(record)
    installation = open_installation(settings_of(home))
    installation.ingest().run(MOLECULE)
    landing(home).land(late)
    store, settings = installation.store, installation.settings
    way = Landing(store, settings, MOLECULE, FolderBroker(store), ledger=installation.ledger)  # type: ignore[arg-type]
    way.forget_arrived()
    assert files(settings.outbox / "local" / "sent") == [late.experiment_id]
    assert way.landed([str(record.experiment_id)]) == {record.experiment_id}
    assert way.find(str(record.experiment_id)) == record


def test_what_was_sent_long_ago_and_never_arrived_is_told_and_never_removed(
    home: Path, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    landing(home).land(make_record(1))
    [file] = outbox.sent()
    old = time.time() - 8 * 86_400
    os.utime(file.path, (old, old))
    installation = open_installation(settings_of(home))
    store = FolderObjectStore(home / "elsewhere")
    Landing(store, installation.settings, MOLECULE, ledger=installation.ledger).forget_arrived()
    assert "1 records of LiH were sent more than 7 days ago" in caplog.text and "qpipe replay --sent" in caplog.text
    assert outbox.sent() == [file]
    assert (outbox.expire(9), outbox.expire(7), outbox.sent()) == (0, 1, [])


def test_a_record_that_is_delivered_after_a_long_wait_is_sent_just_now(outbox: Outbox) -> None:
    file = outbox.keep(MOLECULE, make_record(1))
    os.utime(file.path, (0, 0))
    outbox.deliver(file, FolderBroker(FolderObjectStore(outbox.root / "topic")))
    assert outbox.older(1) == []


def test_a_record_that_is_computed_again_replaces_the_one_that_waits(outbox: Outbox) -> None:
    first = make_record(1)
    second = first.model_copy(update={"wall_time": 99.0})
    outbox.keep(MOLECULE, first)
    outbox.keep(MOLECULE, second)
    [file] = outbox.undelivered()
    assert outbox.read(file) == second


@pytest.mark.parametrize(("molecule", "experiment"), [("..", "a" * 64), ("a/b", "a" * 64), ("", "a" * 64), ("H2", "")])
def test_names_that_could_leave_the_outbox_are_refused(outbox: Outbox, molecule: str, experiment: str) -> None:
    with pytest.raises(NoRecordError):
        outbox.keep(molecule, make_record(1).model_copy(update={"experiment_id": experiment}))
    assert not outbox.root.exists()


@pytest.mark.parametrize("name", ["notes.txt", "a.json", f"{'0' * 64}.json"])
def test_a_file_that_is_no_record_is_told_left_alone_and_stops_no_other(outbox: Outbox, name: str) -> None:
    record = make_record(1)
    outbox.keep(MOLECULE, record)
    stray = outbox.root / "undelivered" / MOLECULE / name
    stray.write_text('{"half a rec')
    broker = FolderBroker(FolderObjectStore(outbox.root / "topic"))
    outcomes = {one.file.experiment: one for one in outbox.deliver_all(outbox.undelivered(), broker)}
    told = outcomes.pop(name.removesuffix(".json"))
    assert str(stray) in str(told.error) and "left alone" in str(told.error) and not told.waits
    assert outcomes[str(record.experiment_id)].where == "experiment.vqe+0+0"
    assert stray.read_text() == '{"half a rec'


def test_a_record_of_another_name_or_molecule_is_left_alone(outbox: Outbox) -> None:
    other = outbox.keep(MOLECULE, make_record(1))
    renamed = other.path.with_name(f"{'0' * 64}.json")
    other.path.rename(renamed)
    elsewhere = outbox.keep("H2", make_record(2))
    broker = FolderBroker(FolderObjectStore(outbox.root / "topic"))
    outcomes = list(outbox.deliver_all(outbox.undelivered(), broker))
    assert [one.where for one in outcomes] == [None, None]
    assert all("not the one of its name" in str(one.error) for one in outcomes)
    assert renamed.exists() and elsewhere.path.exists()


def test_what_earlier_versions_kept_is_delivered_and_removed(home: Path, outbox: Outbox) -> None:
    record = make_record(1)
    key = f"experiments/experiment.vqe/molecule={MOLECULE}/year=2026/month=11/day=21/{record.experiment_id}.json"
    FolderObjectStore(home / "undelivered").put(key, record.to_json())
    assert landing(home).landed([str(record.experiment_id)]) == {record.experiment_id}
    store = FolderObjectStore(settings_of(home).raw_results)
    [attempt] = Landing(store, settings_of(home), MOLECULE).deliver_waiting()
    assert attempt.where == key
    assert outbox.undelivered() == [] and store.get(key).data == record.to_json()


def test_a_service_that_is_down_is_not_asked_for_every_record_but_one_bad_record_hides_no_other(
    outbox: Outbox,
) -> None:
    for number in range(10):
        outbox.keep(MOLECULE, make_record(number))
    asked = []

    class FinalError(Exception):
        transient = False

    class Counting(FolderBroker):
        def deliver(self, molecule: str, record: VQEDecoratedResult) -> str:
            asked.append(record.experiment_id)
            raise DeliveryError("no") from (FinalError() if self.down else None)

    store = FolderObjectStore(outbox.root / "topic")
    outcomes = list(outbox.deliver_all(outbox.undelivered(), Counting(store)))
    assert len(asked) == 3 and len(outcomes) == 10 and all(one.waits for one in outcomes)
    asked.clear()
    assert len(list(outbox.deliver_all(outbox.undelivered(), Counting(store, down=True)))) == len(asked) == 10


class Clocked(FolderBroker):
    """A broker that counts who asks it."""

    def __init__(self, store: FolderObjectStore, *, down: bool) -> None:
        super().__init__(store, down=down)
        self.asked = 0

    def deliver(self, molecule: str, record: VQEDecoratedResult) -> str:
        self.asked += 1
        return super().deliver(molecule, record)


def test_a_broker_that_is_down_costs_its_timeouts_three_times_and_then_once_a_minute(
    home: Path, outbox: Outbox
) -> None:
    now = 1000.0
    store = FolderObjectStore(settings_of(home).raw_results)
    broker = Clocked(store, down=True)
    way = Landing(store, settings_of(home), MOLECULE, broker, breaker=Breaker(lambda: now))

    def refused(number: int) -> str:
        with pytest.raises(UndeliveredError) as error:
            way.land(make_record(number))
        assert error.value.kept
        return str(error.value)

    told = [refused(number) for number in range(10)]
    assert (broker.asked, len(outbox.undelivered())) == (3, 10)
    assert "not tried" in told[9] and "Kafka broker at localhost:9092" in told[9] and "qpipe replay" in told[9]
    for number in (10, 11):
        now += 61
        refused(number), refused(number + 10)
    assert broker.asked == 5
    broker.down = False
    refused(30)
    now += 61
    assert way.land(make_record(31)) == "experiment.vqe+0+0"
    assert way.land(make_record(32)) == "experiment.vqe+0+1"
    assert all(attempt.where for attempt in way.deliver_waiting())
    assert (outbox.undelivered(), len(outbox.sent())) == ([], 17)


def test_who_delivers_what_waits_asks_an_open_service_once_more_and_only_once(home: Path) -> None:
    store = FolderObjectStore(settings_of(home).raw_results)
    broker = Clocked(store, down=True)
    way = Landing(store, settings_of(home), MOLECULE, broker, breaker=Breaker(lambda: 0.0))
    for number in range(5):
        with pytest.raises(UndeliveredError):
            way.land(make_record(number))
    assert len(way.deliver_waiting()) == 5 and broker.asked == 4
    broker.down = False
    assert [attempt.error for attempt in way.deliver_waiting()] == [None] * 5


def test_a_service_that_is_left_alone_is_asked_all_the_same_where_the_outbox_cannot_keep_a_record(
    home: Path, outbox: Outbox
) -> None:
    store = FolderObjectStore(settings_of(home).raw_results)
    broker = Clocked(store, down=True)
    way = Landing(store, settings_of(home), MOLECULE, broker, breaker=Breaker(lambda: 0.0))
    for number in range(3):
        with pytest.raises(UndeliveredError):
            way.land(make_record(number))
    (outbox.root / "locks").rename(outbox.root / "away")
    (outbox.root / "locks").write_text("a file, where a folder should be")
    broker.down = False
    assert way.land(make_record(4)) == "experiment.vqe+0+0"


_TMPFS = 'mount -t tmpfs -o size=32k none "$1" && shift && exec "$@"'


def on_a_full_disk(folder: Path, *arguments: object) -> str:
    """Run the worker with a file system of 32 KiB mounted on a folder, full."""
    folder.mkdir(parents=True)
    if subprocess.run(["unshare", "-rm", "sh", "-c", _TMPFS, "sh", folder, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs (unshare -rm)")
    fill = f'head -c 100000 /dev/zero > "{folder}/filler" 2>/dev/null; exec "$@"'
    worker = [sys.executable, "-m", "tests.outbox_worker", *(str(argument) for argument in arguments)]
    command = ["unshare", "-rm", "sh", "-c", _TMPFS, "sh", folder, "sh", "-c", fill, "sh", *worker]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_full_disk_under_the_outbox_stops_no_delivery(home: Path, settings: Settings) -> None:
    assert on_a_full_disk(settings.outbox, "land", home, 1) == "experiment.vqe+0+0\n"
    assert messages(home) == [make_record(1).experiment_id]


def test_where_neither_broker_nor_disk_takes_a_record_the_error_says_both(home: Path, settings: Settings) -> None:
    told = on_a_full_disk(settings.outbox, "land", home, 1, "down")
    assert told.startswith("kept=False ")
    for part in ("Kafka broker at localhost:9092", "No space left on device", "checkpoint stays"):
        assert part in told
