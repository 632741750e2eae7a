"""The export as an asset: a consistent snapshot of the ML tables, or of others, at QPIPE_EXPORT_TARGET."""

import dataclasses
from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from qpipe_assets.connection import connect
from qpipe_assets.retries import EXPORT_RETRIES, storage_step
from qpipe_assets.tables import schemas
from qpipe_resources.deployment import LakehouseResource, ObjectStoreResource
from qpipe_resources.export_settings import VARIABLES, load_export_settings

EXPORT_JOB = "r2_sync"
"""The job that exports and does nothing else."""


class ExportConfig(dg.Config):
    """What is exported, and where to; see docs/export.md."""

    target: str = Field("", description="Folder, or s3://bucket/prefix; QPIPE_EXPORT_TARGET when empty.")
    dataset: str = Field(schemas.NAMESPACE, description="Folder below the target.")
    tables: list[str] = Field(list(schemas.ML_NAMES), description="Names of the tables.")
    format: str = Field("parquet", description="parquet, csv or hdf5.")
    version: str = Field("", description="Tag, batch or ISO 8601 time of the tables; now when empty.")
    splits: str = Field("", description="By molecule, as in train=0.8,validation=0.1,test=0.1; none when empty.")
    split_molecules: list[str] = Field([], description="As in test=H2,LiH.")
    seed: int = Field(0, description="Of the splits.")
    base_url: str = Field("", description="Where the target will be read, if that is not where it is written.")
    keep: int = Field(0, ge=0, description="Remove all versions but so many; 0 removes none.")
    dry_run: bool = Field(False, description="Write nothing, tell what would be written.")
    verify: bool = Field(False, description="Afterwards read every file of the version and compare checksums.")


# Lineage only: whatever the tables hold now is exported, and no run of theirs is waited for.
@dg.asset(
    group_name="export",
    kinds={"parquet", "iceberg"},
    deps=list(schemas.ML_NAMES),
    retry_policy=EXPORT_RETRIES,
    output_required=False,
)
def r2_export(
    context: dg.AssetExecutionContext,
    config: ExportConfig,
    object_store: ObjectStoreResource,
    lakehouse: LakehouseResource,
) -> Iterator[dg.MaterializeResult]:
    """Write what is new as plain Parquet, with a manifest, a datasheet and Iceberg metadata of its own.

    Where no target is named there is nothing to do, so that it may be selected with the tables that it depends on;
    the job r2_sync, which asks for nothing else, is refused. A dry run is an observation, no materialization.
    """
    from qpipe_assets.exports.export import Export
    from qpipe_assets.exports.progress import each_tenth
    from qpipe_assets.exports.request import ExportRefusedError, ExportRequest, Format
    from qpipe_assets.exports.splits import parse_rule
    from qpipe_assets.exports.target import open_target
    from qpipe_assets.exports.verification import verify

    with storage_step(context):
        if config.format not in list(Format):
            raise ExportRefusedError(f"format {config.format!r}: expected one of {', '.join(Format)}")
        settings = load_export_settings()
        if not (config.target or settings.target) and context.run.job_name != EXPORT_JOB:
            context.log.warning(f"nothing is exported: {VARIABLES['target']} names no target")
            return
        installation = connect(object_store, lakehouse)
        target = open_target(config.target or settings.target, config.dataset, installation.settings, settings)
        request = ExportRequest(
            tables=tuple(config.tables),
            format=Format(config.format),
            version=config.version or None,
            splits=parse_rule(config.splits, config.split_molecules, config.seed) if config.splits else None,
            license=settings.license,
            base_url=config.base_url,
        )

        def progress(done: int, whole: int) -> None:
            context.log.info(f"{done} of {whole} rows written to {target.url}")

        export = Export(installation, target, settings, each_tenth(progress))
        outcome = export.run(request, dry_run=config.dry_run, keep=config.keep or None)
        facts = dataclasses.asdict(outcome)
        if config.dry_run:
            # With an output the asset would be as new as the tables.
            context.log_event(dg.AssetObservation(context.asset_key, metadata=facts))
            return
        if config.verify:
            facts["damaged"] = verify(target, settings.checkers).damaged
            if facts["damaged"]:
                raise dg.Failure(f"{target.url}, version {outcome.version}: damaged files", metadata=facts)
        yield dg.MaterializeResult(metadata=facts | {"dagster/row_count": sum(outcome.rows.values())})
