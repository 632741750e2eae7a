"""What can go wrong with Kafka and its registry; each message names the service and the remedy, and no secret."""

from __future__ import annotations

from typing import ClassVar

from qpipe_resources.errors import ServiceError


class KafkaError(ServiceError):
    """Base of the family. `transient` says whether the same call can succeed later with nothing changed here."""

    transient: ClassVar[bool] = False


class BrokerUnavailableError(KafkaError):
    """No broker answered, or none confirmed in time."""

    transient = True


class BrokerAuthenticationError(KafkaError):
    """The broker refused who we are: user, password, mechanism or client certificate."""


class BrokerTlsError(BrokerAuthenticationError):
    """The TLS handshake failed: authority, host name, certificate or ciphers."""


class TopicError(KafkaError):
    """The topic does not exist, or is not ours to use."""


class MessageTooLargeError(KafkaError):
    """A record over the limit of the client, the topic or the broker."""


class ClientConfigError(KafkaError):
    """The Kafka client cannot do what the settings ask for."""


class RegistryUnavailableError(KafkaError):
    """The Schema Registry did not answer in a usable way; nothing is known about the schema."""

    transient = True


class RegistryAuthenticationError(RegistryUnavailableError):
    """The Schema Registry refused who we are. Messages must wait for it, as for a registry that is down."""

    transient = False


class SchemaRefusedError(KafkaError):
    """The Schema Registry refused our schema."""


class PoisonMessageError(KafkaError):
    """A message that will never be a record: `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the message is no record: {reason}")
        self.reason = reason
