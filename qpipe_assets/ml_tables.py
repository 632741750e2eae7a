"""The two ML tables as one asset that can be subset; the daemon keeps them up to date by itself."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from qpipe_assets.connection import connect
from qpipe_assets.retries import ML_RETRIES, storage_step
from qpipe_assets.table_metadata import commit_metadata, table_metadata, table_spec
from qpipe_assets.tables import schemas
from qpipe_resources.deployment import LakehouseResource, ObjectStoreResource, TableEngineResource

# Eager never catches up on what was materialized before the daemon's first tick, and what it misses the ledger still
# knows: each run builds all finished batches that are missing, and the new-object sensor asks for them as well.
_WHEN_SOURCES_CHANGE = dg.AutomationCondition.eager()


@dg.multi_asset(
    specs=[table_spec(table, "ml", _WHEN_SOURCES_CHANGE) for table in schemas.ML],
    can_subset=True,
    retry_policy=ML_RETRIES,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def ml_tables(
    context: dg.AssetExecutionContext,
    object_store: ObjectStoreResource,
    lakehouse: LakehouseResource,
    table_engine: TableEngineResource,
) -> Iterator[dg.MaterializeResult]:
    """Build the selected ML tables for every finished batch that they lack."""
    with storage_step(context):
        installation = connect(object_store, lakehouse, table_engine)
        features = installation.ml_features(context.log.info)
        selected = [table for table in schemas.ML if dg.AssetKey(table.name) in context.selected_asset_keys]
        for partition in context.partition_keys:
            report = features.run(partition, schemas.names(selected))
            for warning in report.warnings:
                context.log.warning(f"{partition}: {warning}")
            about_run: dict[str, Any] = {"batches": report.batches}
            if report.warnings:
                about_run["warnings"] = report.warnings
            for table in selected:
                metadata = {"rows_added": report.rows[table.name]} | commit_metadata(report.latest.get(table.name))
                context.add_asset_metadata(metadata | about_run, asset_key=table.name, partition_key=partition)
        for table in selected:
            yield dg.MaterializeResult(asset_key=table.name, metadata=table_metadata(table, installation))
