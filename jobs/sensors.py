"""The sensors: a wake-up for new objects, and the one that evaluates automation conditions."""

import dagster as dg

from jobs.batch_generation import BATCH_JOBS
from jobs.jobs import JOBS, molecule_processing
from jobs.lost_runs import lost_runs
from jobs.pending import recently_pending_work
from jobs.requests import run_requests
from qpipe_assets.connection import connect
from qpipe_assets.partitions import MOLECULE_PARTITIONS, molecule
from qpipe_resources.deployment import LakehouseResource, ObjectStoreResource
from simulation.molecules import catalogue


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
    present = set(context.instance.get_dynamic_partitions(MOLECULE_PARTITIONS))
    missing = [key for key in (*catalogue(), *(work.molecule for work in pending)) if key not in present]
    requests = run_requests(context.instance, pending, [job.name for job in (*JOBS, *BATCH_JOBS)])
    for work in pending:
        context.log.info(f"{work.molecule}: {work.reason}")
    if not requests and not missing:
        waiting = f"{len(pending)} molecules wait for a run in progress, or rest after one that failed"
        return dg.SkipReason(waiting if pending else "nothing new")
    added = [molecule.build_add_request(list(dict.fromkeys(missing)))] if missing else []
    return dg.SensorResult(run_requests=requests, dynamic_partitions_requests=added)


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Keeps the ML tables up to date with the tables they are made of.",
)

SENSORS = [new_objects, automation, lost_runs]
