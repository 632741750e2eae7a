"""Spark's options for a session of ours: from the settings, and what the caller adds; no secret is among them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from qpipe_resources.spark.errors import SparkRefusedError
from qpipe_resources.spark.jars import ARTIFACTS
from qpipe_resources.spark.settings import SparkSettings

SECRET_NAMES = r"(?i)secret|passw(or)?d|passphrase|token|access[._-]?key|api[._-]?key|jaas"
"""Options whose values Spark shows to nobody, in its page, its event log and its answers to SET."""
SECRETS_IN_TEXT = r"(?<=://)[^/@\s]*:[^/@\s]*(?=@)"
"""What it takes out of plans: user and password of a URL."""

_PARTS_OF_THE_SDK = (
    *("bundle", "s3", "sdk-core", "utils", "annotations", "regions", "aws-core", "json-utils", "protocol-core", "auth"),
    "http-client-spi",
)
_EXCLUDED = (
    "org.checkerframework:checker-qual",
    "org.wildfly.openssl:wildfly-openssl",
    "software.amazon.awssdk.crt:aws-crt",
    "software.amazon.s3.analyticsaccelerator:analyticsaccelerator-s3",
    *(f"software.amazon.awssdk:{part}" for part in _PARTS_OF_THE_SDK),
)
"""What the artifacts would bring, and Iceberg's bundle has."""
_LOOPBACK = "127.0.0.1"


def session_options(spark: SparkSettings) -> dict[str, str]:
    """Options that hold for every session, wherever it computes; they can be set when it is open."""
    return {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(spark.shuffle_partitions),
        "spark.sql.adaptive.enabled": str(spark.adaptive).lower(),
    }


def driver_options(spark: SparkSettings, jars: list[Path]) -> dict[str, str]:
    """Options that a driver of ours starts with."""
    options = {
        "spark.driver.memory": spark.driver_memory,
        "spark.executor.memory": spark.executor_memory,
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.redaction.regex": SECRET_NAMES,
        "spark.redaction.string.regex": SECRETS_IN_TEXT,
        "spark.ui.enabled": str(spark.ui).lower(),
        "spark.ui.showConsoleProgress": "false",
        # One program's failing task is tried on; a decoding error is an answer, not an exception.
        "spark.task.maxFailures": "4",
    }
    if is_on_loopback(spark):
        options |= {"spark.driver.host": _LOOPBACK, "spark.driver.bindAddress": _LOOPBACK}
    if spark.executor_cores is not None:
        options["spark.executor.cores"] = str(spark.executor_cores)
    if spark.archives:
        options["spark.archives"] = spark.archives
    if spark.event_log:
        options |= {"spark.eventLog.enabled": "true", "spark.eventLog.dir": spark.event_log}
    return options | _jar_options(spark, jars)


def _jar_options(spark: SparkSettings, jars: list[Path]) -> dict[str, str]:
    if not jars:
        return {"spark.jars.packages": ",".join(ARTIFACTS), "spark.jars.excludes": ",".join(_EXCLUDED)}
    if is_on_loopback(spark):
        # On the class path nothing is copied, which spark.jars does for every executor.
        path = ":".join(map(str, jars))
        return {"spark.driver.extraClassPath": path, "spark.executor.extraClassPath": path}
    return {"spark.jars": ",".join(jar.as_uri() for jar in jars)}


def is_on_loopback(spark: SparkSettings) -> bool:
    """Whether everything runs on this machine, so that nothing needs to listen to others."""
    return spark.is_local or urlsplit(spark.master).hostname in ("localhost", _LOOPBACK)


def checked(options: Mapping[str, str]) -> dict[str, str]:
    """Options of the caller that hold no secret.

    Raises:
        SparkRefusedError: one is for a secret.
    """
    for name, value in options.items():
        if re.search(SECRET_NAMES, name) or re.search(SECRETS_IN_TEXT, str(value)):
            raise SparkRefusedError(
                f"Spark option {name} is for a secret: leave it out; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
                "PGPASSWORD are taken from the environment of the driver and of the workers"
            )
    return {name: str(value) for name, value in options.items()}
