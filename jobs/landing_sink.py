"""The job landing_sink: what comes through Kafka lands in the raw object store, without a sink beside Dagster."""

import time

import dagster as dg
from pydantic import Field

from jobs.requests import IN_PROGRESS_TRUSTED_FOR
from jobs.run_limits import MAX_RUNTIME_TAG
from qpipe_resources.deployment import DeliveryResource, ObjectStoreResource
from qpipe_resources.kafka.resource import KafkaResource
from qpipe_resources.kafka.settings import KafkaSettings, load_kafka_settings

_TELL_SECONDS = 30.0


RUN_SECONDS = 3000.0
"""A run ends in time for the next one to go on with other code and settings, and before it counts as dead."""


class LandingConfig(dg.Config):
    """When a run of the sink ends."""

    until_caught_up: bool = Field(default=True, description="End when all has landed that was there at the start.")
    max_seconds: float = Field(
        default=RUN_SECONDS,
        gt=0,
        le=RUN_SECONDS,
        description="End after this time at the latest; what is left is for the next run.",
    )


@dg.op(
    pool="landing_sink",
    description="Consume the topic: an offset is committed once its message is durably put. Undecodable messages go to "
    "dead-letters/. A service that is down is waited for; where the run shall end, for two minutes.",
)
def land_messages(
    context: dg.OpExecutionContext,
    config: LandingConfig,
    object_store: ObjectStoreResource,
    delivery: DeliveryResource,
) -> None:
    """Run the sink inside Dagster's run; a cancelled run finishes what it has in hand."""
    from qpipe_assets.kafka_sink.sink import Sink, SinkProgress, SinkStalledError
    from qpipe_resources.kafka.consumer import ResultConsumer
    from qpipe_resources.kafka.serialization import RecordDeserializer

    kafka = _kafka_settings(delivery)
    sink = Sink(object_store.open(), RecordDeserializer(kafka), ResultConsumer(kafka), log=context.log.warning)
    told = time.monotonic()

    def tell(progress: SinkProgress) -> None:
        nonlocal told
        if time.monotonic() >= told + _TELL_SECONDS:
            told = time.monotonic()
            context.log.info(str(progress))

    try:
        done = sink.run(until_caught_up=config.until_caught_up, max_seconds=config.max_seconds, watch=tell)
    except SinkStalledError as error:
        raise dg.Failure(str(error)) from error
    context.add_output_metadata(
        {"landed": done.landed, "bytes": done.bytes, "dead_letters": done.dead_letters, "topic": kafka.topic}
    )


def _kafka_settings(delivery: DeliveryResource) -> KafkaSettings:
    """Those of the resource by which results leave; the environment's where they leave by another way."""
    return delivery.settings() if isinstance(delivery, KafkaResource) else load_kafka_settings()


@dg.job(
    description="What waits in Kafka into the raw object store. Run `qpipe sink` as a service where there is much.",
    # A run that was killed with its machine holds the pool until it is given up.
    tags={MAX_RUNTIME_TAG: str(round(IN_PROGRESS_TRUSTED_FOR.total_seconds()))},
)
def landing_sink() -> None:
    """One run of the sink."""
    land_messages()
