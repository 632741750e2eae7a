"""The schedules: a daily reconciliation for molecules with something to do, nightly maintenance, the sink's runs."""

import datetime as dt

import dagster as dg

from jobs.batch_generation import BATCH_JOBS
from jobs.jobs import JOBS, maintenance, molecule_processing
from jobs.landing_sink import landing_sink
from jobs.pending import pending_work
from jobs.requests import IN_PROGRESS, IN_PROGRESS_TRUSTED_FOR, run_requests
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
    requests = run_requests(context.instance, pending, [job.name for job in (*JOBS, *BATCH_JOBS)])
    return requests or dg.SkipReason("nothing new, nothing unfinished")


@dg.schedule(
    job=landing_sink,
    cron_schedule="* * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every minute: land what waits in Kafka. For those who run neither `qpipe sink` nor another sink.",
)
def landing(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a run of the sink, unless one is under way that is not long dead: two take the work from each other."""
    trusted_since = context.scheduled_execution_time - IN_PROGRESS_TRUSTED_FOR
    latest = context.instance.get_run_records(dg.RunsFilter(job_name=landing_sink.name, statuses=IN_PROGRESS), limit=1)
    if any(record.create_timestamp.replace(tzinfo=dt.UTC) > trusted_since for record in latest):
        return dg.SkipReason("a run of the sink is under way")
    return dg.RunRequest()


nightly_maintenance = dg.ScheduleDefinition(
    name="nightly_maintenance",
    job=maintenance,
    # After midnight's claims and the nightly processing, whose batches close the day before.
    cron_schedule="0 5 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: small files of closed days, old snapshots, orphan files.",
)

SCHEDULES = [daily_processing, landing, nightly_maintenance]
