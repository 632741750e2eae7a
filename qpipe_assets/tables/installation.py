"""One installation put together: object store, lakehouse and ledger, created at first use."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from qpipe_assets.tables import schemas
from qpipe_resources.object_store import ObjectStore
from qpipe_resources.settings import Settings, load_settings

if TYPE_CHECKING:
    from qpipe_assets.tables.discovery import Discovery, Limits
    from qpipe_assets.tables.engine import TableEngine
    from qpipe_assets.tables.ingest import Ingest
    from qpipe_assets.tables.ledger import Ledger
    from qpipe_assets.tables.maintenance import Retention
    from qpipe_assets.tables.maintenance_pass import Maintenance
    from qpipe_assets.tables.ml_features import MLFeatures
    from qpipe_resources.lakehouse import Lakehouse
    from qpipe_resources.spark.source import SparkSource

Log = Callable[[str], None]


def _silent(line: str) -> None:
    """Log nothing."""


@dataclass(frozen=True)
class Installation:
    """Everything that works on tables, for one set of settings; `spark` computes them where it is given."""

    settings: Settings
    store: ObjectStore
    lakehouse: Lakehouse
    spark: SparkSource | None = None

    @cached_property
    def ledger(self) -> Ledger:
        """What is processed."""
        from qpipe_assets.tables.ledger import Ledger

        return Ledger(self.lakehouse.engine)

    @property
    def limits(self) -> Limits:
        """Bounds on what is read."""
        from qpipe_assets.tables.discovery import Limits

        return Limits(self.settings.max_object_bytes, self.settings.batch_bytes)

    @property
    def retention(self) -> Retention:
        """Which snapshots' tags are kept."""
        from qpipe_assets.tables.maintenance import Retention

        settings = self.settings
        return Retention(settings.retained_batches, settings.retained_days, settings.expire_every)

    @property
    def discovery(self) -> Discovery:
        """Which raw objects there are."""
        from qpipe_assets.tables.discovery import Discovery

        return Discovery(self.store, self.ledger, self.limits)

    @cached_property
    def engine(self) -> TableEngine:
        """What computes the tables.

        Raises:
            SparkUnavailableError: Spark is to compute them, and this machine lacks what it needs.
        """
        if self.spark is None:
            from qpipe_assets.tables.embedded_engine import EmbeddedEngine

            return EmbeddedEngine(self.lakehouse, self.store, self.limits)
        from qpipe_assets.tables.spark_engine import SparkEngine
        from qpipe_resources.spark.settings import load_spark_settings

        return SparkEngine(self.lakehouse, self.store, self.limits, load_spark_settings().batch_bytes, self.spark)

    def ingest(self, log: Log = _silent) -> Ingest:
        """The ingest protocol over this installation."""
        from qpipe_assets.tables.ingest import Ingest

        return Ingest(self.lakehouse, self.store, self.ledger, self.limits, self.retention, self.engine, log)

    def ml_features(self, log: Log = _silent) -> MLFeatures:
        """The builder of the ML tables over this installation."""
        from qpipe_assets.tables.ml_features import MLFeatures

        return MLFeatures(self.lakehouse, self.ledger, self.retention, self.engine, log)

    def maintenance(self, log: Log = _silent) -> Maintenance:
        """The upkeep of this installation's tables."""
        from qpipe_assets.tables.maintenance_pass import Maintenance

        age = dt.timedelta(days=self.settings.orphan_days)
        return Maintenance(self.lakehouse, self.store, self.ledger, self.retention, age, log)


def open_installation(settings: Settings | None = None) -> Installation:
    """Open the installation that the environment (or `settings`) names, creating what is missing.

    Raises:
        SettingsError: an environment variable cannot be used.
        SchemaRefusedError: a table contradicts its declaration.
    """
    from qpipe_assets.tables.ledger_tables import create_ledger, has_ledger
    from qpipe_resources.opening import open_lakehouse, open_store

    settings = settings or load_settings()
    lakehouse = open_lakehouse(settings, schemas.NAMESPACE)
    lakehouse.ensure(schemas.ALL, has_ledger, create_ledger)
    return Installation(settings, open_store(settings), lakehouse, _spark(settings))


def _spark(settings: Settings) -> SparkSource | None:
    if settings.engine == "embedded":
        return None
    from qpipe_resources.spark.source import ProcessSpark

    return ProcessSpark(settings, schemas.NAMESPACE)
