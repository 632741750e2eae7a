"""What the Kafka client's errors mean, with the remedy."""

from __future__ import annotations

import math
import time

from confluent_kafka import KafkaError as ClientError

from qpipe_resources.kafka.errors import (
    BrokerAuthenticationError,
    BrokerTlsError,
    BrokerUnavailableError,
    ClientConfigError,
    KafkaError,
    MessageTooLargeError,
    TopicError,
)
from qpipe_resources.kafka.settings import KafkaSettings

_TOO_LARGE = {ClientError.MSG_SIZE_TOO_LARGE, ClientError.RECORD_LIST_TOO_LARGE, ClientError.INVALID_MSG_SIZE}
_NO_TOPIC = {
    ClientError.UNKNOWN_TOPIC_OR_PART,
    ClientError._UNKNOWN_TOPIC,
    ClientError._UNKNOWN_PARTITION,
    ClientError.TOPIC_EXCEPTION,
}
_FORBIDDEN = {
    ClientError.TOPIC_AUTHORIZATION_FAILED,
    ClientError.CLUSTER_AUTHORIZATION_FAILED,
    ClientError.GROUP_AUTHORIZATION_FAILED,
}
_REFUSED = {
    ClientError._AUTHENTICATION,
    ClientError.SASL_AUTHENTICATION_FAILED,
    ClientError.UNSUPPORTED_SASL_MECHANISM,
    ClientError.ILLEGAL_SASL_STATE,
}
_NO_ANSWER = {
    ClientError._MSG_TIMED_OUT,
    ClientError._TIMED_OUT,
    ClientError._PURGE_QUEUE,
    ClientError._PURGE_INFLIGHT,
    ClientError._TRANSPORT,
    ClientError._ALL_BROKERS_DOWN,
    ClientError._RESOLVE,
    ClientError._WAIT_COORD,
}
_LATER = {
    ClientError.REQUEST_TIMED_OUT,
    ClientError.NETWORK_EXCEPTION,
    ClientError.LEADER_NOT_AVAILABLE,
    ClientError.NOT_LEADER_FOR_PARTITION,
    ClientError.BROKER_NOT_AVAILABLE,
    ClientError.REPLICA_NOT_AVAILABLE,
    ClientError.NOT_ENOUGH_REPLICAS,
    ClientError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ClientError.KAFKA_STORAGE_ERROR,
    ClientError.OUT_OF_ORDER_SEQUENCE_NUMBER,
    ClientError.UNKNOWN_PRODUCER_ID,
    ClientError.COORDINATOR_NOT_AVAILABLE,
    ClientError.COORDINATOR_LOAD_IN_PROGRESS,
    ClientError.NOT_COORDINATOR,
    ClientError._FATAL,
    ClientError._QUEUE_FULL,
}
_CAUSES = {ClientError._SSL, ClientError._RESOLVE, ClientError._TRANSPORT}
"""What the client reports of a single connection; that all brokers are down says less."""


class ConnectionLog:
    """What the client last reported about its connections: a message that times out does not know why.

    Attributes:
        reports: How many there were, to tell new ones.
    """

    def __init__(self) -> None:
        self.reports = 0
        self._last: dict[int, ClientError] = {}
        self._refused_at = -math.inf

    def add(self, error: ClientError) -> None:
        """Called by the client, from any of our threads that polls it."""
        self.reports += 1
        self._last.pop(error.code(), None)
        self._last[error.code()] = error
        if error.code() in _REFUSED:
            self._refused_at = time.monotonic()

    def clear(self) -> None:
        """The connection works: what was reported before explains nothing any more."""
        self._last.clear()
        self._refused_at = -math.inf

    def refused_since(self, moment: float) -> bool:
        """Whether a broker said since then (of `time.monotonic`) that we are not welcome; waiting will not help."""
        return self._refused_at >= moment

    def cause(self) -> ClientError | None:
        """The report that explains most: a refusal, else the last of a connection.

        The client does not repeat a report that it has made lately, so it counts until the connection works.
        """
        reports = list(reversed(self._last.values()))
        telling = [error for error in reports if error.code() in _CAUSES]
        return next((error for error in reports if error.code() in _REFUSED), telling[0] if telling else None)

    def trouble(self) -> ClientError | None:
        """Why no broker can be spoken to; None while there is hope for one of them."""
        down = self._last.get(ClientError._ALL_BROKERS_DOWN)
        cause = self.cause()
        if down or (cause is not None and cause.code() in {*_REFUSED, ClientError._SSL}):
            return cause or down
        return None


