"""Kafka for Dagster: how finished records leave, told in the run configuration or by the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, create_model

from qpipe_resources.deployment import DeliveryResource
from qpipe_resources.kafka.settings import SECRETS, VARIABLES, KafkaSettings, load_kafka_settings
from simulation.annotations import without_none

if TYPE_CHECKING:
    from qpipe_resources.delivery import Delivery
    from qpipe_resources.object_store import ObjectStore


class _KafkaDelivery(DeliveryResource):
    """Opens the delivery; the configuration is made below from the settings' declaration."""

    def settings(self) -> KafkaSettings:
        """What the configuration says, completed from the environment.

        Raises:
            KafkaSettingsError: a value cannot be used, or not with another.
        """
        return load_kafka_settings(self.model_dump(include=set(_config_fields())))

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Refuse settings that cannot be used before the step computes anything."""
        self.settings()

    def open(self, store: ObjectStore) -> Delivery:
        """See DeliveryResource."""
        from qpipe_resources.kafka.delivery import KafkaDelivery

        return KafkaDelivery(self.settings())


def _config_fields() -> dict[str, Any]:
    """Every setting that is no secret, optional: unset leaves it to its variable of the environment."""
    return {
        name: (
            _config_type(field.annotation) | None,
            Field(default=None, description=f"{field.description} Unset: {VARIABLES[name]}, or {field.default!r}."),
        )
        for name, field in KafkaSettings.model_fields.items()
        if name not in SECRETS
    }


def _config_type(annotation: Any) -> Any:
    """The type in which Dagster takes a setting; what it may be exactly is checked when the settings are made."""
    kind, _ = without_none(annotation)
    return kind if kind in (bool, int, float) else str


KafkaResource = create_model("KafkaResource", __base__=_KafkaDelivery, __module__=__name__, **_config_fields())
KafkaResource.__doc__ = "Through Kafka, into the raw object store by a sink."
