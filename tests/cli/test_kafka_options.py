"""Kafka on the command line: every flag reaches the settings, secrets have no flag, and nothing computed is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import qpipe_resources.kafka.delivery
from qpipe_cli.kafka_options import KAFKA, asked_settings
from qpipe_cli.option_flags import FlagError
from qpipe_cli.run_config import load
from qpipe_resources.kafka.settings import SECRETS, VARIABLES, KafkaSettings
from qpipe_resources.object_store import FolderObjectStore
from tests.cli.conftest import qpipe, rows
from tests.cli.test_option_flags import parsed
from tests.outbox_worker import FolderBroker, messages

NOWHERE = ("--servers", "127.0.0.1:9", "--registry-url", "http://127.0.0.1:9")
UNREACHABLE = ("--kafka", *NOWHERE, "--retries", "1", "--retry-delay", "0", "--timeout", "1")
PASSWORD = "correct-horse-5512"


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    folder = tmp_path / "certificates"
    folder.mkdir()
    for name in ("ca.crt", "client.crt", "client.key", "ca.crl"):
        (folder / name).write_text("PEM")
    return folder


@pytest.fixture
def repair(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Puts a broker there that takes everything, beside this installation; gives its home."""

    def repaired() -> Path:
        store = FolderObjectStore(home.parent / "elsewhere" / "raw-results")
        monkeypatch.setattr(qpipe_resources.kafka.delivery, "KafkaDelivery", lambda settings: FolderBroker(store))
        return home.parent / "elsewhere"

    return repaired


@pytest.fixture
def broker(repair: Callable[[], Path]) -> Path:
    """A broker that takes everything, from the start."""
    return repair()


def asked(*arguments: str) -> KafkaSettings | None:
    values = parsed("-m", "H2", *arguments)
    return asked_settings(values["kafka"], values)


EXAMPLES: dict[str, tuple[tuple[str, ...], Any]] = {
    "servers": (("--servers", "one:9092,two:9093"), "one:9092,two:9093"),
    "topic": (("--topic", "experiment.other"), "experiment.other"),
    "retries": (("--retries", "7"), 7),
    "retry_delay": (("--retry-delay", "0.5"), 0.5),
    "kafka_retries": (("--internal-retries", "0"), 0),
    "acks": (("--acks", "1"), "1"),
    "timeout": (("--timeout", "2.5"), 2.5),
    "max_message_bytes": (("--max-message-bytes", "1048576"), 1048576),
    "ssl": (("--ssl",), True),
    "ssl_dir": (("--ssl", "--ssl-dir", "{folder}"), Path("{folder}")),
    "ssl_cafile": (("--ssl", "--ssl-cafile", "{folder}/ca.crt"), Path("{folder}/ca.crt")),
    "ssl_certfile": (
        ("--ssl", "--ssl-certfile", "{folder}/client.crt", "--ssl-keyfile", "{folder}/client.key"),
        Path("{folder}/client.crt"),
    ),
    "ssl_keyfile": (
        ("--ssl", "--ssl-certfile", "{folder}/client.crt", "--ssl-keyfile", "{folder}/client.key"),
        Path("{folder}/client.key"),
    ),
    "ssl_crlfile": (("--ssl", "--ssl-crlfile", "{folder}/ca.crl"), Path("{folder}/ca.crl")),
    "ssl_ciphers": (("--ssl", "--ssl-ciphers", "ECDHE-RSA-AES256-GCM-SHA384"), "ECDHE-RSA-AES256-GCM-SHA384"),
    "ssl_check_hostname": (("--ssl", "--disable-ssl-check-hostname"), False),
    "sasl_ssl": (("--sasl-ssl", "--sasl-mechanism", "GSSAPI"), True),
    "sasl_mechanism": (
        ("--sasl-ssl", "--sasl-mechanism", "SCRAM-SHA-512", "--sasl-plain-username", "ann"),
        "SCRAM-SHA-512",
    ),
    "sasl_plain_username": (("--sasl-ssl", "--sasl-mechanism", "PLAIN", "--sasl-plain-username", "ann"), "ann"),
    "sasl_kerberos_service_name": (
        ("--sasl-ssl", "--sasl-mechanism", "GSSAPI", "--sasl-kerberos-service-name", "broker"),
        "broker",
    ),
    "sasl_kerberos_domain_name": (("--sasl-kerberos-domain-name", "example.org"), None),
    "registry_url": (
        ("--registry-url", "https://registry:8443/apis/ccompat/v7"),
        "https://registry:8443/apis/ccompat/v7",
    ),
    "registry_cafile": (
        ("--registry-url", "https://registry", "--registry-cafile", "{folder}/ca.crt"),
        Path("{folder}/ca.crt"),
    ),
}
"""A flag for every setting, and what the setting is then; None where the settings refuse every value."""


