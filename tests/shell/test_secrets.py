"""No secret leaves the environment: not by doctor, logs, run configuration, Dagster's UI, its files, or a command line.

Everything real runs with a canary in place of each secret, and with services that do not answer: errors tell the most.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from deploy.services.certificates import Certificates, make_certificates
from tests.daemon import BIN, ROOT, Daemon, Shell, dagster_dev, wait_for
from tests.test_documentation import SECRET

pytestmark = [pytest.mark.xdist_group("secrets"), pytest.mark.timeout(900)]

LAUNCH = """mutation($of: ExecutionParams!) { launchRun(executionParams: $of) {
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } }
} }"""
ASKED = {
    "instance": "{instance{info daemonHealth{allDaemonStatuses{daemonType lastHeartbeatErrors{message stack}}}}}",
    "runs": """{runsOrError{... on Runs{results{runId status runConfigYaml tags{key value}
      eventConnection{events{... on MessageEvent{message stepKey}
        ... on ExecutionStepFailureEvent{error{message stack cause{message stack}}}
        ... on RunFailureEvent{error{message stack}}}}}}}}""",
    "sensors": """{sensorsOrError(repositorySelector: {repositoryName: "__repository__",
      repositoryLocationName: "qpipe"}) {... on Sensors{results{name sensorState{ticks(limit: 20){status
      error{message stack cause{message stack}}}}}}}}""",
    "resources": """{allTopLevelResourceDetailsOrError(repositorySelector: {repositoryName: "__repository__",
      repositoryLocationName: "qpipe"}) {... on ResourceDetailsList{results{name description configuredValues{key value}
      configFields{name description defaultValueAsJson}}}}}""",
    "location": "{workspaceOrError{... on Workspace{locationEntries{name displayMetadata{key value}}}}}",
}


def marked_secret() -> set[str]:
    """The variable below each comment of .env.example that says SECRET."""
    text = (ROOT / ".env.example").read_text()
    return set(re.findall(r"^# SECRET.*\n#([A-Z_]+)=$", text, re.MULTILINE))


def canary(name: str) -> str:
    return f"canary-{name.lower().replace('_', '-')}-5e1f"


CANARIES = {name: canary(name) for name in (*sorted(SECRET), "QPIPE_CATALOG_URI")}


def nobody() -> str:
    """An address at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Services behind which there is nobody, and every secret."""
    made = Certificates(tmp_path_factory.mktemp("certificates") / "tls", CANARIES["KAFKA_SSL_PASSWORD"])
    make_certificates(made)
    plain = {name: CANARIES[name] for name in SECRET - {"PUSHGATEWAY_URL", "SCHEMA_REGISTRY_BASIC_AUTH"}}
    return plain | {
        "QPIPE_ENV": "services",
        "QPIPE_S3_ENDPOINT": f"http://{nobody()}",
        "QPIPE_CATALOG_URI": f"postgresql+psycopg2://qpipe:{CANARIES['QPIPE_CATALOG_URI']}@{nobody()}/qpipe",
        "KAFKA_SERVERS": nobody(),
        "KAFKA_RETRIES": "1",
        "KAFKA_TIMEOUT": "1",
        "KAFKA_SASL_SSL": "true",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_PLAIN_USERNAME": "ann",
        "KAFKA_SSL_CAFILE": str(made.ca),
        "KAFKA_SSL_CERTFILE": str(made.certificate),
        "KAFKA_SSL_KEYFILE": str(made.encrypted_key),
        "SCHEMA_REGISTRY_URL": f"http://{nobody()}",
        "SCHEMA_REGISTRY_BASIC_AUTH": f"ann:{CANARIES['SCHEMA_REGISTRY_BASIC_AUTH']}",
        "MONITORING_ENABLED": "true",
        "PUSHGATEWAY_URL": f"http://ann:{CANARIES['PUSHGATEWAY_URL']}@{nobody()}",
        "QPIPE_NOTIFY_WEBHOOK": f"http://{nobody()}/{CANARIES['QPIPE_NOTIFY_WEBHOOK']}",
        "QPIPE_NOTIFY_EMAIL_TO": "ann@example.com",
        "QPIPE_SMTP_HOST": "127.0.0.1",
        "QPIPE_SMTP_PORT": nobody().rpartition(":")[2],
        "QPIPE_SMTP_USER": "ann",
        "QPIPE_EXPORT_TARGET": "s3://exports/features",
        "QPIPE_EXPORT_S3_ENDPOINT": f"http://{nobody()}",
        "QPIPE_WORKERS": "1",
    }


def assert_no_canary(text: str | bytes, where: str) -> None:
    data = text.encode() if isinstance(text, str) else text
    found = [name for name, value in CANARIES.items() if value.encode() in data]
    assert found == [], f"{where} has the secret of {found}"


def assert_no_canary_in_files(folder: Path) -> int:
    """How many files there are; SQLite's own come and go with its connections."""
    looked = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file():
                assert_no_canary(path.read_bytes(), str(path))
                looked += 1
    return looked


