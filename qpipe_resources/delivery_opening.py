"""The way by which results leave, opened as QPIPE_ENV says (opening.py has the table); knows no Dagster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qpipe_resources.delivery import Delivery, StoreDelivery

if TYPE_CHECKING:
    from qpipe_resources.object_store import ObjectStore
    from qpipe_resources.settings import Settings


def open_delivery(settings: Settings, store: ObjectStore) -> Delivery:
    """The way out, to be closed after use; `store` is the raw object store."""
    if settings.env != "services":
        return StoreDelivery(store, settings.topic)
    from qpipe_resources.kafka.delivery import KafkaDelivery
    from qpipe_resources.kafka.settings import load_kafka_settings

    return KafkaDelivery(load_kafka_settings())
