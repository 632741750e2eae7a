"""Which outside world the assets work on: Dagster resources by QPIPE_ENV.

A resource reads the settings when it is used, never at import, and holds no secret in its configuration.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from qpipe_resources.object_store import FolderObjectStore, ObjectStore
from qpipe_resources.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from qpipe_resources.lakehouse import Lakehouse
    from qpipe_resources.simulation_workers import SimulationTask, WorkerPool
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


class LakehouseResource(dg.ConfigurableResource, ABC):
    """Where the Iceberg tables and the ledger lie."""

    @abstractmethod
    def open(self, namespace: str) -> Lakehouse:
        """The lakehouse that the settings name; connects at first use."""


class LocalLakehouse(LakehouseResource):
    """A SQLite catalog and a warehouse folder below QPIPE_HOME."""

    def open(self, namespace: str) -> Lakehouse:
        """See LakehouseResource."""
        from qpipe_resources.lakehouse import Lakehouse

        settings = load_settings()
        settings.home.mkdir(parents=True, exist_ok=True)
        return Lakehouse.in_folder(settings.catalog_database, settings.warehouse, namespace)


class SimulationWorkers(dg.ConfigurableResource):
    """The processes that compute VQE runs."""

    workers: int | None = Field(
        default=None, ge=1, description="Processes at once; QPIPE_WORKERS or the default when unset."
    )

    def pool(self) -> WorkerPool[SimulationTask, VQEDecoratedResult]:
        """The process-wide pool."""
        from qpipe_resources.simulation_workers import simulation_pool

        return simulation_pool(self.workers or load_settings().workers)


RESOURCES: dict[str, dict[str, dg.ConfigurableResource]] = {
    "local": {
        "object_store": FolderStore(),
        "lakehouse": LocalLakehouse(),
        "simulation_workers": SimulationWorkers(),
    },
}


def resources_for(env: str) -> Mapping[str, dg.ConfigurableResource]:
    """The resources of one environment.

    Raises:
        SettingsError: there is no such environment; names those there are.
    """
    if env not in RESOURCES:
        raise SettingsError(f"QPIPE_ENV={env!r}: expected one of {', '.join(sorted(RESOURCES))}")
    return RESOURCES[env]
