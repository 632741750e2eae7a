"""The results' topic: `python -m deploy.setup.kafka` reads KAFKA_SERVERS, QPIPE_TOPIC, KAFKA_MAX_MESSAGE_BYTES."""

from __future__ import annotations

import os

from deploy.setup.variables import need

PARTITIONS = 3


def make_topic(servers: str, topic: str, max_message_bytes: int) -> bool:
    """Make the topic where it is missing; returns whether it was.

    Args:
        servers: Brokers to start from, HOST:PORT joined by commas.
        topic: Its name.
        max_message_bytes: The largest message that it takes.
    """
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": servers})
    if topic in admin.list_topics(timeout=30).topics:
        return False
    new = NewTopic(topic, PARTITIONS, 1, config={"max.message.bytes": str(max_message_bytes)})
    for future in admin.create_topics([new]).values():
        future.result(30)
    return True


def main() -> None:
    """Make the topic and say so."""
    largest = int(os.environ.get("KAFKA_MAX_MESSAGE_BYTES") or 64 * 1024 * 1024)
    topic = need("QPIPE_TOPIC")
    made = make_topic(need("KAFKA_SERVERS"), topic, largest)
    print(f"Kafka: topic {topic} {'made' if made else 'was there'}")


if __name__ == "__main__":
    main()
