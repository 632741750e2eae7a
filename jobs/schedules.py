"""The schedules: a daily reconciliation that asks only for molecules with something to do, and the sink's runs."""

import dagster as dg

from jobs.jobs import JOBS, molecule_processing
from jobs.landing_sink import LandingConfig, land_messages, landing_sink
from jobs.pending import pending_work
from jobs.requests import IN_PROGRESS, run_requests
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


SINK_RUN_SECONDS = 3000.0
"""A run of the sink ends in time for the next one to go on with other code and settings."""


@dg.schedule(
    job=landing_sink,
    cron_schedule="* * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every minute: land what waits in Kafka. For those who run neither `qpipe sink` nor another sink.",
)
def landing(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a run of the sink, unless one is under way: two share the work, but take it from each other."""
    runs = dg.RunsFilter(job_name=landing_sink.name, statuses=IN_PROGRESS)
    if context.instance.get_run_ids(runs, limit=1):
        return dg.SkipReason("a run of the sink is under way")
    config = LandingConfig(max_seconds=SINK_RUN_SECONDS)
    return dg.RunRequest(
        run_config=dg.RunConfig({land_messages.name: config}),
        # A run that died with its machine must not stand in the way for ever.
        tags={"dagster/max_runtime": str(round(2 * SINK_RUN_SECONDS))},
    )


SCHEDULES = [daily_processing, landing]
