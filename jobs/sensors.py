"""The sensors: a wake-up for new objects, the one that evaluates automation conditions, and those of other modules."""

import datetime as dt

import dagster as dg

from jobs.jobs import molecule_processing
from jobs.launched_again import launched_again
from jobs.lost_runs import lost_runs
from jobs.pending import PendingWork, recently_pending_work
from jobs.requests import present, run_requests
from jobs.run_limits import ML_RUN
from jobs.table_jobs import TABLE_JOBS
from jobs.timeliness import in_time
from qpipe_assets.connection import connect
from qpipe_assets.partitions import MOLECULE_PARTITIONS, molecule
from qpipe_resources.deployment import LakehouseResource, ObjectStoreResource
from simulation.molecules import catalogue

LEFT_TO_AUTOMATION_FOR = dt.timedelta(minutes=5)
"""Batches that only the ML tables lack are the automation's for so long: otherwise both would ask for them at once."""


@dg.sensor(
    job=molecule_processing,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for a run for each molecule with something to do; the ledger, not a cursor, knows which.",
)
def new_objects(
    context: dg.SensorEvaluationContext, object_store: ObjectStoreResource, lakehouse: LakehouseResource
) -> dg.SensorResult | dg.SkipReason:
    """Look at the store and the ledger; molecules that are new become partitions."""
    pending = recently_pending_work(connect(object_store, lakehouse))
    known = set(context.instance.get_dynamic_partitions(MOLECULE_PARTITIONS))
    missing = [key for key in (*catalogue(), *(work.molecule for work in pending)) if key not in known]
    mine = [work for work in pending if not _is_left_to_automation(work)]
    requests = run_requests(context.instance, mine, TABLE_JOBS)
    for work in pending:
        context.log.info(f"{work.molecule}: {work.reason}")
    if not requests and not missing:
        waiting = f"{len(pending)} molecules wait for a run in progress, or rest after one that failed"
        return dg.SkipReason(waiting if pending else "nothing new")
    added = [molecule.build_add_request(list(dict.fromkeys(missing)))] if missing else []
    return dg.SensorResult(run_requests=requests, dynamic_partitions_requests=added)


def _is_left_to_automation(work: PendingWork) -> bool:
    if work.waits_for_tables or work.features_since is None:
        return False
    return present() < work.features_since + LEFT_TO_AUTOMATION_FOR


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    run_tags=ML_RUN,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Keeps the ML tables up to date with the tables they are made of.",
)

SENSORS = [new_objects, automation, lost_runs, launched_again, in_time]
