"""The exporter of an installation: what it looks at."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import dagster as dg

from jobs.exporter.automation import automation_metrics
from jobs.exporter.exporter import Exporter, Part, Sweeper
from jobs.exporter.partitions import partition_metrics
from jobs.exporter.runs import RunsMetrics
from qpipe_assets.partitions import molecule
from qpipe_resources.exporter_settings import ExporterSettings
from qpipe_resources.push_gateway import delete_stale

if TYPE_CHECKING:
    from pydantic import SecretStr


def build_exporter(
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    settings: ExporterSettings,
    gateway: SecretStr | None = None,
) -> Exporter:
    """An exporter that has not looked yet.

    Args:
        instance: Dagster's instance.
        definitions: Whose jobs and assets to tell of.
        settings: For how long pushed metrics live.
        gateway: PushGateway to sweep, None for none.
    """
    jobs = [job.name for job in definitions.resolve_all_job_defs()]
    graph = definitions.resolve_asset_graph()
    assets = sorted(graph.materializable_asset_keys)
    by_molecule = {key for key in assets if graph.get(key).partitions_def == molecule}
    runs = RunsMetrics(instance, jobs)
    parts: dict[str, Part] = {
        "runs": runs.collect,
        "automation": lambda: automation_metrics(instance),
        "partitions": lambda: partition_metrics(instance, assets, by_molecule),
    }
    if gateway is not None:
        parts["pushgateway"] = Sweeper(lambda: len(delete_stale(gateway, settings.lifetimes, time.time())))
    return Exporter(parts)
