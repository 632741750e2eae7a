"""A sensor that gives up runs whose process is gone: after a kill of everything, they would hold their slots for ever.

The launcher's own monitoring sees the death of a run's process as long as the code server lives. What it tells nobody
(the machine was switched off, the code server was killed as well) is told here, from the process that a run noted.
"""

import dagster as dg

from qpipe_assets.campaign_progress import COMPUTING, process_lives

_GONE = "the process of this run is gone: it was killed together with its code server"


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Gives up runs whose process has died with its machine or code server, so that others get their slot.",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Report them as failed, or as cancelled where somebody had asked for that; campaigns are launched again."""
    instance = context.instance
    gone = [
        record.dagster_run.run_id
        for record in instance.get_run_records(dg.RunsFilter(statuses=list(COMPUTING)))
        if not process_lives(record.dagster_run)
    ]
    # A process says how its run ended before it ends: by now, where it did so.
    lost = [run for one in gone if (run := instance.get_run_by_id(one)) is not None and run.status in COMPUTING]
    for run in lost:
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, _GONE)
        else:
            instance.report_run_failed(run, _GONE)
    return dg.SkipReason(f"{len(lost)} runs given up" if lost else "every run has its process")
