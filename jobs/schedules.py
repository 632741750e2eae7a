"""The schedules: tables and ML tables every night where something is new, nightly maintenance, the sink's runs.

A tick that was missed because no daemon ran is made up for once, never once for each night: each asks what is left.
"""

import dagster as dg

from jobs.jobs import maintenance, quantum_feature_processing, quantum_ml_feature_processing
from jobs.landing_sink import landing_sink
from jobs.pending import pending_work
from jobs.requests import IN_PROGRESS, failures_in_a_row, is_trusted, rest_of_new_work_over, run_requests
from jobs.table_jobs import TABLE_JOBS
from qpipe_assets.connection import connect
from qpipe_assets.partitions import add_molecules
from qpipe_resources.deployment import LakehouseResource, ObjectStoreResource


@dg.schedule(
    job=quantum_feature_processing,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: the nine tables of molecules with new objects or unfinished batches.",
)
def quantum_feature_processing_daily(
    context: dg.ScheduleEvaluationContext, object_store: ObjectStoreResource, lakehouse: LakehouseResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for what the sensor has missed or given a rest; the ML tables follow by themselves."""
    waiting = [work for work in pending_work(connect(object_store, lakehouse)) if work.waits_for_tables]
    add_molecules(context.instance, [work.molecule for work in waiting])
    return run_requests(context.instance, waiting, TABLE_JOBS) or dg.SkipReason("nothing new, nothing unfinished")


@dg.schedule(
    job=quantum_ml_feature_processing,
    cron_schedule="0 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night, after the nine tables: the ML tables of molecules with finished batches that they lack.",
)
def quantum_ml_feature_processing_daily(
    context: dg.ScheduleEvaluationContext, object_store: ObjectStoreResource, lakehouse: LakehouseResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for what neither automation nor sensor has brought about; molecules whose tables wait are left out."""
    pending = pending_work(connect(object_store, lakehouse))
    waiting = [work for work in pending if work.features_since and not work.waits_for_tables]
    return run_requests(context.instance, waiting, TABLE_JOBS) or dg.SkipReason("the ML tables have all batches")


@dg.schedule(
    job=landing_sink,
    cron_schedule="* * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every minute: land what waits in Kafka. For those who run neither `qpipe sink` nor another sink.",
)
def landing(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a run of the sink, unless one is under way that is not long dead: two take the work from each other."""
    runs, now = dg.RunsFilter(job_name=landing_sink.name), context.scheduled_execution_time
    latest = context.instance.get_run_records(dg.RunsFilter(job_name=landing_sink.name, statuses=IN_PROGRESS), limit=1)
    if any(is_trusted(record, now) for record in latest):
        return dg.SkipReason("a run of the sink is under way")
    if now < (rest := rest_of_new_work_over(failures_in_a_row(context.instance, runs))):
        return dg.SkipReason(f"the sink rests until {rest:%H:%M} after runs that failed")
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

SCHEDULES = [quantum_feature_processing_daily, quantum_ml_feature_processing_daily, landing, nightly_maintenance]
