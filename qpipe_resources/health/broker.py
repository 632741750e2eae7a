"""Kafka: whether a broker lets us in, what it thinks of the topic, and how far the sink is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata, ConfigResource, TopicMetadata

from qpipe_resources.health.checks import ANSWER_SECONDS, Finding, counted, failed, fine, warning
from qpipe_resources.kafka.broker_errors import ConnectionLog, broker_error
from qpipe_resources.kafka.client_config import admin_config, consumer_config
from qpipe_resources.kafka.settings import KafkaSettings

_FRAMING_BYTES = 64 * 1024
"""Room that a topic's limit needs beyond a record: key, headers and the batch around it."""
_PARTITIONS_ASKED = 100
"""Partitions whose offsets are asked for one after the other."""
_COORDINATOR_MOVES = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
_PAUSE_SECONDS = 0.2

_Answer = TypeVar("_Answer")


def check_broker(settings: KafkaSettings) -> Finding:
    """Whether a broker answers, with this protocol and this user, and whether the client can do what it must."""
    settings = settings.model_copy(update={"timeout": ANSWER_SECONDS})
    missing = _missing_features(settings)
    if missing:
        return failed(
            f"this build of librdkafka lacks {missing}",
            "build confluent-kafka against a librdkafka that has it (pip install --no-binary confluent-kafka "
            "confluent-kafka), or choose another KAFKA_SASL_MECHANISM",
        )
    began = time.perf_counter()
    metadata = _Client(settings).metadata()
    latency = (time.perf_counter() - began) * 1000
    protocol = "TLS with SASL" if settings.sasl_ssl else "TLS" if settings.ssl else "no TLS"
    signed_in = f" {settings.sasl_mechanism}" if settings.sasl_ssl else ""
    return fine(
        f"{settings.servers}, {counted(len(metadata.brokers), 'broker')}, {protocol}{signed_in}, {latency:.0f} ms"
    )


def check_topic(settings: KafkaSettings) -> Finding:
    """Whether the topic is there, takes our largest record, and keeps it when a broker dies."""
    client = _Client(settings)
    topic = client.metadata().topics.get(settings.topic)
    if topic is None:
        return failed(
            f"no topic {settings.topic}",
            f"kafka-topics.sh --create --topic {settings.topic} --config max.message.bytes={_wanted(settings)} "
            "(make services makes it)",
        )
    config = client.topic_config(settings.topic)
    limit, in_sync = int(config["max.message.bytes"]), int(config["min.insync.replicas"])
    replicas = min(len(partition.replicas) for partition in topic.partitions.values())
    seen = (
        f"{settings.topic}, {counted(len(topic.partitions), 'partition')}, max.message.bytes {limit}, "
        f"{counted(replicas, 'replica')}, min.insync.replicas {in_sync}, kept for {_retention(config)}"
    )
    if limit < settings.max_message_bytes:
        return failed(
            seen,
            f"kafka-configs.sh --alter --entity-type topics --entity-name {settings.topic} --add-config "
            f"max.message.bytes={_wanted(settings)}: the largest results do not pass",
        )
    return _durability(settings, topic, seen, replicas, in_sync)


def check_sink(settings: KafkaSettings) -> Finding:
    """How many messages of the topic the sink's group has not landed yet, and whether any left before it could."""
    client = _Client(settings)
    topic = client.metadata().topics.get(settings.topic)
    if topic is None:
        return warning(f"not looked at: no topic {settings.topic}", "first put the topic right")
    behind, lost, ahead = _offsets(settings, topic)
    members = client.members(settings.group)
    seen = f"group {settings.group}, {counted(members, 'member')}, {counted(behind, 'message')} behind"
    if lost:
        return failed(
            f"{seen}, of which {lost} have left the topic",
            "qpipe replay --sent sends again what this machine computed; raise retention.ms of the topic",
        )
    if ahead:
        return failed(
            f"{seen}, {ahead} ahead of the topic's end: the broker has lost messages",
            # The objects of new messages at old offsets would take the places of the lost ones' objects.
            "offsets begin anew and objects are named by them: make a new topic, name it in QPIPE_TOPIC everywhere, "
            "then: qpipe replay --sent",
        )
    if behind and not members:
        return warning(seen, "start the sink: qpipe sink (another sink's group is named by KAFKA_GROUP)")
    return fine(seen)


