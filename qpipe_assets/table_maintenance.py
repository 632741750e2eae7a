"""Maintenance of the tables as an asset of its own: small files, old snapshots and orphan files, all tables at once."""

import dataclasses
import datetime as dt

import dagster as dg
from pydantic import Field

from qpipe_assets.connection import connect
from qpipe_assets.retries import RETRIES, storage_step
from qpipe_assets.tables import schemas
from qpipe_resources.deployment import LakehouseResource, ObjectStoreResource


class TableMaintenanceConfig(dg.Config):
    """Which tables, and whether anything is changed."""

    dry_run: bool = Field(False, description="Change nothing, report what would be done.")
    tables: list[str] = Field([], description="Names of the tables; all when empty.")


# No dependency on the tables: an edge to a molecule's partition would ask for maintenance after every batch.
@dg.asset(
    group_name="maintenance",
    kinds={"iceberg"},
    retry_policy=RETRIES,
    # Every night at 5: late where it has not run by half past six.
    freshness_policy=dg.FreshnessPolicy.cron("30 6 * * *", dt.timedelta(hours=1, minutes=30)),
)
def table_maintenance(
    context: dg.AssetExecutionContext,
    config: TableMaintenanceConfig,
    object_store: ObjectStoreResource,
    lakehouse: LakehouseResource,
) -> dg.MaterializeResult:
    """Compact closed partitions, expire snapshots with tag retention, remove orphan files; never an open batch's."""
    with storage_step(context):
        maintenance = connect(object_store, lakehouse).maintenance(context.log.info)
        upkeep = maintenance.run(config.tables or schemas.names(schemas.ALL), dry_run=config.dry_run)
        records = [dg.TableRecord(dataclasses.asdict(table)) for table in upkeep]
        sums = {
            name: sum(getattr(table, name) for table in upkeep)
            for name in ("files_before", "files_after", "bytes_before", "bytes_after", "orphan_files", "orphan_bytes")
        }
        return dg.MaterializeResult(
            metadata={"tables": dg.MetadataValue.table(records), "dry_run": config.dry_run, **sums}
        )
