"""The producer: attempts and their delay, what is worth another, and many records on their way at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError as Code

from qpipe_resources.delivery import DeliveryError
from qpipe_resources.kafka import producer as producer_module
from qpipe_resources.kafka.delivery import KafkaDelivery
from qpipe_resources.kafka.errors import (
    BrokerAuthenticationError,
    BrokerTlsError,
    BrokerUnavailableError,
    KafkaError,
    MessageTooLargeError,
    RegistryUnavailableError,
    TopicError,
)
from qpipe_resources.kafka.producer import ResultProducer
from qpipe_resources.kafka.serialization import RecordDeserializer
from qpipe_resources.kafka.settings import KafkaSettings
from simulation.record import VQEDecoratedResult
from tests.kafka.fake_client import FakeProducer, full, refusing
from tests.kafka.registry_server import Registry
from tests.synthetic import plain_record

RECORD = VQEDecoratedResult.model_validate(plain_record())
Fate = int | str | Exception | None


class Sending:
    """A producer on fake clients: `clients` are those that were made, the script is the first one's."""

    def __init__(self, settings: KafkaSettings, script: Sequence[Fate] = (), reports: Sequence[int] = ()) -> None:
        self.clients: list[FakeProducer] = []
        self._script, self._reports = script, reports
        self.producer = ResultProducer(settings, connect=self._connect)

    def _connect(self, config: dict[str, Any]) -> Any:
        self.clients.append(FakeProducer(config, () if self.clients else self._script, self._reports))
        return self.clients[-1]

    @property
    def client(self) -> FakeProducer:
        return self.clients[0]

    def error(self) -> KafkaError:
        with pytest.raises(KafkaError) as error:
            self.producer.send("H2", RECORD)
        return error.value


def test_a_record_is_keyed_by_its_molecule_and_named_by_partition_and_offset(settings: KafkaSettings) -> None:
    sending = Sending(settings)
    assert sending.producer.send("H2", RECORD) == "experiment.vqe+0+0"
    assert sending.producer.send("H2", RECORD) == "experiment.vqe+0+1"
    topic, key, value = sending.client.attempts[0]
    assert (topic, key) == ("experiment.vqe", "H2")
    assert VQEDecoratedResult.model_validate(RecordDeserializer(settings).to_row(value)) == RECORD


@pytest.mark.parametrize("failures", [0, 1, 2, 3, 4])
def test_a_broker_that_fails_fewer_times_than_the_attempts_gets_the_record_else_it_is_an_error(
    failures: int, settings: KafkaSettings
) -> None:
    sending = Sending(settings, [Code._MSG_TIMED_OUT] * failures)
    if failures < 3:
        assert sending.producer.send("H2", RECORD) == "experiment.vqe+0+0"
        assert len(sending.client.attempts) == failures + 1
    else:
        assert isinstance(sending.error(), BrokerUnavailableError)
        assert len(sending.client.attempts) == 3 and not sending.client.delivered


def test_there_is_a_delay_between_attempts(settings: KafkaSettings) -> None:
    sending = Sending(settings.model_copy(update={"retry_delay": 0.3}), [Code.NOT_ENOUGH_REPLICAS])
    begin = time.monotonic()
    sending.producer.send("H2", RECORD)
    assert 0.3 <= time.monotonic() - begin < 30


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (Code._MSG_TIMED_OUT, BrokerUnavailableError, "did not confirm a record within 1 s"),
        (Code.KAFKA_STORAGE_ERROR, BrokerUnavailableError, "disk"),
        (Code.NOT_ENOUGH_REPLICAS_AFTER_APPEND, BrokerUnavailableError, "cannot take messages now"),
        (Code.MSG_SIZE_TOO_LARGE, MessageTooLargeError, "max.message.bytes of the topic"),
        (Code.UNKNOWN_TOPIC_OR_PART, TopicError, "create it"),
        (Code._UNKNOWN_TOPIC, TopicError, "create it"),
        (Code.TOPIC_AUTHORIZATION_FAILED, TopicError, "grant"),
        (Code.SASL_AUTHENTICATION_FAILED, BrokerAuthenticationError, "KAFKA_SASL_PLAIN_PASSWORD"),
        (Code.INVALID_RECORD, KafkaError, "INVALID_RECORD"),
    ],
)
def test_each_error_says_what_it_is_and_only_what_passes_is_tried_again(
    code: int, kind: type[KafkaError], said: str, settings: KafkaSettings
) -> None:
    sending = Sending(settings, [code] * 5)
    error = sending.error()
    assert type(error) is kind and said in str(error) and settings.servers in str(error)
    assert len(sending.client.attempts) == (3 if error.transient else 1)
    assert error.transient is (kind is BrokerUnavailableError)


@pytest.mark.parametrize(("report", "kind"), [(Code._SSL, BrokerTlsError), (Code._RESOLVE, BrokerUnavailableError)])
def test_a_message_that_times_out_is_explained_by_what_the_client_reported(
    report: int, kind: type[KafkaError], settings: KafkaSettings
) -> None:
    sending = Sending(settings, [Code._MSG_TIMED_OUT] * 3, [Code._ALL_BROKERS_DOWN, report])
    error = sending.error()
    assert type(error) is kind
    assert Code(report).str() in str(error)


