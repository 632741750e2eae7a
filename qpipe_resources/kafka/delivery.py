"""Delivery through Kafka: a record has left when the brokers keep it; a sink makes it an object later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qpipe_resources.delivery import DeliveryError
from qpipe_resources.kafka.errors import KafkaError
from qpipe_resources.kafka.producer import ResultProducer

if TYPE_CHECKING:
    from qpipe_resources.kafka.settings import KafkaSettings
    from simulation.record import VQEDecoratedResult


class KafkaDelivery:
    """Onto the topic that the settings name.

    Raises:
        ClientConfigError: the client cannot do what the settings ask for; before anything is computed.
    """

    immediate = False

    def __init__(self, settings: KafkaSettings, producer: ResultProducer | None = None) -> None:
        self._producer = producer or ResultProducer(settings)

    def deliver(self, molecule: str, record: VQEDecoratedResult) -> str:
        """See Delivery."""
        try:
            return self._producer.send(molecule, record)
        except KafkaError as error:
            raise DeliveryError(str(error)) from error

    def close(self) -> None:
        """See Delivery."""
        self._producer.close()
