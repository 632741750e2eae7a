"""The exporter of an installation: what it looks at."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from jobs.exporter.automation import automation_metrics, declared_by
from jobs.exporter.exporter import Exporter, Part, Sweeper
from jobs.exporter.partitions import partition_metrics
from jobs.exporter.runs import RunsMetrics
from qpipe_assets.partitions import molecule
from qpipe_resources.push_gateway import delete_stale

if TYPE_CHECKING:
    from pydantic import SecretStr

SWEEP_SECONDS = 60.0
"""Between two sweeps, unless a lifetime is short."""


def build_exporter(
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    sweeper: Sweeper | None = None,
) -> Exporter:
    """An exporter that has not looked yet.

    Args:
        instance: Dagster's instance.
        definitions: Whose jobs, assets, sensors and schedules to tell of.
        sweeper: Who keeps the PushGateway free of stale groups, None where there is no gateway.
    """
    jobs = [job.name for job in definitions.resolve_all_job_defs()]
    graph = definitions.resolve_asset_graph()
    assets = sorted(graph.materializable_asset_keys)
    by_molecule = {key for key in assets if graph.get(key).partitions_def == molecule}
    runs, declared = RunsMetrics(instance, jobs), declared_by(definitions)
    parts: dict[str, Part] = {
        "runs": runs.collect,
        "automation": lambda: automation_metrics(instance, declared),
        "partitions": lambda: partition_metrics(instance, assets, by_molecule),
    }
    if sweeper is not None:
        parts["pushgateway"] = sweeper
    return Exporter(parts)


def gateway_sweeper(gateway: SecretStr, lifetimes: Mapping[str, float]) -> Sweeper:
    """Who deletes what is stale on a gateway.

    Args:
        gateway: Its URL.
        lifetimes: Seconds by the beginning of the job's name.
    """
    every = min(SWEEP_SECONDS, min(lifetimes.values()) / 10)
    return Sweeper(lambda: len(delete_stale(gateway, lifetimes, time.time())), every)