def test_a_refused_password_ends_the_attempt_at_once(settings: KafkaSettings) -> None:
    patient = settings.model_copy(update={"timeout": 60.0})
    sending = Sending(patient, ["silent"], [Code._AUTHENTICATION])
    begin = time.monotonic()
    assert isinstance(sending.error(), BrokerAuthenticationError)
    assert time.monotonic() - begin < 30
    assert len(sending.client.attempts) == 1


def test_a_client_that_never_says_the_end_is_made_to(settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer_module, "_GRACE", 0.0)
    sending = Sending(settings.model_copy(update={"retries": 1}), ["silent"])
    assert isinstance(sending.error(), BrokerUnavailableError)
    assert sending.client.purges >= 1


@pytest.mark.parametrize("fate", [full(), refusing(Code._QUEUE_FULL)])
def test_a_full_client_is_tried_again(fate: Exception, settings: KafkaSettings) -> None:
    sending = Sending(settings, [fate])
    assert sending.producer.send("H2", RECORD) == "experiment.vqe+0+0"


def test_a_client_with_a_fatal_error_is_replaced(settings: KafkaSettings) -> None:
    sending = Sending(settings, [refusing(Code._FATAL)])
    assert sending.producer.send("H2", RECORD) == "experiment.vqe+0+0"
    assert [len(client.delivered) for client in sending.clients] == [0, 1]


def test_a_record_over_the_limit_is_refused_before_it_is_sent_with_size_and_limit(settings: KafkaSettings) -> None:
    sending = Sending(settings.model_copy(update={"max_message_bytes": 1024}))
    error = sending.error()
    assert isinstance(error, MessageTooLargeError) and "1024" in str(error) and "KAFKA_MAX_MESSAGE_BYTES" in str(error)
    assert not sending.client.attempts


def test_a_registry_that_is_down_is_tried_as_often_as_a_broker(settings: KafkaSettings, registry: Registry) -> None:
    registry.failure = (503, "{}")
    sending = Sending(settings.model_copy(update={"retries": 2}))
    assert isinstance(sending.error(), RegistryUnavailableError)
    registry.failure = None
    assert sending.producer.send("H2", RECORD) == "experiment.vqe+0+0"


def records(count: int) -> list[tuple[str, VQEDecoratedResult]]:
    return [("H2", VQEDecoratedResult.model_validate(plain_record(number))) for number in range(count)]


def test_many_records_are_on_their_way_at_once_and_each_has_its_outcome(settings: KafkaSettings) -> None:
    fates: list[Fate] = [None, Code.MSG_SIZE_TOO_LARGE, Code._MSG_TIMED_OUT, None]
    sending = Sending(settings, fates)
    outcomes = dict(sending.producer.send_all(records(5)))
    assert set(outcomes) == set(range(5))
    assert isinstance(outcomes[1], MessageTooLargeError)
    assert sorted(str(where) for index, where in outcomes.items() if index != 1) == [
        f"experiment.vqe+0+{offset}" for offset in range(4)
    ]
    size = len(sending.client.attempts[0][2])
    assert sending.client.most_bytes > 4 * size


def test_the_bytes_on_their_way_are_bounded_and_a_larger_record_goes_alone(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(Sending(settings).producer._value(RECORD))
    monkeypatch.setattr(producer_module, "MAX_BYTES_IN_FLIGHT", int(2.5 * size))
    sending = Sending(settings)
    assert len(list(sending.producer.send_all(records(9)))) == 9
    assert sending.client.most_bytes <= 2.5 * size
    monkeypatch.setattr(producer_module, "MAX_BYTES_IN_FLIGHT", size // 2)
    assert len(list(sending.producer.send_all(records(3)))) == 3


def test_a_record_that_cannot_be_made_a_message_does_not_stop_the_others(
    settings: KafkaSettings, registry: Registry
) -> None:
    small = settings.model_copy(update={"max_message_bytes": 8000})
    large = VQEDecoratedResult.model_validate(plain_record(evaluations=200))
    outcomes = dict(Sending(small).producer.send_all([("H2", large), ("H2", RECORD)]))
    assert isinstance(outcomes[0], MessageTooLargeError) and outcomes[1] == "experiment.vqe+0+0"


def test_without_confirmation_nobody_says_where_a_record_is(
    settings: KafkaSettings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.kafka.fake_client.FakeMessage.offset", lambda self: -1001)
    sending = Sending(settings.model_copy(update={"acks": "0"}))
    assert sending.producer.send("H2", RECORD) == "experiment.vqe, unconfirmed"
    assert "KAFKA_ACKS=0: Kafka may lose a record" in caplog.text


def test_leaving_the_context_waits_for_what_is_on_its_way(settings: KafkaSettings) -> None:
    sending = Sending(settings)
    with sending.producer as producer:
        next(producer.send_all(records(3)), None)
    assert len(sending.client.delivered) == 3


def test_delivery_says_where_the_record_is_or_raises_the_protocols_error(settings: KafkaSettings) -> None:
    delivery = KafkaDelivery(settings, Sending(settings).producer)
    assert not delivery.immediate
    assert delivery.deliver("H2", RECORD) == "experiment.vqe+0+0"
    failing = KafkaDelivery(settings, Sending(settings, [Code.UNKNOWN_TOPIC_OR_PART]).producer)
    with pytest.raises(DeliveryError, match=r"has no topic experiment\.vqe"):
        failing.deliver("H2", RECORD)
    failing.close()
