"""Redpanda Connect, the real program with the configuration that is shipped, on the real broker, registry and store."""

from __future__ import annotations

import base64
import re
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from deploy.connectors.redpanda_connect import CONFIGURATION, program
from qpipe_assets.kafka_sink import dead_letters
from qpipe_assets.tables.decode import decode
from qpipe_resources.opening import open_store
from qpipe_resources.settings import load_settings
from simulation.record import VQEDecoratedResult
from tests.integration.conftest import Sandbox
from tests.integration.connect_landing import (
    assert_rows_equal_those_of_the_built_in_sink,
    content,
    landed,
    objects,
    poisons,
    produce,
    produce_bytes,
)
from tests.integration.fault_records import Shape, full_record
from tests.integration.fault_schedule import ProcessVictim, until
from tests.tables.records import records

# Without the fixtures: the first one may build the program.
pytestmark = [pytest.mark.services, pytest.mark.timeout(300, func_only=True)]


@pytest.fixture(scope="module")
def connect() -> Path:
    """The program; built where it is missing, which takes two minutes."""
    return program()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(connect: Path, sandbox: Sandbox, folder: Path, **variables: str) -> Iterator[ProcessVictim]:
    """The connector at work; it must end in good order unless it was killed."""
    address = f"127.0.0.1:{_free_port()}"
    own = {"CONNECT_GROUP": f"{sandbox.topic}-connect", "CONNECT_HTTP_ADDRESS": address}
    command = [str(connect), "run", str(CONFIGURATION)]
    process = ProcessVictim("connect", command, sandbox.environment | own | variables, folder / "connect.log")
    process.start()
    try:
        yield process
        if process.running():
            assert process.end() == 0, process.tail()
    finally:
        process.kill()


def _wait_for(process: ProcessVictim, sandbox: Sandbox, names: set[str], seconds: float = 60.0) -> None:
    try:
        until(lambda: names <= set(landed(sandbox)), seconds, f"{len(names)} objects", every=0.1)
    except AssertionError as error:
        raise AssertionError(f"{error}; {len(landed(sandbox))} are there\n{process.tail()}") from error


