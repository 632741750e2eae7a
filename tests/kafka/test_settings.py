"""The Kafka options: defaults, where values come from, what goes together, and that no secret is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from qpipe_resources.kafka.settings import (
    MEBIBYTE,
    SECRETS,
    VARIABLES,
    KafkaSettings,
    KafkaSettingsError,
    load_kafka_settings,
)

PASSWORD = "pa55:w0rd@secret"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default folder of certificates is sought where the command runs."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Certificate files as single options; none of them is read here."""
    names = {"ssl_cafile": "a.pem", "ssl_certfile": "b.pem", "ssl_keyfile": "c.pem", "ssl_crlfile": "d.pem"}
    for name in names.values():
        (tmp_path / name).touch()
    return {field: str(tmp_path / name) for field, name in names.items()}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    made = tmp_path / "tls"
    made.mkdir()
    for name in ("ca.crt", "client.crt", "client.key"):
        (made / name).touch()
    return str(made)


def refusal(**given: Any) -> str:
    with pytest.raises(KafkaSettingsError) as error:
        load_kafka_settings(given)
    return str(error.value)


def test_the_defaults_are_those_of_the_specification() -> None:
    settings = load_kafka_settings()
    assert (settings.servers, settings.topic) == ("localhost:9092", "experiment.vqe")
    assert (settings.retries, settings.retry_delay, settings.kafka_retries) == (3, 2.0, 5)
    assert (settings.acks, settings.timeout, settings.max_message_bytes) == ("all", 10.0, 64 * MEBIBYTE)
    assert (settings.ssl, settings.sasl_ssl, settings.ssl_check_hostname) == (False, False, True)
    assert settings.sasl_kerberos_service_name == "kafka"
    assert settings.idempotent and settings.subject == "experiment.vqe-value"


def test_every_option_has_a_variable_of_its_own_and_a_description() -> None:
    assert set(VARIABLES) == set(KafkaSettings.model_fields)
    assert len(set(VARIABLES.values())) == len(VARIABLES)
    assert all(field.description for field in KafkaSettings.model_fields.values())


def test_what_is_given_comes_before_the_environment_and_that_before_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAFKA_SERVERS", "one:1")
    monkeypatch.setenv("KAFKA_RETRIES", "7")
    monkeypatch.setenv("KAFKA_TIMEOUT", "")
    settings = load_kafka_settings({"servers": "two:2", "retry_delay": None})
    assert (settings.servers, settings.retries, settings.retry_delay, settings.timeout) == ("two:2", 7, 2.0, 10.0)


def test_numbers_given_as_text_become_numbers() -> None:
    settings = load_kafka_settings({"retries": "4", "retry_delay": "0.5", "kafka_retries": "2", "timeout": "3"})
    assert (settings.retries, settings.retry_delay, settings.kafka_retries, settings.timeout) == (4, 0.5, 2, 3.0)
    assert load_kafka_settings({"acks": 1}).acks == "1"


@pytest.mark.parametrize(
    ("acks", "retries", "idempotent"), [("all", 5, True), ("1", 5, False), ("0", 5, False), ("all", 0, False)]
)
def test_only_full_confirmation_with_retries_is_idempotent(acks: str, retries: int, idempotent: bool) -> None:
    assert load_kafka_settings({"acks": acks, "kafka_retries": retries}).idempotent is idempotent


USER = {"sasl_plain_username": "u", "sasl_plain_password": "p"}


