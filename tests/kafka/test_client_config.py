"""Every option reaches the Kafka client under the client's own name, and the client takes it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from qpipe_resources.kafka.client_config import admin_config, consumer_config, producer_config, registry_config
from qpipe_resources.kafka.consumer import ResultConsumer
from qpipe_resources.kafka.errors import ClientConfigError
from qpipe_resources.kafka.producer import ResultProducer
from qpipe_resources.kafka.registry import registry_client
from qpipe_resources.kafka.settings import MEBIBYTE, KafkaSettings, load_kafka_settings
from tests.kafka.certificates import KEY_PASSWORD, make

NOWHERE = "127.0.0.1:1"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    make(folder)
    return folder


def single_files(folder: Path) -> dict[str, Any]:
    names = {"cafile": "ca.crt", "certfile": "client.crt", "keyfile": "encrypted.key", "crlfile": "ca.crl"}
    return {f"ssl_{field}": str(folder / name) for field, name in names.items()} | {"ssl_password": KEY_PASSWORD}


def settings(**given: Any) -> KafkaSettings:
    return load_kafka_settings({"servers": NOWHERE} | given)


def test_a_plain_producer_is_idempotent_confirmed_by_all_and_compressed() -> None:
    config = producer_config(settings(timeout=7, kafka_retries=4))
    assert config["bootstrap.servers"] == NOWHERE
    assert config["security.protocol"] == "PLAINTEXT"
    assert (config["enable.idempotence"], config["acks"], config["retries"]) == (True, "all", 4)
    assert config["message.timeout.ms"] == 7000
    assert config["compression.type"] == "zstd"
    assert config["message.max.bytes"] > 64 * MEBIBYTE


@pytest.mark.parametrize("given", [{"acks": "0"}, {"acks": "1"}, {"kafka_retries": 0}])
def test_less_than_full_confirmation_turns_deduplication_off(given: dict[str, Any]) -> None:
    config = producer_config(settings(**given))
    assert config["enable.idempotence"] is False
    Producer(config)


def test_every_tls_option_reaches_the_client_and_it_takes_them(certificates: Path) -> None:
    given = settings(ssl=True, ssl_ciphers="HIGH", ssl_check_hostname=False, **single_files(certificates))
    config = producer_config(given)
    assert config["security.protocol"] == "SSL"
    assert config["ssl.ca.location"] == str(certificates / "ca.crt")
    assert config["ssl.certificate.location"] == str(certificates / "client.crt")
    assert config["ssl.key.location"] == str(certificates / "encrypted.key")
    assert config["ssl.crl.location"] == str(certificates / "ca.crl")
    assert config["ssl.key.password"] == KEY_PASSWORD
    assert config["ssl.cipher.suites"] == "HIGH"
    assert config["ssl.endpoint.identification.algorithm"] == "none"
    Producer(config)


def test_a_folder_of_certificates_is_the_same_as_its_files_and_host_names_are_checked(certificates: Path) -> None:
    config = producer_config(settings(ssl=True, ssl_dir=str(certificates)))
    assert config["ssl.ca.location"] == str(certificates / "ca.crt")
    assert config["ssl.key.location"] == str(certificates / "client.key")
    assert config["ssl.crl.location"] == str(certificates / "ca.crl")
    assert config["ssl.endpoint.identification.algorithm"] == "https"
    Producer(config)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_user_and_password_reach_the_client(mechanism: str, certificates: Path) -> None:
    config = producer_config(
        settings(
            sasl_ssl=True,
            sasl_mechanism=mechanism,
            sasl_plain_username="user",
            sasl_plain_password="word",
            ssl_cafile=str(certificates / "ca.crt"),
        )
    )
    assert (config["security.protocol"], config["sasl.mechanism"]) == ("SASL_SSL", mechanism)
    assert (config["sasl.username"], config["sasl.password"]) == ("user", "word")
    assert config["ssl.ca.location"] == str(certificates / "ca.crt")
    Producer(config)


def test_kerberos_reaches_the_client_which_says_that_it_was_built_without() -> None:
    given = settings(sasl_ssl=True, sasl_mechanism="GSSAPI", sasl_kerberos_service_name="broker")
    config = producer_config(given)
    assert (config["sasl.mechanism"], config["sasl.kerberos.service.name"]) == ("GSSAPI", "broker")
    assert "sasl.username" not in config and "sasl.password" not in config
    with pytest.raises(ClientConfigError, match=r"Kerberos .* --no-binary"):
        ResultProducer(given)


def test_consumer_and_admin_have_the_same_connection_as_the_producer(certificates: Path) -> None:
    given = settings(
        sasl_ssl=True,
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username="user",
        sasl_plain_password="word",
        ssl_dir=str(certificates),
    )
    secured = {
        name: value for name, value in producer_config(given).items() if name.startswith(("ssl.", "sasl.", "sec"))
    }
    assert len(secured) == 9
    for config in (consumer_config(given, "g"), admin_config(given)):
        assert secured.items() <= config.items()


def test_a_consumer_commits_nothing_by_itself_and_fetches_the_largest_message() -> None:
    config = consumer_config(settings(), "some-group")
    assert config["group.id"] == "some-group"
    assert config["enable.auto.commit"] is False and config["enable.auto.offset.store"] is False
    assert config["auto.offset.reset"] == "earliest"
    assert config["fetch.max.bytes"] >= config["message.max.bytes"]
    ResultConsumer(settings()).close()


def test_the_registry_client_gets_url_user_authority_and_time(certificates: Path) -> None:
    given = settings(
        registry_url="https://registry:8081/apis/ccompat/v7",
        registry_auth="user:pa:ss",
        registry_cafile=str(certificates / "ca.crt"),
        timeout=3,
    )
    config = registry_config(given)
    assert config["url"] == "https://registry:8081/apis/ccompat/v7"
    assert config["basic.auth.user.info"] == "user:pa:ss"
    assert config["ssl.ca.location"] == str(certificates / "ca.crt")
    assert config["timeout"] == 3
    registry_client(given)


@pytest.mark.parametrize("wrong", [{"ssl_password": "wrong-word"}, {"ssl_ciphers": "nonsense"}])
def test_what_the_client_refuses_is_an_error_that_says_what_to_check(wrong: dict[str, Any], certificates: Path) -> None:
    given = settings(**({"ssl": True} | single_files(certificates) | wrong))
    for client in (ResultProducer, ResultConsumer):
        with pytest.raises(ClientConfigError, match="KAFKA_SSL_PASSWORD") as error:
            client(given)
        assert "wrong-word" not in str(error.value)


def test_the_client_writes_nothing_to_standard_error_and_its_lines_are_for_debugging(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="qpipe_resources.kafka"):
        client = Producer(producer_config(settings()))
        client.produce("t", b"x")
        for _ in range(20):
            client.poll(0.05)
        client.purge()
        client.flush(1)
    assert capfd.readouterr().err == ""
    refused = [record for record in caplog.records if "Connection refused" in record.getMessage()]
    assert refused and all(record.levelno == logging.DEBUG for record in refused)
