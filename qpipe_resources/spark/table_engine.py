"""Dagster's choice of Spark for the tables: a session for each run that needs one."""

from __future__ import annotations

import dagster as dg

from qpipe_resources.deployment import TableEngineResource
from qpipe_resources.spark.jars import require
from qpipe_resources.spark.resource import SparkResource
from qpipe_resources.spark.settings import load_spark_settings
from qpipe_resources.spark.source import SparkSource


class SparkTables(SparkResource, TableEngineResource):
    """The tables are computed by Spark, as QPIPE_SPARK_* describe it."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Refuse what no retry of a step can mend before there is one; the session is opened at first use."""
        super().setup_for_execution(context)
        self.require()

    def spark(self) -> SparkSource:
        """See TableEngineResource."""
        return self

    def require(self) -> None:
        """See SparkSource."""
        require(load_spark_settings())
