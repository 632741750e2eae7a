"""`qpipe replay`: what could not be delivered is delivered once, and every file of the outbox is accounted for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import qpipe_resources.kafka.delivery
from qpipe_assets.tables.installation import open_installation
from qpipe_resources.object_store import FolderObjectStore
from qpipe_resources.outbox import Outbox
from tests.cli.conftest import qpipe, rows
from tests.outbox_worker import MOLECULE, FolderBroker, make_record, messages, settings_of


@pytest.fixture
def outbox(home: Path) -> Outbox:
    return Outbox(home / "outbox" / "local")


@pytest.fixture
def services(home: Path, monkeypatch: pytest.MonkeyPatch) -> FolderBroker:
    """An installation whose records leave by messages into its own store."""
    broker = FolderBroker(FolderObjectStore(home / "raw-results"))
    monkeypatch.setattr("qpipe_cli.target.open_delivery", lambda settings, store: broker)
    return broker


def test_each_waiting_record_is_delivered_once_told_and_removed(home: Path, outbox: Outbox) -> None:
    records = [make_record(number) for number in range(3)]
    for record in records:
        outbox.keep(MOLECULE, record)
    result = qpipe("replay", "--format", "json")
    told = rows(result)
    assert [row["molecule"] for row in told] == [MOLECULE] * 3
    assert sorted(row["experiment"] for row in told) == sorted(str(record.experiment_id) for record in records)
    assert all((home / "raw-results" / row["where"]).exists() and row["error"] is None for row in told)
    assert "[3/3] LiH " in result.stderr
    assert (outbox.undelivered(), outbox.sent()) == ([], [])
    assert rows(qpipe("replay", "--format", "json")) == []


def test_what_is_sent_by_message_is_moved_and_not_sent_again(
    home: Path, outbox: Outbox, services: FolderBroker
) -> None:
    outbox.keep(MOLECULE, make_record(1))
    for _ in range(2):
        assert qpipe("replay").exit_code == 0
        assert messages(home) == [make_record(1).experiment_id]
    assert [file.experiment for file in outbox.sent()] == messages(home)


def test_a_service_that_is_still_down_leaves_everything_and_the_exit_code_says_so(
    home: Path, outbox: Outbox, services: FolderBroker
) -> None:
    services.down = True
    outbox.keep(MOLECULE, make_record(1))
    result = qpipe("replay")
    assert result.exit_code == 1
    assert "Kafka broker at localhost:9092 does not answer" in result.stdout
    assert len(outbox.undelivered()) == 1
    services.down = False
    assert qpipe("replay").exit_code == 0


def test_a_dry_run_tells_and_does_nothing(home: Path, outbox: Outbox) -> None:
    file = outbox.keep(MOLECULE, make_record(1))
    (row,) = rows(qpipe("replay", "--dry-run", "--format", "json"))
    assert (row["experiment"], row["where"]) == (file.experiment, str(file.path))
    assert outbox.undelivered() == [file]
    assert not (home / "raw-results").exists()


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_file_that_is_no_record_is_told_and_left_alone(home: Path, outbox: Outbox, dry: tuple[str, ...]) -> None:
    outbox.keep(MOLECULE, make_record(1))
    stray = outbox.root / "undelivered" / MOLECULE / f"{'0' * 64}.json"
    stray.write_text("torn")
    result = qpipe("replay", *dry)
    assert result.exit_code == 1
    assert "is no record" in result.stdout and stray.read_text() == "torn"
    assert len(outbox.undelivered()) == (2 if dry else 1)


def test_what_an_earlier_version_left_is_delivered(home: Path) -> None:
    record = make_record(1)
    key = f"experiments/experiment.vqe/molecule={MOLECULE}/year=2026/month=11/day=21/{record.experiment_id}.json"
    FolderObjectStore(home / "undelivered").put(key, record.to_json())
    (row,) = rows(qpipe("replay", "--format", "json"))
    assert row["where"] == key
    assert messages(home) == [record.experiment_id]
    assert not list((home / "undelivered").rglob("*.json"))


def test_sent_records_that_no_table_has_are_sent_again_and_those_that_arrived_are_removed(
    home: Path, outbox: Outbox, services: FolderBroker
) -> None:
    for number in (1, 2):
        outbox.keep(MOLECULE, make_record(number))
    assert qpipe("replay").exit_code == 0
    installation = open_installation(settings_of(home))
    installation.ingest().run(MOLECULE)
    late = outbox.keep(MOLECULE, make_record(3))
    assert qpipe("replay").exit_code == 0
    (dry,) = rows(qpipe("replay", "--sent", "--dry-run", "--format", "json"))
    assert dry["experiment"] == late.experiment and len(outbox.sent()) == 3
    (row,) = rows(qpipe("replay", "--sent", "--format", "json"))
    assert (row["experiment"], row["where"]) == (late.experiment, "experiment.vqe+0+3")
    assert [file.experiment for file in outbox.sent()] == [late.experiment]
    installation.ingest().run(MOLECULE)
    found = installation.lakehouse.sql("select experiment_id from vqe_results", ("vqe_results",)).to_pylist()
    assert sorted(one["experiment_id"] for one in found) == sorted(str(make_record(n).experiment_id) for n in (1, 2, 3))


def test_what_was_to_go_through_kafka_never_goes_into_this_installation_instead(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = Outbox(home / "outbox" / "kafka")
    apart.keep(MOLECULE, make_record(1))
    plain = qpipe("replay")
    assert plain.exit_code == 0 and "1 records wait for `qpipe replay --kafka`" in plain.stderr
    assert len(apart.undelivered()) == 1 and messages(home) == []
    elsewhere = home.parent / "elsewhere"
    broker = FolderBroker(FolderObjectStore(elsewhere / "raw-results"))
    monkeypatch.setattr(qpipe_resources.kafka.delivery, "KafkaDelivery", lambda settings: broker)
    assert qpipe("replay", "--kafka").exit_code == 0
    assert (apart.undelivered(), messages(home), messages(elsewhere)) == ([], [], [make_record(1).experiment_id])


def test_what_the_services_were_sent_stays_theirs_where_the_environment_is_forgotten(home: Path) -> None:
    theirs = Outbox(home / "outbox" / "kafka")
    waiting, sent = (theirs.keep(MOLECULE, make_record(number)) for number in (1, 2))
    theirs.deliver(sent, FolderBroker(FolderObjectStore(home.parent / "elsewhere")))
    Outbox(home / "outbox" / "s3").keep(MOLECULE, make_record(3))
    result = qpipe("replay", "--sent")
    assert result.exit_code == 0
    assert (theirs.undelivered(), [file.experiment for file in theirs.sent()]) == ([waiting], [sent.experiment])
    assert messages(home) == []
    told = result.stderr.splitlines()
    assert "1 records wait for `QPIPE_ENV=s3 qpipe replay` besides" in told
    assert "1 records wait for `qpipe replay --kafka` besides" in told
    assert any(line.startswith("1 records were sent by way of kafka: `qpipe replay --kafka --sent`") for line in told)


def test_where_no_ledger_can_be_asked_what_was_sent_long_ago_is_forgotten(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = Outbox(home / "outbox" / "kafka")
    broker = FolderBroker(FolderObjectStore(home.parent / "elsewhere"))
    old, new = (apart.keep(MOLECULE, make_record(number)) for number in (1, 2))
    for file in (old, new):
        apart.deliver(file, broker)
    path = apart.root / "sent" / MOLECULE / f"{old.experiment}.json"
    os.utime(path, (0, 0))
    monkeypatch.setattr(qpipe_resources.kafka.delivery, "KafkaDelivery", lambda settings: broker)
    assert qpipe("replay", "--kafka").exit_code == 0
    assert [file.experiment for file in apart.sent()] == [new.experiment]
