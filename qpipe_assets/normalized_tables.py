"""The nine normalized tables as one asset that can be subset, and their audit table."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from qpipe_assets.connection import connect
from qpipe_assets.landing import Landing
from qpipe_assets.retries import RETRIES, storage_step
from qpipe_assets.table_metadata import commit_metadata, table_metadata, table_spec
from qpipe_assets.tables import schemas
from qpipe_resources.deployment import LakehouseResource, ObjectStoreResource, TableEngineResource

NORMALIZED_GROUP = "normalized"
AUDIT_GROUP = "audit"


class NormalizedTablesConfig(dg.Config):
    """How to bring the tables up to date."""

    rebuild: bool = Field(
        False, description="Delete the molecule's rows from every table and take all its objects again."
    )


@dg.multi_asset(
    specs=[table_spec(table, NORMALIZED_GROUP) for table in schemas.NORMALIZED],
    can_subset=True,
    retry_policy=RETRIES,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def normalized_tables(
    context: dg.AssetExecutionContext,
    config: NormalizedTablesConfig,
    object_store: ObjectStoreResource,
    lakehouse: LakehouseResource,
    table_engine: TableEngineResource,
) -> Iterator[dg.MaterializeResult]:
    """Ingest what is new for the molecules into the selected tables; a subset leaves its batches open."""
    with storage_step(context):
        installation = connect(object_store, lakehouse, table_engine)
        ingest = installation.ingest(context.log.info)
        selected = [table for table in schemas.NORMALIZED if dg.AssetKey(table.name) in context.selected_asset_keys]
        for partition in context.partition_keys:
            report = ingest.run(partition, schemas.names(selected), rebuild=config.rebuild)
            Landing(
                installation.store,
                installation.settings,
                partition,
                ledger=installation.ledger,
                log=context.log.warning,
            ).forget_arrived()
            about_run: dict[str, Any] = {
                "batches": report.batches,
                "duplicates": report.duplicates,
                "quarantined": report.quarantined,
            }
            if report.warnings:
                about_run["warnings"] = report.warnings
            for warning in report.warnings:
                context.log.warning(f"{partition}: {warning}")
            for table in selected:
                metadata = {"rows_added": report.rows[table.name]} | commit_metadata(report.latest.get(table.name))
                context.add_asset_metadata(metadata | about_run, asset_key=table.name, partition_key=partition)
        for table in selected:
            yield dg.MaterializeResult(asset_key=table.name, metadata=table_metadata(table, installation))


@dg.multi_asset(
    specs=[table_spec(schemas.PROCESSING_METADATA, AUDIT_GROUP)],
    retry_policy=RETRIES,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def processing_metadata(
    context: dg.AssetExecutionContext, object_store: ObjectStoreResource, lakehouse: LakehouseResource
) -> dg.MaterializeResult:
    """Report the audit of the molecules' batches: the newest row, and the batches that are still open."""
    with storage_step(context):
        installation = connect(object_store, lakehouse)
        table = schemas.PROCESSING_METADATA
        for partition in context.partition_keys:
            commit = installation.ledger.latest_commits(table.name, partition)
            open_batches = [batch.batch_id for batch in installation.ledger.open_batches(partition)]
            metadata = commit_metadata(commit) | {"open_batches": open_batches}
            context.add_asset_metadata(metadata, asset_key=table.name, partition_key=partition)
        return dg.MaterializeResult(metadata=table_metadata(table, installation))
