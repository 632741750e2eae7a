"""Where a session comes from when one is needed: checked before any work, opened at first use."""

from __future__ import annotations

from typing import Protocol

from qpipe_resources.settings import Settings
from qpipe_resources.spark.jars import require
from qpipe_resources.spark.session import SparkDriver, open_spark
from qpipe_resources.spark.settings import load_spark_settings


class SparkSource(Protocol):
    """Who opens the session."""

    def require(self) -> None:
        """Refuse what is missing on this machine, at the cost of asking Java for its version.

        Raises:
            SparkUnavailableError: something is missing; names it and the remedy.
        """

    def open(self) -> SparkDriver:
        """The session's driver; the first call opens it."""


class ProcessSpark:
    """The session of a process that nobody ends before: its JVM goes with the process."""

    def __init__(self, settings: Settings, namespace: str) -> None:
        self._settings = settings
        self._namespace = namespace
        self._driver: SparkDriver | None = None

    def require(self) -> None:
        """See SparkSource."""
        require(load_spark_settings())

    def open(self) -> SparkDriver:
        """See SparkSource."""
        if self._driver is None:
            self._driver = open_spark(self._settings, load_spark_settings(), self._namespace)
        return self._driver

    def close(self) -> None:
        """End the session and its JVM, if there are any."""
        if self._driver is not None:
            driver, self._driver = self._driver, None
            driver.close()
