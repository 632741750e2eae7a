"""Every way to a secured broker against a real one: TLS by folder and by files, a client's certificate, SASL."""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from deploy.services.stack import Stack
from qpipe_resources.kafka.consumer import ResultConsumer
from qpipe_resources.kafka.delivery import KafkaDelivery
from qpipe_resources.kafka.errors import (
    BrokerAuthenticationError,
    BrokerTlsError,
    ClientConfigError,
    KafkaError,
)
from qpipe_resources.kafka.producer import ResultProducer
from qpipe_resources.kafka.serialization import RecordDeserializer
from qpipe_resources.kafka.settings import KafkaSettings, load_kafka_settings
from simulation.record import VQEDecoratedResult
from tests.integration.conftest import Sandbox
from tests.kafka.certificates import make
from tests.synthetic import plain_record

RECORD = VQEDecoratedResult.model_validate(plain_record())
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def tls(stack: Stack, **more: Any) -> dict[str, Any]:
    """Options of the listener that asks for a client's certificate, by single files."""
    certificates = stack.tls
    return {
        "servers": stack.listeners["SSL"],
        "ssl": True,
        "ssl_cafile": str(certificates.ca),
        "ssl_certfile": str(certificates.certificate),
        "ssl_keyfile": str(certificates.key),
    } | more


def sasl(stack: Stack, mechanism: str, **more: Any) -> dict[str, Any]:
    """Options of the listener that asks for user and password; the password goes by the environment."""
    return {
        "servers": stack.listeners["SASL_SSL"],
        "sasl_ssl": True,
        "sasl_mechanism": mechanism,
        "sasl_plain_username": stack.kafka_users[mechanism].name,
        "ssl_cafile": str(stack.tls.ca),
    } | more


def settings(**given: Any) -> KafkaSettings:
    return load_kafka_settings({"timeout": 20, "retries": 1} | given)


def passes_through(given: KafkaSettings) -> None:
    """A record is confirmed, and read again, over this connection."""
    with ResultProducer(given) as producer:
        where = producer.send("H2", RECORD)
    consumer = ResultConsumer(given)
    consumer.subscribe(lambda partitions, lost: None)
    try:
        message = next(found for _ in range(60) if (found := consumer.poll(0.5)) is not None)
    finally:
        consumer.close()
    assert where == f"{message.topic}+{message.partition}+{message.offset}"
    assert message.value is not None and message.key == b"H2"
    assert VQEDecoratedResult.model_validate(RecordDeserializer(given).to_row(message.value)) == RECORD


def refused(given: KafkaSettings, seconds: float = 5) -> KafkaError:
    """Why a record does not get through; only a refused user is told before the time is over."""
    limited = given.model_copy(update={"timeout": seconds})
    with pytest.raises(KafkaError) as error, ResultProducer(limited) as producer:
        producer.send("H2", RECORD)
    return error.value


def test_tls_with_our_certificate_from_a_folder(sandbox: Sandbox) -> None:
    stack = sandbox.stack
    passes_through(settings(servers=stack.listeners["SSL"], ssl=True, ssl_dir=str(stack.tls.folder)))


def test_tls_with_our_certificate_from_files_a_revocation_list_and_chosen_ciphers(sandbox: Sandbox) -> None:
    stack = sandbox.stack
    passes_through(settings(**tls(stack, ssl_crlfile=str(stack.tls.crl), ssl_ciphers="ECDHE-RSA-AES256-GCM-SHA384")))