def broker_error(
    settings: KafkaSettings, error: ClientError, log: ConnectionLog, size: int | None = None
) -> KafkaError:
    """The error of a request to the brokers, with what the client reported about its connections.

    Args:
        settings: Name the brokers and the topic.
        error: The client's.
        log: Explains an answer that did not come.
        size: Bytes of the record that was to be sent.
    """
    cause = log.cause() if error.code() in _NO_ANSWER else None
    code, text = (cause or error).code(), (cause or error).str()
    brokers = f"Kafka at {settings.servers}"
    if code in _TOO_LARGE:
        return too_large(settings, size)
    if code in _NO_TOPIC:
        return TopicError(
            f"{brokers} has no topic {settings.topic} ({text}): create it, with --config "
            f"max.message.bytes={settings.max_message_bytes}, or correct QPIPE_TOPIC"
        )
    if code in _FORBIDDEN:
        return TopicError(f"{brokers} does not let this user use {settings.topic} ({text}): grant the access")
    if code in _REFUSED:
        return BrokerAuthenticationError(
            f"{brokers} refused to sign us in ({text}): check KAFKA_SASL_PLAIN_USERNAME, KAFKA_SASL_PLAIN_PASSWORD and "
            "KAFKA_SASL_MECHANISM against the broker's users"
        )
    if code == ClientError._SSL or (code == ClientError._TRANSPORT and "SSL" in text):
        return BrokerTlsError(
            f"no TLS connection with {brokers} ({text}): check the authority (KAFKA_SSL_CAFILE or ca.crt in "
            "KAFKA_SSL_DIR), our certificate and key, the host's name, and that this port speaks TLS"
        )
    return _other(settings, error, code, text, size)


def _other(settings: KafkaSettings, error: ClientError, code: int, text: str, size: int | None) -> KafkaError:
    brokers = f"Kafka at {settings.servers}"
    if code in _NO_ANSWER:
        silence = "does not answer" if size is None else f"did not confirm a record within {settings.timeout:g} s"
        return BrokerUnavailableError(
            f"{brokers} {silence} ({text}): start the broker, or correct KAFKA_SERVERS and the kind of connection "
            "(KAFKA_SSL, KAFKA_SASL_SSL)"
        )
    if code in _LATER:
        return BrokerUnavailableError(f"{brokers} cannot take messages now ({text}): look into its log and at its disk")
    return KafkaError(f"{brokers} refused the request ({error.name()}: {text}): look into its log")


def too_large(settings: KafkaSettings, size: int | None) -> MessageTooLargeError:
    """The error of a record that the client or the broker refuses for its size."""
    if size is not None and size > settings.max_message_bytes:
        return MessageTooLargeError(
            f"the record has {size} bytes as Avro, the limit is {settings.max_message_bytes}: raise "
            "KAFKA_MAX_MESSAGE_BYTES, max.message.bytes of the topic and message.max.bytes of the broker"
        )
    return MessageTooLargeError(
        f"Kafka at {settings.servers} refused a record of {size} bytes (before compression) on {settings.topic}: raise "
        f"max.message.bytes of the topic, or message.max.bytes of the broker, to {settings.max_message_bytes} or more"
    )


def config_error(error: ClientError) -> ClientConfigError:
    """The error of a client that could not be made."""
    text = error.str()
    if "GSSAPI" in text:
        return ClientConfigError(
            f"this Kafka client cannot do Kerberos ({text}): PyPI's confluent-kafka is built without libsasl2. Install "
            "it with --no-binary confluent-kafka against a librdkafka that has it, or use SCRAM"
        )
    return ClientConfigError(
        f"the Kafka client does not start ({text}): check KAFKA_SSL_PASSWORD, KAFKA_SSL_CIPHERS and the files of TLS"
    )
