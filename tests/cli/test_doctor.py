"""qpipe doctor without services: folders and SQLite, services that are down or silent, bounded time, no secrets."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qpipe_assets.tables.installation import open_installation
from qpipe_resources.health import broker
from qpipe_resources.health.checks import Check, Finding, Status, fine, run_checks
from qpipe_resources.health.homes import GIBIBYTE
from qpipe_resources.health.redaction import redaction
from qpipe_resources.kafka.errors import BrokerUnavailableError
from qpipe_resources.kafka.settings import KafkaSettings
from qpipe_resources.object_layout import DEAD_LETTERS
from qpipe_resources.outbox import open_outbox
from qpipe_resources.settings import Settings, load_settings
from simulation.record import VQEDecoratedResult
from tests.cli.conftest import qpipe
from tests.synthetic import plain_record

SECRETS = {
    "PGPASSWORD": "pg-open-sesame",
    "AWS_ACCESS_KEY_ID": "GK31c2f218a2e44f485b94239e",
    "AWS_SECRET_ACCESS_KEY": "aws-open-sesame",
    "SCHEMA_REGISTRY_BASIC_AUTH": "reader:registry-open-sesame",
    "KAFKA_SASL_PLAIN_PASSWORD": "kafka-open-sesame",
}
STORAGE = ["home", "dagster home", "catalog", "raw results", "quarantine", "dead letters", "outbox"]
KAFKA = ["broker", "topic", "sink", "registry", "schema"]


@pytest.fixture(autouse=True)
def _no_services(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("KAFKA_", "SCHEMA_REGISTRY_", "AWS_", "PG")):
            monkeypatch.delenv(name)


@pytest.fixture
def silent_server() -> Iterator[int]:
    """Port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def findings(expected_code: int) -> dict[str, dict[str, Any]]:
    """What `qpipe doctor` says, by check."""
    result = qpipe("doctor", "--format", "json")
    assert result.exit_code == expected_code, result.output
    return {row["check"]: row for row in json.loads(result.stdout)}