def _lint(connect: Path, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "changed.yaml").write_text(text)
    command = [str(connect), "lint", str(folder / "changed.yaml")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_program_accepts_the_configuration(connect: Path, tmp_path: Path) -> None:
    answer = _lint(connect, CONFIGURATION.read_text(), tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("written", "instead", "named"),
    [
        ("consumer_group:", "consumer_grp:", "consumer_grp"),
        ("meta avro = $first", "meta avro = first(", "expected"),
        ("input:\n", "input: [\n", "yaml"),
    ],
)
def test_the_program_refuses_a_configuration_with_an_error(
    connect: Path, tmp_path: Path, written: str, instead: str, named: str
) -> None:
    text = CONFIGURATION.read_text()
    assert written in text
    answer = _lint(connect, text.replace(written, instead, 1), tmp_path)
    assert answer.returncode != 0
    assert named in answer.stdout + answer.stderr


def test_killed_in_the_middle_it_lands_every_record_under_its_message_s_name(
    connect: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    # Of two molecules, which have a partition each.
    numbers = [number for number in range(125) if number % 5 < 2]
    names = produce(full_record(number, sandbox.topic) for number in numbers[:40])
    with _running(connect, sandbox, tmp_path) as process:
        until(lambda: bool(landed(sandbox)), 60, "the first object", every=0.01)
        assert process.kill()
        at_kill = set(landed(sandbox))
        assert _committed(sandbox) < len(at_kill), "nothing was in the middle: all that had landed was committed"
        names += produce(full_record(number, sandbox.topic) for number in numbers[40:])
        process.start()
        _wait_for(process, sandbox, set(names))
        until(lambda: _committed(sandbox) == len(names), 30, "all offsets committed")
    keys = landed(sandbox)
    assert set(keys) == set(names)
    pattern = rf"experiments/{sandbox.topic}/year=\d{{4}}/month=\d\d/day=\d\d/{sandbox.topic}\+\d+\+\d+\.json"
    assert all(re.fullmatch(pattern, key) for key in keys.values()), keys
    counts = assert_rows_equal_those_of_the_built_in_sink(sandbox, tmp_path / "folder")
    assert counts["vqe_results"] == 50


def _committed(sandbox: Sandbox) -> int:
    """Messages that the connector's group counts as done."""
    from confluent_kafka import ConsumerGroupTopicPartitions

    admin = sandbox.admin()
    group = f"{sandbox.topic}-connect"
    found = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(30)
    return sum(max(partition.offset, 0) for partition in found.topic_partitions)


def test_each_kind_of_poison_is_kept_with_its_reason_and_stops_nothing(
    connect: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    expected = {}
    names = produce([full_record(0, sandbox.topic)])
    for kind, poison in poisons(sandbox).items():
        sent = produce_bytes(sandbox, poison.value, poison.headers)
        expected[f"{sandbox.topic}+{sent.partition}+{sent.offset}"] = (kind, poison)
    names += produce(full_record(number, sandbox.topic) for number in range(1, 4))
    store = open_store(load_settings())
    with _running(connect, sandbox, tmp_path) as process:
        _wait_for(process, sandbox, set(names))
        until(lambda: len(dead_letters.listed(store)) == len(expected), 60, "a dead letter for each poison")
    assert set(landed(sandbox)) == set(names)
    for letter, value in dead_letters.letters(store, sandbox.topic):
        kind, poison = expected.pop(f"{letter.topic}+{letter.partition}+{letter.offset}")
        assert poison.reason in letter.reason, kind
        assert value == poison.value, kind
    assert not expected


def test_a_record_as_json_lands_byte_for_byte_on_the_day_of_its_message(
    connect: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    # As the field's own producers write it where they have no registry, in an order and with blanks of their own.
    text = full_record(3, sandbox.topic).model_dump_json(indent=1).encode()
    sent = produce_bytes(sandbox, text, timestamp=1_709_251_199_999)  # 2024-02-29T23:59:59.999Z
    name = f"{sandbox.topic}+{sent.partition}+{sent.offset}"
    with _running(connect, sandbox, tmp_path) as process:
        _wait_for(process, sandbox, {name})
    assert landed(sandbox)[name] == f"experiments/{sandbox.topic}/year=2024/month=02/day=29/{name}.json"
    assert content(sandbox, landed(sandbox)[name]) == text


def test_any_record_is_read_from_its_object_as_it_was_sent(connect: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    sent = _examples(200)
    names = produce(sent)
    with _running(connect, sandbox, tmp_path) as process:
        _wait_for(process, sandbox, set(names))
    keys = landed(sandbox)
    for record, name in zip(sent, names, strict=True):
        (found,) = decode(content(sandbox, keys[name]))
        (expected,) = decode(record.to_json())
        # Equal, not the same text: Go writes -0.0 as -0, which JSON's readers take for an integer without a sign.
        assert found == expected


def _examples(number: int) -> list[VQEDecoratedResult]:
    found: list[VQEDecoratedResult] = []

    @settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(records)
    def collect(record: VQEDecoratedResult) -> None:
        found.append(record)

    collect()
    return found


def test_a_record_of_20_mebibytes_passes(connect: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    shape = Shape(evaluations=2_700, parameters=1_000, terms=1_086, circuit_bytes=40_000)
    record = full_record(7, sandbox.topic, shape)
    (name,) = produce([record])
    with _running(connect, sandbox, tmp_path) as process:
        _wait_for(process, sandbox, {name}, seconds=120)
    key = landed(sandbox)[name]
    assert objects(sandbox)[key] > 20 * 2**20
    assert VQEDecoratedResult.model_validate_json(content(sandbox, key)) == record


class _Registry(BaseHTTPRequestHandler):
    """In front of the real registry: answers as `status` says, or passes requests on where that is None."""

    status: int | None = None
    real = ""
    asked = 0
    login = ""

    def do_GET(self) -> None:
        """Answer one request."""
        type(self).asked += 1
        type(self).login = self.headers.get("Authorization", "")
        code, body = self.status, b'{"error_code": 0}'
        if code is None:
            try:
                with urllib.request.urlopen(self.real + self.path, timeout=10) as answer:
                    code, body = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                code, body = error.code, error.read()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _registry_in_front(sandbox: Sandbox, status: int | None) -> Iterator[tuple[type[_Registry], str]]:
    handler = type("Handler", (_Registry,), {"status": status, "real": sandbox.environment["SCHEMA_REGISTRY_URL"]})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield handler, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [404, 401, 503])
def test_a_registry_that_refuses_everything_delays_messages_and_condemns_none(
    connect: Path, sandbox: Sandbox, tmp_path: Path, status: int
) -> None:
    (name,) = produce([full_record(0, sandbox.topic)])
    with (
        _registry_in_front(sandbox, status) as (registry, url),
        _running(connect, sandbox, tmp_path, SCHEMA_REGISTRY_URL=url) as process,
    ):
        until(lambda: registry.asked > 3, 60, "several attempts")
        assert objects(sandbox) == {}
        assert _committed(sandbox) == 0
        registry.status = None
        _wait_for(process, sandbox, {name})
    assert set(objects(sandbox)) == {landed(sandbox)[name]}


def test_any_password_of_the_registry_reaches_it(connect: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    (name,) = produce([full_record(0, sandbox.topic)])
    password = """a"b'c\\d: #e{}$"""
    login = {
        "SCHEMA_REGISTRY_AUTH": "true",
        "SCHEMA_REGISTRY_USERNAME": "connect",
        "SCHEMA_REGISTRY_PASSWORD": password,
    }
    with (
        _registry_in_front(sandbox, None) as (registry, url),
        _running(connect, sandbox, tmp_path, SCHEMA_REGISTRY_URL=url, **login) as process,
    ):
        _wait_for(process, sandbox, {name})
    assert base64.b64decode(registry.login.removeprefix("Basic ")).decode() == f"connect:{password}"
    assert password not in process.tail()


def test_a_missing_bucket_delays_messages_until_it_is_there(connect: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    names = set(produce(full_record(number, sandbox.topic) for number in range(3)))
    sandbox.s3().delete_bucket(Bucket=sandbox.raw_bucket)
    with _running(connect, sandbox, tmp_path) as process:
        until(lambda: "NoSuchBucket" in process.tail(), 60, "the missing bucket in the log")
        assert _committed(sandbox) == 0
        sandbox.s3().create_bucket(Bucket=sandbox.raw_bucket)
        _wait_for(process, sandbox, names)


def test_it_shows_a_client_s_certificate(connect: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    (name,) = produce([full_record(0, sandbox.topic)])
    tls = sandbox.stack.tls
    variables = {
        "KAFKA_SERVERS": sandbox.stack.listeners["SSL"],
        "KAFKA_SSL": "true",
        "KAFKA_SSL_CAFILE": str(tls.ca),
        "CONNECT_CLIENT_CERTS": f"[{{cert_file: {tls.certificate}, key_file: {tls.key}}}]",
    }
    with _running(connect, sandbox, tmp_path, **variables) as process:
        _wait_for(process, sandbox, {name})


def test_it_signs_in_by_scram_over_tls_and_a_wrong_password_is_refused(
    connect: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    (name,) = produce([full_record(0, sandbox.topic)])
    user = sandbox.stack.kafka_users["SCRAM-SHA-512"]
    login = {
        "KAFKA_SERVERS": sandbox.stack.listeners["SASL_SSL"],
        "KAFKA_SSL": "true",
        "KAFKA_SSL_CAFILE": str(sandbox.stack.tls.ca),
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SASL_PLAIN_USERNAME": user.name,
    }
    with _running(connect, sandbox, tmp_path, **login, KAFKA_SASL_PLAIN_PASSWORD="no" + user.password) as process:
        until(lambda: "SASL" in process.tail(), 60, "the refusal in the log")
        assert user.password not in process.tail()
        process.kill()
    assert not landed(sandbox)
    with _running(connect, sandbox, tmp_path, **login, KAFKA_SASL_PLAIN_PASSWORD=user.password) as process:
        _wait_for(process, sandbox, {name})
        assert user.password not in process.tail()
