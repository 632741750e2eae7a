"""The settings in the words of the Kafka client (librdkafka's properties) and of the registry's client."""

from __future__ import annotations

import logging
from typing import Any

from qpipe_resources.kafka.settings import KafkaSettings

_FRAMING_BYTES = 16 * 1024
"""Room for the key and the protocol around a record, so that the limit is the record's own."""

_TLS_PROPERTIES = {
    "ssl_cafile": "ssl.ca.location",
    "ssl_certfile": "ssl.certificate.location",
    "ssl_keyfile": "ssl.key.location",
    "ssl_crlfile": "ssl.crl.location",
}


class _ClientLog:
    """Takes the client's own lines, which otherwise go to stderr at every attempt to reconnect.

    What they say reaches the user as a typed error; here it is for debugging.
    """

    _log = logging.getLogger(__name__)

    def log(self, level: int, text: str, *arguments: object) -> None:
        """Called by the client as a logger's `log`; its levels are not ours."""
        self._log.debug(text, *arguments)


def producer_config(settings: KafkaSettings) -> dict[str, Any]:
    """Properties of a producer: idempotent unless the settings forbid it, confirmed as they say, compressed."""
    milliseconds = round(settings.timeout * 1000)
    return _connection(settings) | {
        "acks": settings.acks,
        "enable.idempotence": settings.idempotent,
        "retries": settings.kafka_retries,
        "message.timeout.ms": milliseconds,
        "request.timeout.ms": min(30_000, milliseconds),
        # Half of the time for a topic that is just being created; a missing one is then reported as missing.
        "topic.metadata.propagation.max.ms": milliseconds // 2,
        # A topic that the broker made up would have its small default limit, and no one would notice for weeks.
        "allow.auto.create.topics": False,
        "compression.type": "zstd",
        "linger.ms": 2,
        # As Java producers: the same molecule lies in the same partition, whoever wrote it.
        "partitioner": "murmur2_random",
    }


def consumer_config(settings: KafkaSettings, group: str) -> dict[str, Any]:
    """Properties of a consumer that starts at the oldest message and commits offsets only when told to."""
    return _connection(settings) | {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        # The partitions of a member that was killed move on within seconds.
        "session.timeout.ms": 10_000,
        "socket.timeout.ms": 30_000,
        # A topic that is created later is found.
        "topic.metadata.refresh.interval.ms": 5_000,
        "fetch.max.bytes": settings.max_message_bytes + _FRAMING_BYTES,
        "queued.max.messages.kbytes": max(65_536, settings.max_message_bytes // 1024),
    }


def admin_config(settings: KafkaSettings) -> dict[str, Any]:
    """Properties of a client that asks about topics and brokers."""
    return _connection(settings)


def registry_config(settings: KafkaSettings) -> dict[str, Any]:
    """Properties of the registry's client."""
    properties: dict[str, Any] = {
        "url": settings.registry_url,
        "timeout": settings.timeout,
        "max.retries": 2,
        "retries.wait.ms": 200,
    }
    if settings.registry_auth is not None:
        properties["basic.auth.user.info"] = settings.registry_auth.get_secret_value()
    if settings.registry_cafile is not None:
        properties["ssl.ca.location"] = str(settings.registry_cafile.expanduser())
    return properties


def _connection(settings: KafkaSettings) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.servers,
        "client.id": "qpipe",
        "logger": _ClientLog(),
        "message.max.bytes": settings.max_message_bytes + _FRAMING_BYTES,
        # A broker that comes back is found within the time of an attempt; the default waits up to 10 s.
        "reconnect.backoff.max.ms": 1000,
    } | _security(settings)


def _security(settings: KafkaSettings) -> dict[str, Any]:
    if not settings.tls:
        return {"security.protocol": "PLAINTEXT"}
    properties: dict[str, Any] = {
        "security.protocol": "SASL_SSL" if settings.sasl_ssl else "SSL",
        "ssl.endpoint.identification.algorithm": "https" if settings.ssl_check_hostname else "none",
    }
    properties |= {_TLS_PROPERTIES[field]: str(path) for field, path in settings.tls_files.items()}
    if settings.ssl_ciphers is not None:
        properties["ssl.cipher.suites"] = settings.ssl_ciphers
    if settings.ssl_password is not None:
        properties["ssl.key.password"] = settings.ssl_password.get_secret_value()
    return properties | (_sasl(settings) if settings.sasl_ssl else {})


def _sasl(settings: KafkaSettings) -> dict[str, Any]:
    if settings.sasl_mechanism == "GSSAPI":
        return {"sasl.mechanism": "GSSAPI", "sasl.kerberos.service.name": settings.sasl_kerberos_service_name}
    assert settings.sasl_plain_password is not None
    return {
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_plain_username,
        "sasl.password": settings.sasl_plain_password.get_secret_value(),
    }
