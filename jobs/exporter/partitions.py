"""Metrics of the assets: which partitions were never materialized, and when each asset was last."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
from prometheus_client.core import GaugeMetricFamily

from qpipe_assets.partitions import MOLECULE_PARTITIONS


def partition_metrics(
    instance: dg.DagsterInstance, assets: list[dg.AssetKey], by_molecule: set[dg.AssetKey]
) -> Iterator[GaugeMetricFamily]:
    """The metrics now.

    Args:
        instance: Dagster's instance.
        assets: Keys of all assets.
        by_molecule: Those that are partitioned by molecule.
    """
    total = GaugeMetricFamily("qp_dagster_partitions", "Partitions of the asset", labels=("asset",))
    missing = GaugeMetricFamily(
        "qp_dagster_partitions_missing", "Partitions that were never materialized", labels=("asset",)
    )
    molecules = set(instance.get_dynamic_partitions(MOLECULE_PARTITIONS))
    for key in assets:
        if key in by_molecule:
            name = (key.to_user_string(),)
            total.add_metric(name, len(molecules))
            missing.add_metric(name, len(molecules - instance.get_materialized_partitions(key)))
    yield from (total, missing)

    materialized = GaugeMetricFamily(
        "qp_dagster_asset_timestamp_seconds", "When the asset was last materialized", labels=("asset",)
    )
    for record in instance.get_asset_records(assets):
        event = record.asset_entry.last_materialization
        if event is not None:
            materialized.add_metric((record.asset_entry.asset_key.to_user_string(),), event.timestamp)
    yield materialized