def name_services(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Let every service be at a port of this machine, each with its secret."""
    at = f"127.0.0.1:{port}"
    monkeypatch.setenv("QPIPE_ENV", "services")
    monkeypatch.setenv("QPIPE_S3_ENDPOINT", f"http://{at}")
    monkeypatch.setenv("QPIPE_CATALOG_URI", f"postgresql+psycopg2://qpipe:uri-open-sesame@{at}/qpipe")
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", f"http://{at}")
    monkeypatch.setenv("KAFKA_SERVERS", at)
    monkeypatch.setenv("KAFKA_SASL_SSL", "true")
    monkeypatch.setenv("KAFKA_SASL_MECHANISM", "SCRAM-SHA-256")
    monkeypatch.setenv("KAFKA_SASL_PLAIN_USERNAME", "qpipe")
    for variable, value in SECRETS.items():
        monkeypatch.setenv(variable, value)


def test_a_fresh_laptop_is_well_and_the_check_leaves_nothing_behind(home: Path) -> None:
    found = findings(0)
    assert list(found) == STORAGE
    assert {name for name, row in found.items() if row["status"] != "ok"} == {"dagster home"}
    assert "qpipe home" in found["dagster home"]["remedy"]
    assert not home.exists()


def test_an_installation_in_use_is_well(home: Path) -> None:
    open_installation().store.put("experiments/experiment.vqe/1.json", json.dumps(plain_record()).encode())
    assert qpipe("home").exit_code == 0
    found = findings(0)
    assert {row["status"] for row in found.values()} == {"ok"}
    assert "7 of 7 ledger tables" in found["catalog"]["seen"]
    assert [file for file in (home / "raw-results").rglob("*") if "doctor" in file.name and file.is_file()] == []


def test_kafka_is_looked_at_where_it_is_named_whatever_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "ANSWER_SECONDS", 0.5)
    monkeypatch.setenv("KAFKA_SERVERS", "127.0.0.1:9")
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "http://127.0.0.1:9")
    found = findings(1)
    assert list(found) == STORAGE + KAFKA
    assert found["broker"]["status"] == "failed"


def test_settings_of_kafka_that_cannot_be_used_are_a_failure_that_names_the_variable(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_SERVERS", "127.0.0.1:9")
    monkeypatch.setenv("KAFKA_SASL_SSL", "true")
    found = findings(1)
    assert list(found) == [*STORAGE, "kafka settings"]
    assert "KAFKA_SASL_MECHANISM" in found["kafka settings"]["seen"]


def test_what_is_down_is_named_with_its_remedy_in_bounded_time_and_without_secrets(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_services(monkeypatch, 9)
    _assert_all_services_fail()


def test_what_never_answers_is_named_with_its_remedy_in_bounded_time_and_without_secrets(
    home: Path, monkeypatch: pytest.MonkeyPatch, silent_server: int
) -> None:
    name_services(monkeypatch, silent_server)
    _assert_all_services_fail()


def _assert_all_services_fail() -> None:
    began = time.monotonic()
    found = findings(1)
    assert time.monotonic() - began < 16
    remedies = {
        "catalog": "QPIPE_CATALOG_URI",
        "object store": "QPIPE_S3_ENDPOINT",
        "broker": "KAFKA_SERVERS",
        "registry": "SCHEMA_REGISTRY_URL",
    }
    assert {name for name, row in found.items() if row["status"] == "failed"} == set(remedies)
    for name, variable in remedies.items():
        assert variable in found[name]["remedy"], found[name]
    assert "because object store failed" in found["dead letters"]["seen"]  # not its neighbour that was left out, too
    assert "sesame" not in json.dumps(found)


def test_a_home_below_a_file_fails(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QPIPE_HOME", str(tmp_path / "file" / "home"))
    assert "is a file" in findings(1)["home"]["seen"]


@pytest.mark.parametrize(("free", "status", "code"), [(0.1, "failed", 1), (1.0, "warning", 0), (3.0, "ok", 0)])
def test_a_disk_that_fills_is_a_warning_and_a_full_one_a_failure(
    free: float, status: str, code: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=int(free * GIBIBYTE))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    found = findings(code)["home"]
    assert found["status"] == status and f"{free:.1f} GiB free" in found["seen"]


def test_a_relative_dagster_home_fails_because_dagster_refuses_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "dagster")
    assert "relative" in findings(1)["dagster home"]["seen"]


def test_a_damaged_catalog_fails_and_the_remedy_keeps_the_raw_objects(home: Path) -> None:
    home.mkdir()
    (home / "catalog.db").write_bytes(b"no database" * 1000)
    found = findings(1)["catalog"]
    assert found["status"] == "failed" and "raw objects" in found["remedy"]


def test_quarantined_objects_are_counted_with_the_first_error(home: Path) -> None:
    installation = open_installation()
    installation.store.put("experiments/experiment.vqe/molecule=H2/1.json", b"{}")
    installation.ingest().run("H2")
    found = findings(0)["quarantine"]
    assert found["status"] == "warning"
    assert found["seen"].startswith("1, the first experiments/experiment.vqe/molecule=H2/1.json: ")
    assert "Field required" in found["seen"]


def test_dead_letters_are_counted_once_each(home: Path) -> None:
    store = open_installation().store
    for name in ("a", "b"):
        store.put(f"{DEAD_LETTERS}topic/{name}.bin", b"?")
        store.put(f"{DEAD_LETTERS}topic/{name}.json", b"{}")
    found = findings(0)["dead letters"]
    assert found["status"] == "warning" and found["seen"].startswith("2 below ")
    assert "qpipe sink --retry-dead-letters" in found["remedy"]


@pytest.mark.parametrize(
    ("way", "command"),
    [("local", ": qpipe replay"), ("s3", "QPIPE_ENV=s3 qpipe replay"), ("kafka", "qpipe replay --kafka")],
)
def test_records_that_wait_longer_than_a_retry_are_a_warning_with_the_command(
    way: str, command: str, home: Path
) -> None:
    outbox = open_outbox(load_settings(), way)
    record = VQEDecoratedResult.model_validate(plain_record() | {"experiment_id": "a" * 64})
    path = outbox.keep("H2", record).path
    assert findings(0)["outbox"]["status"] == "ok"
    os.utime(path, (time.time() - 3 * 3600,) * 2)
    found = findings(0)["outbox"]
    assert found["status"] == "warning" and found["seen"].startswith("1 undelivered") and "3 h" in found["seen"]
    assert found["remedy"].endswith(command)


def test_the_table_says_the_same_to_people(home: Path) -> None:
    result = qpipe("doctor")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in (*STORAGE, "status", "remedy", "warning"))


def test_a_check_that_hangs_costs_the_deadline_only() -> None:
    released = threading.Event()
    hangs = Check("hangs", lambda: released.wait() and fine("late"), "look at its log")
    began = time.monotonic()
    found = dict(run_checks([hangs, Check("quick", lambda: fine("seen"), "")], deadline=3.0))
    released.set()
    assert time.monotonic() - began < 20
    assert found["hangs"] == Finding(Status.FAILED, "no answer within 3 s", "look at its log")
    assert found["quick"] == fine("seen")


def test_an_error_of_ours_gives_its_own_remedy_and_any_other_the_check_s() -> None:
    def ours() -> Finding:
        raise BrokerUnavailableError("Kafka at a:1 did not confirm (refused: no): start it, or correct KAFKA_SERVERS")

    def other() -> Finding:
        raise OSError("no\nroute (to host): really")

    found = dict(run_checks([Check("ours", ours, "general"), Check("other", other, "general")]))
    assert found["ours"].seen == "Kafka at a:1 did not confirm (refused: no)"
    assert found["ours"].remedy == "start it, or correct KAFKA_SERVERS"
    assert (found["other"].seen, found["other"].remedy) == ("OSError: no route (to host): really", "general")


def test_a_client_that_quotes_its_configuration_tells_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "p@ss word")
    uri = "postgresql+psycopg2://me:in%40uri@host/db"
    settings = Settings(home=tmp_path, dagster_home=tmp_path, catalog_uri=uri)
    redact = redaction([settings, KafkaSettings(registry_auth="reader:let-me-in")])
    told = redact(f"{uri} in@uri 'p@ss word' p%40ss+word p%40ss%20word reader:let-me-in let-me-in me@host/db")
    assert told == "postgresql+psycopg2://me:***@host/db *** '***' *** *** *** *** me@host/db"