def test_every_setting_that_is_no_secret_has_a_flag_here() -> None:
    assert EXAMPLES.keys() | set(SECRETS) | {"group"} == set(KafkaSettings.model_fields)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_flag_reaches_its_setting(home: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    arguments, value = EXAMPLES[name]
    given = [argument.replace("{folder}", str(certificates)) for argument in arguments]
    if "--sasl-plain-username" in given:
        monkeypatch.setenv("KAFKA_SASL_PLAIN_PASSWORD", PASSWORD)
    if value is None:
        with pytest.raises(ValueError, match=given[0]):
            asked("--kafka", *given)
        return
    settings = asked("--kafka", *given)
    assert settings is not None
    expected = Path(str(value).replace("{folder}", str(certificates))) if isinstance(value, Path) else value
    assert getattr(settings, name) == expected
    assert type(getattr(settings, name)) is type(expected)


def test_without_the_flag_and_without_services_nothing_goes_to_kafka(home: Path) -> None:
    assert asked() is None


@pytest.mark.parametrize("command", [("simulate",), ("scan", "--bond", "0,1", "--values", "0.7,0.8"), ("replay",)])
def test_kafka_flags_without_kafka_are_refused(home: Path, command: tuple[str, ...]) -> None:
    molecule = () if command[0] == "replay" else ("-m", "H2")
    result = qpipe(*command, *molecule, "--retries", "5")
    assert result.exit_code == 2
    assert result.stderr == "error: --retries goes with --kafka, which is not given: give both\n"
    assert not home.exists()


def test_in_an_environment_with_kafka_its_flags_stand_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QPIPE_ENV", "services")
    settings = asked("--retries", "9")
    assert settings is not None and settings.retries == 9
    assert asked() is None, "the environment says it all"


@pytest.mark.parametrize("name", SECRETS)
def test_a_password_on_the_command_line_is_refused_with_the_variable_where_it_belongs(home: Path, name: str) -> None:
    result = qpipe("simulate", "-m", "H2", "--kafka", KAFKA.flag(name), PASSWORD)
    assert result.exit_code == 2
    assert KAFKA.flag(name) in result.stderr and VARIABLES[name] in result.stderr
    assert PASSWORD not in result.stderr + result.stdout
    assert not home.exists()
    with pytest.raises(FlagError):
        asked(KAFKA.flag(name), PASSWORD)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--servers", "nowhere"), "--servers='nowhere'"),
        (("--retries", "0"), "--retries=0"),
        (("--retries", "three"), "'--retries'"),
        (("--acks", "2"), "'2'"),
        (("--ssl-cafile", "ca.crt"), "--ssl-cafile without TLS: give --ssl or --sasl-ssl"),
        (("--ssl", "--ssl-cafile", "nowhere.crt"), "'nowhere.crt', which is no file"),
        (("--ssl", "--ssl-dir", "x", "--ssl-cafile", "y"), "--ssl-dir and --ssl-cafile exclude each other"),
        (("--sasl-ssl",), "--sasl-ssl needs --sasl-mechanism"),
        (("--sasl-ssl", "--sasl-mechanism", "PLAIN", "--sasl-plain-username", "a"), "KAFKA_SASL_PLAIN_PASSWORD"),
        (("--sasl-ssl", "--sasl-mechanism", "GSSAPI", "--sasl-plain-username", "a"), "with GSSAPI"),
        (("--registry-url", "http://ann:pa55@registry"), "SCHEMA_REGISTRY_BASIC_AUTH"),
        (("--output-dir", "out"), "--output-dir out and --kafka exclude each other"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_before_any_work(
    home: Path, arguments: tuple[str, ...], named: str
) -> None:
    for command in (("simulate",), ("scan", "--bond", "0,1", "--values", "0.7,0.8")):
        result = qpipe(*command, "-m", "H2", "--kafka", *arguments)
        assert result.exit_code == 2
        assert named in " ".join(result.stderr.replace("│", " ").split())
        assert "pa55" not in result.stderr
        assert not home.exists()


def test_a_broker_that_is_down_costs_no_result_and_is_told_by_the_exit_code(home: Path) -> None:
    result = qpipe("simulate", "-m", "H2", *UNREACHABLE, "--format", "json")
    assert result.exit_code == 1
    (row,) = json.loads(result.stdout)
    assert row["valid"]
    assert "error: H2: " in result.stderr and "127.0.0.1:9" in result.stderr
    assert "`qpipe replay --kafka`" in result.stderr
    (waiting,) = (home / "outbox" / "kafka" / "undelivered" / "H2").iterdir()
    assert waiting.stem == row["experiment_id"]
    assert not (home / "raw-results").exists(), "what is for Kafka is not for this installation's store"
    assert not list((home / "checkpoints").glob("*"))
    again = qpipe("simulate", "-m", "H2", *UNREACHABLE)
    assert again.exit_code == 1
    assert "already computed" in again.stderr and "error: H2: " in again.stderr


def test_what_waits_is_delivered_by_asking_again_and_what_was_sent_is_not_computed_again(
    home: Path, repair: Callable[[], Path]
) -> None:
    assert qpipe("simulate", "-m", "H2", *UNREACHABLE).exit_code == 1
    broker = repair()
    for _ in range(2):
        result = qpipe("simulate", "-m", "H2", "--kafka")
        assert (result.exit_code, "already computed" in result.stderr) == (0, True)
        assert len(messages(broker)) == 1


def test_a_forced_run_needs_neither_store_nor_ledger_to_leave(
    home: Path, broker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QPIPE_ENV", "services")
    monkeypatch.setenv("QPIPE_S3_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("QPIPE_CATALOG_URI", "postgresql+psycopg2://nobody@127.0.0.1:9/nothing")
    result = qpipe("simulate", "-m", "H2", "--force")
    assert result.exit_code == 0, result.stderr
    assert len(messages(broker)) == 1
    assert "experiment.vqe+0+0" in result.stderr
    assert len(list((home / "outbox" / "kafka" / "sent" / "H2").iterdir())) == 1


def test_what_was_computed_for_this_installation_is_sent_without_computing_it_again(home: Path, broker: Path) -> None:
    (row,) = rows(qpipe("simulate", "-m", "H2", "--format", "json"))
    for _ in range(2):
        result = qpipe("simulate", "-m", "H2", "--kafka")
        assert result.exit_code == 0 and "already computed" in result.stderr
        assert messages(broker) == [row["experiment_id"]]


def test_every_point_of_a_scan_is_computed_though_the_broker_is_down_and_sent_when_it_is_back(
    home: Path, repair: Callable[[], Path]
) -> None:
    scan = ("scan", "-m", "H2", "--bond", "0,1", "--values", "0.7,0.8")
    result = qpipe(*scan, *UNREACHABLE)
    assert result.exit_code == 1
    assert result.stderr.count("error: H2 bond 0-1 = ") == 2
    assert len(list((home / "outbox" / "kafka" / "undelivered" / "H2").iterdir())) == 2
    assert Path("H2-bond-0-1.png").exists()
    broker = repair()
    again = qpipe(*scan, "--kafka")
    assert again.exit_code == 0 and again.stderr.count("already computed") == 2
    assert len(messages(broker)) == 2


def test_a_dumped_run_carries_how_kafka_is_reached_and_no_secret(
    home: Path, broker: Path, monkeypatch: pytest.MonkeyPatch, certificates: Path
) -> None:
    monkeypatch.setenv("KAFKA_SASL_PLAIN_PASSWORD", PASSWORD)
    monkeypatch.setenv("SCHEMA_REGISTRY_BASIC_AUTH", f"ann:{PASSWORD}")
    security = ("--sasl-ssl", "--sasl-mechanism", "SCRAM-SHA-256", "--sasl-plain-username", "ann")
    files = ("--ssl-cafile", str(certificates / "ca.crt"))
    result = qpipe("simulate", "-m", "H2", "--kafka", "--servers", "far:9093", *security, *files, "--dump")
    assert result.exit_code == 0, result.stderr
    assert "set KAFKA_SASL_PLAIN_PASSWORD where it is loaded" in result.stderr
    (path,) = Path("run_configs").iterdir()
    assert PASSWORD not in path.read_text() + result.stderr + result.stdout
    kafka = load(path).kafka
    assert kafka is not None and not kafka.keys() & set(SECRETS)
    reached: list[KafkaSettings] = []

    def delivery(settings: KafkaSettings) -> FolderBroker:
        reached.append(settings)
        return FolderBroker(FolderObjectStore(broker / "raw-results"))

    monkeypatch.setattr(qpipe_resources.kafka.delivery, "KafkaDelivery", delivery)
    assert qpipe("simulate", "--load", str(path), "--retries", "8").exit_code == 0
    (settings,) = reached
    assert (settings.servers, settings.sasl_mechanism, settings.retries) == ("far:9093", "SCRAM-SHA-256", 8)
    assert settings.sasl_plain_password is not None
    assert settings.sasl_plain_password.get_secret_value() == PASSWORD, "from the environment"
    monkeypatch.delenv("KAFKA_SASL_PLAIN_PASSWORD")
    without = qpipe("simulate", "--load", str(path))
    assert without.exit_code == 2 and "KAFKA_SASL_PLAIN_PASSWORD" in without.stderr


@pytest.mark.parametrize(
    ("kafka", "named"),
    [
        ({"sasl_plain_password": PASSWORD}, "set KAFKA_SASL_PLAIN_PASSWORD instead"),
        ({"servers": "nowhere"}, "--servers='nowhere'"),
        ({"colour": "red"}, "colour"),
        ({"servers": ["one:9092"]}, "kafka.servers"),
    ],
)
def test_a_loaded_file_with_kafka_settings_that_cannot_be_is_refused(
    home: Path, kafka: dict[str, Any], named: str
) -> None:
    assert qpipe("simulate", "-m", "H2", "--dump").exit_code == 0
    (path,) = Path("run_configs").iterdir()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kafka": kafka}))
    result = qpipe("simulate", "--load", str(path))
    assert result.exit_code == 2
    assert named in result.stderr and PASSWORD not in result.stderr


def test_a_local_run_imports_nothing_of_what_it_does_not_need(home: Path) -> None:
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom qpipe_cli.main import app\n"
        "done = CliRunner().invoke(app, ['simulate', '-m', 'H2'])\n"
        "heavy = {'dagster', 'boto3', 'confluent_kafka', 'sqlalchemy', 'pyiceberg', 'pyarrow', 'duckdb'}\n"
        "print(done.exit_code, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 []"
