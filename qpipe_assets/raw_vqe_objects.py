"""The asset raw_vqe_objects: the validated inventory of a molecule's objects in the store."""

import hashlib
from typing import Any

import dagster as dg

from qpipe_assets.connection import connect
from qpipe_assets.partitions import molecule
from qpipe_assets.retries import RETRIES, storage_step
from qpipe_resources.deployment import LakehouseResource, ObjectStoreResource


@dg.asset(
    partitions_def=molecule,
    group_name="raw",
    kinds={"json"},
    deps=["vqe_runs"],
    retry_policy=RETRIES,
    backfill_policy=dg.BackfillPolicy.single_run(),
    description="The objects of a molecule, whoever wrote them; those that cannot be decoded are quarantined.",
)
def raw_vqe_objects(
    context: dg.AssetExecutionContext, object_store: ObjectStoreResource, lakehouse: LakehouseResource
) -> dg.MaterializeResult:
    """List the objects; the data version changes exactly when a key or an etag does."""
    with storage_step(context):
        installation = connect(object_store, lakehouse)
        quarantined = installation.discovery.quarantined()
        versions = hashlib.sha256()
        for partition in context.partition_keys:
            objects = installation.discovery.of_molecule(partition)
            for info in objects:
                versions.update(f"{info.key}\n{info.etag}\n".encode())
            metadata: dict[str, Any] = {
                "objects": len(objects),
                "bytes": sum(info.size for info in objects),
                "quarantined": sum(entry["molecule"] == partition for entry in quarantined),
            }
            if objects:
                newest = max(objects, key=lambda info: info.modified)
                metadata |= {"newest": newest.key, "newest_at": dg.MetadataValue.timestamp(newest.modified)}
            context.add_asset_metadata(metadata, partition_key=partition)
            context.log.info(f"{partition}: {len(objects)} objects")
        return dg.MaterializeResult(data_version=dg.DataVersion(versions.hexdigest()))
