"""The schedules: a daily reconciliation that asks only for molecules with something to do."""

import dagster as dg

from jobs.jobs import JOBS, molecule_processing
from jobs.pending import pending_work
from jobs.requests import run_requests
from qpipe_assets.connection import connect
from qpipe_assets.partitions import add_molecules
from qpipe_resources.deployment import LakehouseResource, ObjectStoreResource


@dg.schedule(
    job=molecule_processing,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: molecules with new objects, unfinished batches or missing ML rows.",
)
def daily_processing(
    context: dg.ScheduleEvaluationContext, object_store: ObjectStoreResource, lakehouse: LakehouseResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for what the sensor has missed or given a rest."""
    pending = pending_work(connect(object_store, lakehouse))
    add_molecules(context.instance, [work.molecule for work in pending])
    requests = run_requests(context.instance, pending, [job.name for job in JOBS])
    return requests or dg.SkipReason("nothing new, nothing unfinished")


SCHEDULES = [daily_processing]
