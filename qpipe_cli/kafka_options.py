"""The Kafka flags of commands whose records may leave through Kafka, and what is asked by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from qpipe_cli.option_flags import FlagError, FlagGroup
from qpipe_resources.kafka.settings import SECRETS, VARIABLES, KafkaSettings, load_kafka_settings
from qpipe_resources.settings import load_settings

KAFKA = FlagGroup(
    KafkaSettings,
    "Kafka, with --kafka or QPIPE_ENV=services",
    prefix="kafka_",
    names={
        "kafka_retries": ("--internal-retries",),
        "ssl_check_hostname": ("--ssl-check-hostname/--disable-ssl-check-hostname",),
    },
    hidden=("group",),
    secret={name: VARIABLES[name] for name in SECRETS},
)

KafkaFlag = Annotated[
    bool, typer.Option("--kafka", help="Send records to Kafka; QPIPE_ENV=services does so by itself.")
]


def asked_settings(
    kafka: bool, given: Mapping[str, Any], loaded: Mapping[str, Any] | None = None
) -> KafkaSettings | None:
    """How the command is told to reach Kafka; None where it is told nothing, and the environment decides alone.

    Args:
        kafka: Whether --kafka was given.
        given: The values of flags, by parameter.
        loaded: The settings in a loaded file.

    Raises:
        FlagError: there are Kafka flags, but nothing goes to Kafka; or a secret was given as a flag.
        KafkaSettingsError: the settings cannot be used.
    """
    explicit = KAFKA.explicit(given)
    if explicit and not kafka and loaded is None and load_settings().env != "services":
        raise FlagError(f"{KAFKA.flag(next(iter(explicit)))} goes with --kafka, which is not given: give both")
    if not kafka and loaded is None and not explicit:
        return None
    return load_kafka_settings(dict(loaded or {}) | explicit, KAFKA.flag)


def without_secrets(settings: KafkaSettings | None) -> dict[str, Any] | None:
    """The settings as plain values for a file."""
    return None if settings is None else settings.model_dump(mode="json", exclude=set(SECRETS))