def test_every_variable_marked_secret_is_known() -> None:
    assert len(marked_secret()) >= 5
    assert marked_secret() <= SECRET, "a new secret needs a canary here and a line in test_documentation"
    assert len(set(CANARIES.values())) == len(CANARIES)


def test_doctor_shows_no_secret(settings: dict[str, str], tmp_path: Path) -> None:
    shell = Shell.with_home(tmp_path / "home", **settings)
    command = [str(BIN / "qpipe"), "doctor"]
    done = subprocess.run(command, env=shell.environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "failed" in done.stdout
    assert_no_canary(done.stdout + done.stderr, "doctor")


def test_a_dumped_run_and_its_log_have_no_secret(settings: dict[str, str], tmp_path: Path) -> None:
    local = settings | {"QPIPE_ENV": "local"}
    shell = Shell.with_home(tmp_path / "home", **local)
    command = [str(BIN / "qpipe"), "simulate", "-m", "H2", "--kafka", "--dump", "--log-level", "DEBUG"]
    done = subprocess.run(command, env=shell.environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert list((tmp_path / "run_configs").glob("*.json"))
    assert_no_canary(done.stdout + done.stderr, "simulate")
    assert_no_canary_in_files(tmp_path)


def test_the_exporter_tells_of_its_gateway_without_the_password(settings: dict[str, str], tmp_path: Path) -> None:
    port = nobody().rpartition(":")[2]
    shell = Shell.with_home(tmp_path / "home", **settings, QPIPE_EXPORTER_PORT=port, QPIPE_EXPORTER_INTERVAL="1")
    log = tmp_path / "log"

    def told() -> str | None:
        text = log.read_text()
        return text if "gateway" in text.lower() else None

    with open(log, "w") as output:
        process = subprocess.Popen(
            [str(BIN / "qpipe"), "exporter"], env=shell.environment, cwd=tmp_path, stdout=output, stderr=output
        )
    try:
        assert_no_canary(wait_for(told, "a word about the gateway", 60), "the exporter's log")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
            assert_no_canary(page.read(), "the exporter's page")
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def failing(settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A Dagster whose services do not answer, with a run and ticks that failed for it."""
    shell = Shell.with_home(tmp_path_factory.mktemp("failing") / "home", **settings)
    with dagster_dev(shell) as daemon:
        where = {"repositoryName": "__repository__", "repositoryLocationName": "qpipe"}
        of = {
            "selector": {**where, "pipelineName": "vqe_batch_generation"},
            "runConfigData": {"ops": {"vqe_runs": {"config": {"tier": 1, "seeds": "1..1", "optimizers": "COBYLA"}}}},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "H2"}]},
        }
        assert "run" in daemon.graphql(LAUNCH, of=of)["launchRun"]
        wait_for(lambda: [run for run in daemon.runs() if run["status"] == "FAILURE"], "the run's failure", 240)
        wait_for(lambda: '"FAILURE"' in json.dumps(daemon.graphql(ASKED["sensors"])), "a tick's failure", 120)
        yield daemon


def test_dagsters_ui_shows_no_secret(failing: Daemon) -> None:
    for name, query in ASKED.items():
        answer = json.dumps(failing.graphql(query))
        assert len(answer) > 100, name
        assert_no_canary(answer, name)


def test_the_failures_were_of_services_not_of_the_test(failing: Daemon) -> None:
    told = json.dumps([failing.graphql(ASKED["runs"]), failing.graphql(ASKED["sensors"])])
    assert "does not answer" in told


def test_dagsters_files_and_logs_have_no_secret(failing: Daemon) -> None:
    assert assert_no_canary_in_files(failing.shell.home) > 5


def test_no_command_line_has_a_secret(failing: Daemon) -> None:
    commands = failing.of_each(psutil.Process.cmdline)
    assert len(commands) > 1
    assert_no_canary(" ".join(word for words in commands for word in words), "a command line")
