"""`r2_sync`: the export as a job of its own, by hand or by the schedule that the settings name."""

from __future__ import annotations

import dagster as dg

from jobs.run_limits import MAX_RUNTIME_TAG
from qpipe_assets.r2_export import EXPORT_JOB
from qpipe_assets.retries import EXPORT_RETRIES
from qpipe_resources.export_settings import ExportSettings


def export_job(settings: ExportSettings) -> dg.UnresolvedAssetJobDefinition:
    """The job; it exports what is there and waits for no other run."""
    return dg.define_asset_job(
        EXPORT_JOB,
        selection=dg.AssetSelection.assets("r2_export"),
        tags={MAX_RUNTIME_TAG: str(settings.timeout_seconds + round(EXPORT_RETRIES.waits))},
        description="A consistent snapshot of the ML tables to QPIPE_EXPORT_TARGET, incrementally.",
    )


def export_schedules(settings: ExportSettings, job: dg.UnresolvedAssetJobDefinition) -> list[dg.ScheduleDefinition]:
    """The schedule that QPIPE_EXPORT_SCHEDULE asks for; none without it."""
    if not settings.schedule:
        return []
    return [
        dg.ScheduleDefinition(
            name="export_schedule",
            job=job,
            cron_schedule=settings.schedule,
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="QPIPE_EXPORT_SCHEDULE: exports what is there at that moment.",
        )
    ]