def test_a_key_under_a_password_is_opened_and_not_with_a_wrong_one(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = sandbox.stack
    monkeypatch.setenv("KAFKA_SSL_PASSWORD", stack.tls.key_password)
    passes_through(settings(**tls(stack, ssl_keyfile=str(stack.tls.encrypted_key))))
    monkeypatch.setenv("KAFKA_SSL_PASSWORD", "wrong-word")
    with pytest.raises(ClientConfigError, match="check KAFKA_SSL_PASSWORD") as error:
        KafkaDelivery(settings(**tls(stack, ssl_keyfile=str(stack.tls.encrypted_key))))
    assert "wrong-word" not in str(error.value)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_user_and_password(mechanism: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SASL_PLAIN_PASSWORD", sandbox.stack.kafka_users[mechanism].password)
    passes_through(settings(**sasl(sandbox.stack, mechanism)))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_wrong_password_is_refused_at_once_and_not_told(
    mechanism: str,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KAFKA_SASL_PLAIN_PASSWORD", "wrong-word")
    given = settings(**sasl(sandbox.stack, mechanism, retries=3))
    begin = time.monotonic()
    with caplog.at_level(logging.DEBUG):
        error = refused(given, seconds=60)
    assert time.monotonic() - begin < 30
    assert type(error) is BrokerAuthenticationError and not error.transient
    assert given.servers in str(error) and "KAFKA_SASL_PLAIN_PASSWORD" in str(error)
    captured = capfd.readouterr()
    assert not any("wrong-word" in text for text in (str(error), caplog.text, captured.out, captured.err))


def test_a_consumer_with_a_wrong_password_says_so(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SASL_PLAIN_PASSWORD", "wrong-word")
    consumer = ResultConsumer(settings(**sasl(sandbox.stack, "SCRAM-SHA-512")))
    consumer.subscribe(lambda partitions, lost: None)
    try:
        with pytest.raises(BrokerAuthenticationError, match="KAFKA_SASL_PLAIN_PASSWORD"):
            for _ in range(60):
                consumer.poll(0.5)
    finally:
        consumer.close()


def test_a_user_of_another_mechanism_is_refused(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    user = sandbox.stack.kafka_users["PLAIN"]
    monkeypatch.setenv("KAFKA_SASL_PLAIN_PASSWORD", user.password)
    given = sasl(sandbox.stack, "SCRAM-SHA-256", sasl_plain_username=user.name)
    assert type(refused(settings(**given), seconds=60)) is BrokerAuthenticationError


def test_a_broker_of_another_authority_is_refused(sandbox: Sandbox) -> None:
    sandbox.home.mkdir()
    make(sandbox.home)
    error = refused(settings(**tls(sandbox.stack, ssl_cafile=str(sandbox.home / "ca.crt"))))
    assert type(error) is BrokerTlsError and "KAFKA_SSL_CAFILE" in str(error) and "verif" in str(error)


def test_the_authorities_of_the_machine_do_not_do_for_a_broker_of_our_own(sandbox: Sandbox) -> None:
    assert type(refused(settings(servers=sandbox.stack.listeners["SSL"], ssl=True))) is BrokerTlsError


def test_a_broker_that_asks_for_our_certificate_refuses_us_without(sandbox: Sandbox) -> None:
    stack = sandbox.stack
    error = refused(settings(servers=stack.listeners["SSL"], ssl=True, ssl_cafile=str(stack.tls.ca)))
    assert type(error) is BrokerTlsError and "our certificate" in str(error)


@contextmanager
def under_another_address(server: str) -> Iterator[str]:
    """The server at 127.0.0.2, which its certificate does not name."""
    host, _, port = server.rpartition(":")

    def forward(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((host, int(port))) as target:
                threading.Thread(target=forward, args=(target, self.request), daemon=True).start()
                forward(self.request, target)

    with socketserver.ThreadingTCPServer(("127.0.0.2", 0), Handler) as forwarder:
        threading.Thread(target=forwarder.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"127.0.0.2:{forwarder.server_address[1]}"
        finally:
            forwarder.shutdown()


def test_a_certificate_for_another_host_is_refused_unless_told_otherwise(sandbox: Sandbox) -> None:
    stack = sandbox.stack
    with under_another_address(stack.listeners["SSL"]) as other:
        error = refused(settings(**tls(stack, servers=other)))
        assert type(error) is BrokerTlsError and "verif" in str(error)
        passes_through(settings(**tls(stack, servers=other, ssl_check_hostname=False)))


def test_plain_text_to_a_tls_port_and_tls_to_a_plain_one_name_the_kind_of_connection(sandbox: Sandbox) -> None:
    stack = sandbox.stack
    assert "KAFKA_SSL" in str(refused(settings(servers=stack.listeners["SSL"])))
    error = refused(settings(servers=stack.listeners["PLAINTEXT"], ssl=True, ssl_cafile=str(stack.tls.ca)))
    assert "speaks TLS" in str(error)
