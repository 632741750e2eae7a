"""The services themselves, on a second stack of this test's own beside the running one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.services.errors import ServiceError
from deploy.services.stack import NAMES, Stack

SCHEMA = '{"type": "record", "name": "Probe", "fields": [{"name": "step", "type": "int"}]}'


@pytest.fixture(scope="module")
def own(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Another stack, on the ports that the running one leaves."""
    folder = tmp_path_factory.mktemp("services")
    try:
        yield Stack.up(folder)
    finally:
        own = Stack(folder)
        own.down()
        # Where pytest's folder is closed to the account of PostgreSQL, its data lies in that account's home.
        shutil.rmtree((folder / "postgres" / "data").resolve())


def kill_and_start(stack: Stack, name: str) -> None:
    """Kill a service and start it again; it is another process then."""
    before = stack.pid(name)
    stack.kill(name)
    assert stack.pid(name) is None
    stack.start(name)
    assert stack.pid(name) not in (None, before)


def produce(stack: Stack, value: bytes) -> list[object]:
    """Send one message; returns the errors that the broker's acknowledgement carries."""
    from confluent_kafka import Producer

    producer = Producer(
        {"bootstrap.servers": stack.listeners["PLAINTEXT"], "acks": "all", "message.max.bytes": 64 * 1024 * 1024}
    )
    errors: list[object] = []
    producer.produce("experiment.vqe", value=value, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(60) == 0
    return errors


def test_an_acknowledged_message_outlives_a_killed_broker(own: Stack) -> None:
    from confluent_kafka import Consumer

    value = os.urandom(20 * 1024 * 1024)
    assert produce(own, value) == [None]
    kill_and_start(own, "kafka")
    consumer = Consumer(
        {"bootstrap.servers": own.listeners["PLAINTEXT"], "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"}
    )
    with closing(consumer):
        consumer.subscribe(["experiment.vqe"])
        message = consumer.poll(60)
        assert message is not None
        assert message.error() is None
        assert message.value() == value


def test_a_schema_keeps_its_id_when_the_registry_and_its_database_are_killed(own: Stack) -> None:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

    url = own.environment["SCHEMA_REGISTRY_URL"]
    identity = SchemaRegistryClient({"url": url}).register_schema("probe-value", Schema(SCHEMA, "AVRO"))
    kill_and_start(own, "registry")
    assert SchemaRegistryClient({"url": url}).get_schema(identity).schema_str == SCHEMA
    kill_and_start(own, "postgres")
    fresh = SchemaRegistryClient({"url": url})
    assert fresh.get_schema(identity).schema_str == SCHEMA
    assert fresh.register_schema("probe-value", Schema(SCHEMA, "AVRO")) == identity


def test_the_registry_answers_as_confluents_does(own: Stack) -> None:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

    def client() -> SchemaRegistryClient:
        """One without a cache of what it asked before."""
        return SchemaRegistryClient({"url": own.environment["SCHEMA_REGISTRY_URL"]})

    def record(*fields: Mapping[str, object]) -> Schema:
        return Schema(json.dumps({"type": "record", "name": "Energy", "fields": list(fields)}), "AVRO")

    step, energy = {"name": "step", "type": "int"}, {"name": "energy", "type": ["null", "double"], "default": None}
    assert client().get_compatibility() == "BACKWARD"
    client().set_compatibility("energy-value", "BACKWARD_TRANSITIVE")
    first = client().register_schema("energy-value", record(step))
    spaced = Schema(json.dumps({"type": "record", "name": "Energy", "fields": [step]}, indent=4), "AVRO")
    assert client().register_schema("energy-value", spaced) == first
    second = client().register_schema("energy-value", record(step, energy))
    assert second != first
    assert client().register_schema("energy-value", record(energy, step)) not in (first, second)
    with pytest.raises(SchemaRegistryError) as refused:
        client().register_schema("energy-value", record(step, {"name": "basis", "type": "string"}))
    assert refused.value.http_status_code == 409
    with pytest.raises(SchemaRegistryError) as unknown:
        client().get_schema(2**31 - 1)
    assert unknown.value.error_code == 40403


def test_an_object_outlives_a_killed_store(own: Stack) -> None:
    import boto3

    variables = own.environment
    s3 = boto3.client(
        "s3",
        endpoint_url=variables["QPIPE_S3_ENDPOINT"],
        region_name=variables["QPIPE_S3_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )
    body = os.urandom(3 * 1024 * 1024)
    s3.put_object(Bucket="raw-results", Key="probe/object", Body=body)
    kill_and_start(own, "garage")
    assert s3.get_object(Bucket="raw-results", Key="probe/object")["Body"].read() == body


def test_a_committed_row_outlives_a_killed_database(own: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlalchemy as sa

    monkeypatch.setenv("PGPASSWORD", own.environment["PGPASSWORD"])
    engine = sa.create_engine(own.environment["QPIPE_CATALOG_URI"], poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE probe (step integer)"))
        connection.execute(sa.text("INSERT INTO probe VALUES (7)"))
    kill_and_start(own, "postgres")
    with engine.begin() as connection:
        assert connection.execute(sa.text("SELECT step FROM probe")).scalar_one() == 7


HOLDER = """
import sys, time
from pathlib import Path
from deploy.services.stack import Stack
postgres = Stack(Path(sys.argv[1])).services["postgres"]
postgres.state.choose_ports(postgres.ports)
postgres.launch()
postgres.wait()
print("ready", flush=True)
time.sleep(600)
"""


def test_a_killed_database_starts_again_while_nobody_has_buried_it(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        assert "ready\n" in iter(parent.stdout.readline, "")
        lone = Stack(tmp_path)
        before = lone.pid("postgres")
        assert before is not None
        lone.kill("postgres")
        assert psutil.Process(before).status() == psutil.STATUS_ZOMBIE
        lone.start("postgres")
        assert lone.services["postgres"].ready()
    finally:
        Stack(tmp_path).stop("postgres")
        parent.kill()
        parent.wait()
        shutil.rmtree((tmp_path / "postgres" / "data").resolve(), ignore_errors=True)


def log_in(stack: Stack, mechanism: str, password: str) -> list[str]:
    """Try to list topics at the SASL_SSL listener; returns the client's errors."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    errors: list[str] = []
    settings: dict[str, Any] = {
        "bootstrap.servers": stack.listeners["SASL_SSL"],
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(stack.tls.ca),
        "sasl.mechanism": mechanism,
        "sasl.username": stack.kafka_users[mechanism].name,
        "sasl.password": password,
        "error_cb": lambda error: errors.append(error.str()),
        "log_level": 0,
    }
    admin = AdminClient(settings)
    try:
        admin.list_topics(timeout=5)
    except KafkaException:
        admin.poll(0)
        return errors
    return []


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_user_logs_in_with_the_right_password_only(stack: Stack, mechanism: str) -> None:
    assert log_in(stack, mechanism, stack.kafka_users[mechanism].password) == []
    assert "SASL authentication error" in log_in(stack, mechanism, "wrong")[0]


def test_starting_again_changes_nothing(own: Stack) -> None:
    before = {name: own.pid(name) for name in NAMES}
    written = {path.name: path.read_bytes() for path in own.folder.iterdir() if path.is_file()}
    Stack.up(own.folder)
    assert {name: own.pid(name) for name in NAMES} == before
    assert {path.name: path.read_bytes() for path in own.folder.iterdir() if path.is_file()} == written


def test_what_holds_secrets_is_for_its_owner_only(own: Stack) -> None:
    secrets = [value.encode() for value in own.state.secrets.values()]
    # Data is the servers' own matter; PostgreSQL's folder is closed to others as a whole.
    files = [path for path in own.folder.rglob("*") if path.is_file() and "data" not in path.parts]
    holders = [path for path in files if any(secret in path.read_bytes() for secret in secrets)]
    assert {path.name for path in holders} >= {"env", "state.json", "server.properties"}
    assert [path for path in holders if path.stat().st_mode & 0o077] == []
    for name in NAMES:
        words = " ".join(psutil.Process(own.pid(name)).cmdline()).encode()
        assert not any(secret in words for secret in secrets)


def test_a_number_that_went_to_another_process_is_not_ours(own: Stack, tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        folder = tmp_path / "kafka"
        folder.mkdir()
        record = json.loads((own.folder / "kafka" / "process.json").read_text())
        (folder / "process.json").write_text(json.dumps(record | {"pid": stranger.pid}))
        stale = Stack(tmp_path)
        assert stale.pid("kafka") is None
        stale.kill("kafka")
        stale.down()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_service_that_cannot_start_says_why(own: Stack) -> None:
    import socket

    own.stop("garage")
    try:
        with socket.create_server(("127.0.0.1", own.state.ports["s3"])):
            with pytest.raises(ServiceError, match=r"another program has port \d+ \(s3\)"):
                own.start("garage")
    finally:
        own.start("garage")
    toml = own.folder / "garage" / "garage.toml"
    assert toml.exists()
    with pytest.raises(ServiceError, match="choose among postgres, garage, kafka, registry"):
        own.kill("kafk")


def test_stopping_stops_exactly_its_own(stack: Stack, own: Stack) -> None:
    others = {name: stack.pid(name) for name in NAMES}
    mine = [psutil.Process(own.pid(name)) for name in NAMES]
    family = [*mine, *(child for process in mine for child in process.children(recursive=True))]
    own.down()
    assert [process.pid for process in family if process.is_running()] == []
    assert {name: stack.pid(name) for name in NAMES} == others
    assert None not in others.values()
    with pytest.raises(ServiceError, match=r"not running: .*; start the services: make services"):
        Stack.running(own.folder)
    Stack.up(own.folder)
    assert None not in {own.pid(name) for name in NAMES}
