"""Spark for Dagster: dagster-pyspark's resource, opened at first use on our catalog and ended with the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_pyspark import PySparkResource
from pydantic import Field, PrivateAttr

from qpipe_resources.settings import load_settings
from qpipe_resources.spark.session import SparkDriver, open_spark
from qpipe_resources.spark.settings import load_spark_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class SparkResource(PySparkResource):
    """A Spark session as QPIPE_SPARK_* describe it; a run that does not use it starts nothing."""

    spark_config: dict[str, Any] = Field(
        default_factory=dict, description="Options of Spark that win over qpipe's, such as spark.executor.instances."
    )
    namespace: str = Field(default="quantum_features", description="Where plain table names are looked up.")
    _driver: SparkDriver | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Refuse settings that cannot be used before anything is computed; the session is opened at first use."""
        load_spark_settings()

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """End the session and its JVM."""
        self.close()

    def open(self) -> SparkDriver:
        """The run's driver; the first call opens it.

        Raises:
            SparkUnavailableError: pyspark, Java, the jars or the master is missing; names the remedy.
        """
        if self._driver is None:
            self._driver = open_spark(load_settings(), load_spark_settings(), self.namespace, _flat(self.spark_config))
        return self._driver

    def close(self) -> None:
        """End the session and its JVM, if there are any."""
        if self._driver is not None:
            driver, self._driver = self._driver, None
            driver.close()

    @property
    def spark_session(self) -> SparkSession:
        """The session, opened at first use."""
        return self.open().session


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value).lower() if isinstance(value, bool) else str(value)
    return flat