class _Client:
    """An administrator of the cluster that remembers what went wrong while it waited."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._log = ConnectionLog()
        self._settings = settings
        self._admin = AdminClient(admin_config(settings) | {"error_cb": self._log.add})

    def metadata(self) -> ClusterMetadata:
        """The cluster's brokers and topics; asking for all of them creates none."""
        try:
            return self._admin.list_topics(timeout=ANSWER_SECONDS)
        except KafkaException as error:
            self._admin.poll(0)
            raise broker_error(self._settings, error.args[0], self._log) from error

    def topic_config(self, topic: str) -> dict[str, str]:
        """A topic's settings, defaults included."""
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        answer = self._admin.describe_configs([resource], request_timeout=ANSWER_SECONDS)[resource]
        return {name: entry.value for name, entry in answer.result(timeout=ANSWER_SECONDS).items()}

    def members(self, group: str) -> int:
        """Consumers that are in the group now."""

        def described() -> int:
            answer = self._admin.describe_consumer_groups([group], request_timeout=ANSWER_SECONDS)[group]
            return len(answer.result(timeout=ANSWER_SECONDS).members)

        return coordinated(described)


def coordinated(ask: Callable[[], _Answer]) -> _Answer:
    """What a group's coordinator answers: a cluster that has just started, or lost a broker, chooses one first."""
    end = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _COORDINATOR_MOVES or time.monotonic() >= end:
                raise
        time.sleep(_PAUSE_SECONDS)


def _missing_features(settings: KafkaSettings) -> str:
    mechanism = settings.sasl_mechanism or ""
    needed = {"zstd": True, "ssl": settings.tls, "sasl_plain": mechanism == "PLAIN"}
    needed |= {"sasl_scram": mechanism.startswith("SCRAM"), "sasl_gssapi": mechanism == "GSSAPI"}
    missing = []
    for feature in (name for name, asked in needed.items() if asked):
        try:
            # Setting this property is how an application asks: the client refuses what it cannot do.
            AdminClient({"builtin.features": feature, "logger": admin_config(settings)["logger"]})
        except KafkaException:
            missing.append(feature)
    return ", ".join(missing)


def _wanted(settings: KafkaSettings) -> int:
    return settings.max_message_bytes + _FRAMING_BYTES


def _retention(config: dict[str, str]) -> str:
    milliseconds = int(config["retention.ms"])
    return "ever" if milliseconds < 0 else f"{milliseconds / 86_400_000:.1f} days"


def _durability(settings: KafkaSettings, topic: TopicMetadata, seen: str, replicas: int, in_sync: int) -> Finding:
    leaderless = [number for number, partition in topic.partitions.items() if partition.leader < 0]
    if leaderless:
        return failed(f"{seen}; no leader for partitions {leaderless}", "start the brokers that hold them")
    short = [number for number, partition in topic.partitions.items() if len(partition.isrs) < in_sync]
    if short:
        return failed(f"{seen}; too few replicas in sync for partitions {short}", "start the brokers that hold them")
    if settings.acks != "all":
        return warning(f"{seen}; acks={settings.acks}", "set KAFKA_ACKS=all: a result can be lost with one broker")
    if replicas > 1 and in_sync < 2:
        return warning(seen, "set min.insync.replicas=2: a result is confirmed when one broker alone has it")
    return fine(seen)


def _offsets(settings: KafkaSettings, topic: TopicMetadata) -> tuple[int, int, int]:
    """Messages that are not landed, those of them that the topic has no more, and offsets committed past the end."""
    behind = lost = ahead = 0
    # Never subscribed: it joins no group and takes no partition from the sink.
    consumer = Consumer(consumer_config(settings, settings.group))
    try:
        numbers = sorted(topic.partitions)[:_PARTITIONS_ASKED]
        partitions = [TopicPartition(settings.topic, number) for number in numbers]
        for partition in coordinated(lambda: consumer.committed(partitions, timeout=ANSWER_SECONDS)):
            first, end = _range(consumer, partition)
            landed = partition.offset if partition.offset >= 0 else first
            behind += max(end - landed, 0)
            lost += max(min(first, end) - landed, 0)
            ahead += max(landed - end, 0)
    finally:
        consumer.close()
    return behind, lost, ahead


def _range(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    answer: Any = consumer.get_watermark_offsets(partition, timeout=ANSWER_SECONDS)
    if answer is None:
        raise TimeoutError(f"no broker told the offsets of {partition.topic} [{partition.partition}]")
    return answer[0], answer[1]
