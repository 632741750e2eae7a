"""A Dagster deployment of its own for each test: a home, an instance with the catalogue's partitions, the jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from jobs.definitions import build_defs
from qpipe_assets.partitions import add_catalogue
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.settings import Settings, load_settings
from tests.dagster_layer.fake_simulation import fake_workers_class
from tests.synthetic import plain_record


@dataclass
class Deployment:
    """What a test works with."""

    instance: dg.DagsterInstance
    definitions: dg.Definitions
    settings: Settings

    @property
    def installation(self) -> Installation:
        return open_installation(self.settings)

    def drop(self, number: int, molecule: str = "LiH", **shape: int) -> Path:
        """Copy an external writer's record into the raw folder."""
        folder = self.settings.raw_results / "experiments" / "experiment.vqe"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number}-{molecule}.json"
        path.write_text(json.dumps(plain_record(number, molecule, **shape)))
        return path

    def run(
        self, job: str, partition: str, config: Mapping[str, Any] | None = None, **options: Any
    ) -> dg.ExecuteInProcessResult:
        """Execute a job for a molecule, as the demo does."""
        ops = {"ops": {name: {"config": dict(value)} for name, value in (config or {}).items()}}
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, partition_key=partition, run_config=ops, raise_on_error=False, **options
        )

    def ingest(self, *molecules: str) -> None:
        """Bring all tables up to date without Dagster."""
        for molecule in molecules:
            self.installation.ingest().run(molecule)
            self.installation.ml_features().run(molecule)

    def rows(self) -> dict[str, int]:
        """Rows of every table."""
        names = schemas.names(schemas.ALL)
        counts = ", ".join(f"(select count(*) from {name}) as {name}" for name in names)
        return self.installation.lakehouse.sql(f"select {counts}", names).to_pylist()[0]

    def snapshots(self) -> dict[str, int]:
        """Snapshots of every table."""
        lakehouse = self.installation.lakehouse
        return {name: len(lakehouse.load(name).snapshots()) for name in schemas.names(schemas.ALL)}


@pytest.fixture
def deployment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """A deployment whose simulation is fake and whose instance lies in memory."""
    monkeypatch.setenv("QPIPE_HOME", str(settings.home))
    with dg.DagsterInstance.ephemeral() as instance:
        yield _deployment(instance)


@pytest.fixture
def persistent(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """The same with an instance on disk, which sensors and schedules ask for."""
    monkeypatch.setenv("QPIPE_HOME", str(settings.home))
    with dg.instance_for_test() as instance:
        yield _deployment(instance)


@pytest.fixture
def on_spark(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """A deployment whose tables Spark computes."""
    for name, value in {
        "HOME": str(settings.home),
        "ENGINE": "spark",
        "SPARK_MASTER": "local[2]",
        "SPARK_DRIVER_MEMORY": "700m",
        "SPARK_SHUFFLE_PARTITIONS": "2",
    }.items():
        monkeypatch.setenv(f"QPIPE_{name}", value)
    with dg.DagsterInstance.ephemeral() as instance:
        yield _deployment(instance)


def _deployment(instance: dg.DagsterInstance) -> Deployment:
    add_catalogue(instance)
    definitions = build_defs({"simulation_workers": fake_workers_class()()})
    return Deployment(instance, definitions, load_settings())
