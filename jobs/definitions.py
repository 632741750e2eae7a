"""Everything Dagster knows of qpipe, put together; heavy libraries are imported by the steps that use them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

from jobs.batch_generation import BATCH_JOBS
from jobs.export_job import export_job, export_schedules
from jobs.jobs import JOBS, maintenance
from jobs.landing_sink import landing_sink
from jobs.notify.sensors import notification_sensors
from jobs.schedules import SCHEDULES
from jobs.sensors import SENSORS
from jobs.simulation_pool import declare_simulation_pool
from jobs.timeliness import timeliness_checks
from qpipe_assets.checks import CHECKS
from qpipe_assets.ml_tables import ml_tables
from qpipe_assets.normalized_tables import normalized_tables, processing_metadata
from qpipe_assets.partitions import add_catalogue
from qpipe_assets.r2_export import r2_export
from qpipe_assets.raw_vqe_objects import raw_vqe_objects
from qpipe_assets.table_maintenance import table_maintenance
from qpipe_assets.vqe_runs import vqe_runs
from qpipe_resources.deployment import resources_for
from qpipe_resources.export_settings import load_export_settings
from qpipe_resources.notify.settings import load_notify_settings
from qpipe_resources.settings import load_settings

ASSETS = [vqe_runs, raw_vqe_objects, normalized_tables, processing_metadata, ml_tables, table_maintenance, r2_export]


def build_defs(resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The definitions with the resources of QPIPE_ENV.

    Args:
        resource_overrides: resources that replace those of the same key.

    Raises:
        SettingsError: the environment cannot be used.
        ExportSettingsError: a setting of the export cannot be used.
        NotifySettingsError: the settings of the notifications cannot be used.
    """
    settings = load_settings()
    export_settings = load_export_settings()
    r2_sync = export_job(export_settings)
    all_jobs: list[Any] = [*JOBS, *BATCH_JOBS, maintenance, landing_sink, r2_sync]
    return dg.Definitions(
        assets=ASSETS,
        asset_checks=[*CHECKS, timeliness_checks],
        jobs=all_jobs,
        schedules=[*SCHEDULES, *export_schedules(export_settings, r2_sync)],
        sensors=[*SENSORS, *notification_sensors(load_notify_settings(), all_jobs)],
        # One process a run: a process for each of its small steps would import everything again (ten times slower).
        executor=dg.in_process_executor,
        resources={**resources_for(settings.env, settings.engine), **(resource_overrides or {})},
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster's tools load; the catalogue's molecules are partitions from then on."""
    # Without a DAGSTER_HOME the instance is a temporary one that only its owner knows; there the sensor adds them.
    if os.environ.get("DAGSTER_HOME"):
        with dg.DagsterInstance.get() as instance:
            add_catalogue(instance)
            declare_simulation_pool(instance)
    return build_defs()
