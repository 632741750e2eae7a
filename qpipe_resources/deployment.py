"""Which outside world the assets work on: Dagster resources by QPIPE_ENV.

A resource reads the settings when it is used, never at import, and holds no secret in its configuration.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from qpipe_resources.delivery import Delivery, StoreDelivery
from qpipe_resources.object_store import FolderObjectStore, ObjectStore
from qpipe_resources.settings import load_settings

if TYPE_CHECKING:
    from qpipe_resources.lakehouse import Lakehouse
    from qpipe_resources.simulation_task import SimulationTask
    from qpipe_resources.simulation_workers import WorkerPool
    from qpipe_resources.spark.source import SparkSource
    from simulation.record import VQEDecoratedResult


class ObjectStoreResource(dg.ConfigurableResource, ABC):
    """Where raw results land."""

    @abstractmethod
    def open(self) -> ObjectStore:
        """The store that the settings name."""


class FolderStore(ObjectStoreResource):
    """The raw results in a folder below QPIPE_HOME."""

    def open(self) -> ObjectStore:
        """See ObjectStoreResource."""
        return FolderObjectStore(load_settings().raw_results)


class S3Store(ObjectStoreResource):
    """The raw results in a bucket of Garage or any other S3."""

    def open(self) -> ObjectStore:
        """See ObjectStoreResource."""
        from qpipe_resources.opening import open_s3_store

        return open_s3_store(load_settings())


class LakehouseResource(dg.ConfigurableResource, ABC):
    """Where the Iceberg tables and the ledger lie."""

    @abstractmethod
    def open(self, namespace: str) -> Lakehouse:
        """The lakehouse that the settings name; connects at first use."""


class LocalLakehouse(LakehouseResource):
    """A SQLite catalog and a warehouse folder below QPIPE_HOME."""

    def open(self, namespace: str) -> Lakehouse:
        """See LakehouseResource."""
        from qpipe_resources.opening import open_local_lakehouse

        return open_local_lakehouse(load_settings(), namespace)


class S3Lakehouse(LakehouseResource):
    """A catalog on PostgreSQL and a warehouse in an S3 bucket."""

    def open(self, namespace: str) -> Lakehouse:
        """See LakehouseResource."""
        from qpipe_resources.opening import open_s3_lakehouse

        return open_s3_lakehouse(load_settings(), namespace)


class TableEngineResource(dg.ConfigurableResource, ABC):
    """What computes the tables."""

    @abstractmethod
    def spark(self) -> SparkSource | None:
        """Who opens the Spark session that computes them; None where the process itself does."""


class EmbeddedTables(TableEngineResource):
    """The tables are computed by the process itself."""

    def spark(self) -> None:
        """See TableEngineResource."""


class DeliveryResource(dg.ConfigurableResource, ABC):
    """How finished records leave."""

    @abstractmethod
    def open(self, store: ObjectStore) -> Delivery:
        """The way out, to be closed after use; `store` is the raw object store."""


class DirectDelivery(DeliveryResource):
    """Straight into the raw object store."""

    def open(self, store: ObjectStore) -> Delivery:
        """See DeliveryResource."""
        return StoreDelivery(store, load_settings().topic)


class SimulationWorkers(dg.ConfigurableResource):
    """The processes that compute VQE runs."""

    workers: int | None = Field(
        default=None, ge=1, description="Processes at once; QPIPE_WORKERS or the default when unset."
    )

    def pool(self) -> WorkerPool[SimulationTask, VQEDecoratedResult]:
        """The process-wide pool."""
        from qpipe_resources.simulation_workers import simulation_pool

        return simulation_pool(self.workers or load_settings().workers)


def resources_for(env: str, engine: str = "embedded") -> Mapping[str, dg.ConfigurableResource]:
    """The resources of one environment and one table engine: choices of QPIPE_ENV and QPIPE_ENGINE (settings.py)."""
    from qpipe_resources.kafka.resource import KafkaResource

    local = env == "local"
    return {
        "object_store": FolderStore() if local else S3Store(),
        "lakehouse": LocalLakehouse() if local else S3Lakehouse(),
        "delivery": KafkaResource() if env == "services" else DirectDelivery(),
        "simulation_workers": SimulationWorkers(),
        "table_engine": _table_engine(engine),
    }


def _table_engine(engine: str) -> TableEngineResource:
    if engine == "embedded":
        return EmbeddedTables()
    from qpipe_resources.spark.jars import require_pyspark

    require_pyspark()
    from qpipe_resources.spark.table_engine import SparkTables

    return SparkTables()