@pytest.mark.parametrize(
    ("given", "use_folder", "use_files"),
    [
        ({}, False, ()),
        ({"ssl": True}, False, ()),
        ({"ssl": True}, True, ()),
        ({"ssl": True, "ssl_check_hostname": False, "ssl_ciphers": "HIGH"}, True, ()),
        ({"ssl": True}, False, ("ssl_cafile",)),
        ({"ssl": True, "ssl_password": "x"}, False, ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile")),
        ({"sasl_ssl": True, "sasl_mechanism": "PLAIN"} | USER, False, ()),
        ({"sasl_ssl": True, "sasl_mechanism": "SCRAM-SHA-256"} | USER, True, ()),
        ({"sasl_ssl": True, "sasl_mechanism": "SCRAM-SHA-512"} | USER, False, ("ssl_cafile",)),
        ({"ssl": True, "sasl_ssl": True, "sasl_mechanism": "PLAIN"} | USER, False, ("ssl_cafile",)),
        ({"sasl_ssl": True, "sasl_mechanism": "GSSAPI"}, False, ()),
        ({"sasl_ssl": True, "sasl_mechanism": "GSSAPI", "sasl_kerberos_service_name": "broker"}, False, ()),
    ],
)
def test_what_goes_together_is_accepted(
    given: dict[str, Any], use_folder: bool, use_files: tuple[str, ...], folder: str, files: dict[str, str]
) -> None:
    chosen = given | ({"ssl_dir": folder} if use_folder else {}) | {field: files[field] for field in use_files}
    settings = load_kafka_settings(chosen)
    assert settings.tls is bool(given)
    assert all(getattr(settings, name) is not None for name in chosen)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ssl_ciphers": "HIGH"}, "ssl_ciphers without TLS"),
        ({"ssl_check_hostname": False}, "ssl_check_hostname without TLS"),
        ({"ssl_password": PASSWORD}, "ssl_password without TLS"),
        ({"ssl": True, "ssl_password": PASSWORD}, "no ssl_keyfile"),
        ({"sasl_mechanism": "PLAIN"}, "sasl_mechanism without SASL"),
        ({"sasl_plain_username": "u"}, "sasl_plain_username without SASL"),
        ({"sasl_plain_password": PASSWORD}, "sasl_plain_password without SASL"),
        ({"ssl": True, "sasl_kerberos_service_name": "k"}, "sasl_kerberos_service_name without SASL"),
        ({"sasl_ssl": True}, "sasl_ssl needs sasl_mechanism"),
        ({"sasl_ssl": True, "sasl_mechanism": "DIGEST-MD5"}, "sasl_mechanism='DIGEST-MD5'"),
        ({"sasl_ssl": True, "sasl_mechanism": "PLAIN"}, "PLAIN needs sasl_plain_username"),
        (
            {"sasl_ssl": True, "sasl_mechanism": "SCRAM-SHA-256", "sasl_plain_username": "u"},
            "KAFKA_SASL_PLAIN_PASSWORD",
        ),
        ({"sasl_ssl": True, "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_password": "p"}, "sasl_plain_username"),
        ({"sasl_ssl": True, "sasl_mechanism": "PLAIN", "sasl_kerberos_service_name": "k"} | USER, "it is for GSSAPI"),
        ({"sasl_ssl": True, "sasl_mechanism": "PLAIN", "sasl_kerberos_domain_name": "k"} | USER, "it is for GSSAPI"),
        ({"sasl_ssl": True, "sasl_mechanism": "GSSAPI", "sasl_plain_username": "u"}, "with GSSAPI"),
        ({"sasl_ssl": True, "sasl_mechanism": "GSSAPI", "sasl_plain_password": PASSWORD}, "with GSSAPI"),
        ({"sasl_ssl": True, "sasl_mechanism": "GSSAPI", "sasl_kerberos_domain_name": "host"}, "advertise"),
    ],
)
def test_what_does_not_go_together_is_refused_and_no_secret_is_told(given: dict[str, Any], said: str) -> None:
    text = refusal(**given)
    assert said in text
    assert PASSWORD not in text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"acks": "2"}, "acks='2'"),
        ({"retries": 0}, "retries=0"),
        ({"retries": "three"}, "retries='three'"),
        ({"kafka_retries": -1}, "kafka_retries=-1"),
        ({"retry_delay": float("inf")}, "retry_delay=inf"),
        ({"timeout": 0}, "timeout=0"),
        ({"max_message_bytes": 2**30}, "max_message_bytes=1073741824"),
        ({"topic": "a b"}, "topic='a b'"),
        ({"topic": ".."}, "topic='..'"),
        ({"servers": "host"}, "servers='host'"),
        ({"servers": "host:99999"}, "servers='host:99999'"),
        ({"servers": "a:1,,b:2"}, "servers='a:1,,b:2'"),
        ({"registry_url": "localhost:8081"}, "registry_url='localhost:8081'"),
        ({"registry_url": "http://h:port"}, "registry_url='http://h:port'"),
        ({"registry_url": "http://h:1?x=1"}, "registry_url='http://h:1?x=1'"),
        ({"registry_auth": "nocolon"}, "registry_auth has no colon"),
        ({"registry_cafile": "x.pem"}, "registry_cafile is for a registry_url with https://"),
        ({"registry_url": "https://h", "registry_cafile": "x.pem"}, "'x.pem', which is no file"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_name(given: dict[str, Any], said: str) -> None:
    assert said in refusal(**given)


def test_several_brokers_and_registries_and_ipv6_are_accepted() -> None:
    settings = load_kafka_settings({"servers": "a.b-c_d:1, [::1]:9092", "registry_url": "http://a:1/x/v7,https://b"})
    assert settings.servers == "a.b-c_d:1,[::1]:9092"


def test_a_folder_and_single_files_exclude_each_other(folder: str, files: dict[str, str]) -> None:
    said = refusal(ssl=True, ssl_dir=folder, ssl_cafile=files["ssl_cafile"])
    assert "ssl_dir and ssl_cafile exclude each other" in said


def test_a_missing_file_is_named(files: dict[str, str], tmp_path: Path) -> None:
    assert "ssl_keyfile names 'gone.key'" in refusal(**{"ssl": True} | files | {"ssl_keyfile": "gone.key"})
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"ssl_dir names '{empty}/ca.crt'" in refusal(ssl=True, ssl_dir=str(empty))


@pytest.mark.parametrize("alone", ["ssl_certfile", "ssl_keyfile"])
def test_a_certificate_needs_its_key_and_a_key_its_certificate(alone: str, files: dict[str, str]) -> None:
    assert "ssl_certfile and ssl_keyfile go together" in refusal(
        ssl=True, ssl_cafile=files["ssl_cafile"], **{alone: files[alone]}
    )


def test_the_folder_gives_the_files_that_are_in_it(folder: str) -> None:
    settings = load_kafka_settings({"ssl": True, "ssl_dir": folder})
    assert {name: path.name for name, path in settings.tls_files.items()} == {
        "ssl_cafile": "ca.crt",
        "ssl_certfile": "client.crt",
        "ssl_keyfile": "client.key",
    }
    (Path(folder) / "ca.crl").touch()
    assert settings.tls_files["ssl_crlfile"] == Path(folder) / "ca.crl"


def test_without_folder_and_files_the_folder_secrets_is_used_where_it_exists(folder: str, tmp_path: Path) -> None:
    assert load_kafka_settings({"ssl": True}).tls_files == {}
    Path(folder).rename(tmp_path / "secrets")
    assert load_kafka_settings({"ssl": True}).tls_files["ssl_cafile"] == Path("secrets/ca.crt")
    assert load_kafka_settings({"ssl": True, "ssl_cafile": "secrets/client.crt"}).tls_files == {
        "ssl_cafile": Path("secrets/client.crt")
    }


def test_an_error_names_the_flag_or_the_variable_that_a_value_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_ACKS", "some")
    assert "KAFKA_ACKS='some'" in refusal()
    monkeypatch.delenv("KAFKA_ACKS")
    monkeypatch.setenv("KAFKA_SSL_CIPHERS", "HIGH")
    assert "KAFKA_SSL_CIPHERS without TLS: give KAFKA_SSL or KAFKA_SASL_SSL" in refusal()
    monkeypatch.delenv("KAFKA_SSL_CIPHERS")
    with pytest.raises(KafkaSettingsError, match="--sasl-mechanism without SASL: give --sasl-ssl"):
        load_kafka_settings({"sasl_mechanism": "PLAIN"}, lambda field: "--" + field.replace("_", "-"))


def test_credentials_in_an_address_are_refused_and_not_told() -> None:
    for field, address in (("servers", f"user:{PASSWORD}@host:1"), ("registry_url", f"http://user:{PASSWORD}@host:1")):
        said = refusal(**{field: address})
        assert PASSWORD not in said and "secret" not in said


def test_secrets_come_from_the_environment_and_are_in_no_text_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    for field in SECRETS:
        monkeypatch.setenv(VARIABLES[field], PASSWORD)
    settings = load_kafka_settings(
        {"sasl_ssl": True, "sasl_mechanism": "PLAIN", "sasl_plain_username": "u", "ssl_dir": folder}
    )
    assert all(getattr(settings, field).get_secret_value() == PASSWORD for field in SECRETS)
    for text in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert PASSWORD not in text


def test_a_refusal_by_the_model_itself_does_not_tell_its_input() -> None:
    with pytest.raises(ValidationError) as error:
        KafkaSettings.model_validate({"sasl_plain_password": PASSWORD, "registry_auth": PASSWORD, "acks": "x"})
    assert PASSWORD not in str(error.value)
