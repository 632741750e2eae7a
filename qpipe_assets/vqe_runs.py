"""The asset vqe_runs: the VQE runs that a campaign asks for on one molecule, each landed as soon as it is finished."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from qpipe_assets.campaign import CampaignError, Executor, PlannedRun, VQERunsConfig
from qpipe_assets.campaign_outcome import Outcome, campaign_metadata, failure_text
from qpipe_assets.campaign_progress import Progress, progress_line, tag_run
from qpipe_assets.campaigns.pushed_counts import counts_pushed
from qpipe_assets.campaigns.selection import asked_by, campaign_asked_by
from qpipe_assets.connection import connect
from qpipe_assets.feasibility import refusals
from qpipe_assets.landing import Landing, UndeliveredError
from qpipe_assets.partitions import molecule
from qpipe_assets.reports.sources import LandedRuns, UnknownSourceError
from qpipe_assets.reports.writing import write_molecule_report, write_run_report
from qpipe_assets.scan_chains import NothingToStartFromError, ScanChains
from qpipe_assets.spark_runs import Landed, SparkRuns
from qpipe_assets.tables.installation import Installation
from qpipe_resources.deployment import (
    DeliveryResource,
    LakehouseResource,
    ObjectStoreResource,
    SimulationWorkers,
    TableEngineResource,
)
from qpipe_resources.simulation_task import SimulationTask
from qpipe_resources.simulation_workers import Failed, Finished, TimedOut, WorkerPool
from simulation.monitor_settings import MonitorSettingsError, load_monitor_settings
from simulation.record import VQEDecoratedResult
from simulation.runner import checkpoint_path

SIMULATION_POOL = "simulation"


@dg.asset(
    partitions_def=molecule,
    group_name="simulation",
    kinds={"qiskit", "python"},
    pool=SIMULATION_POOL,
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
    description="VQE runs of a campaign on one molecule; each record leaves at once, for the object store or Kafka.",
)
def vqe_runs(
    context: dg.AssetExecutionContext,
    config: VQERunsConfig,
    object_store: ObjectStoreResource,
    lakehouse: LakehouseResource,
    delivery: DeliveryResource,
    simulation_workers: SimulationWorkers,
    table_engine: TableEngineResource,
) -> dg.MaterializeResult:
    """Compute what the configuration asks for and has not landed yet.

    Raises:
        dg.Failure: the configuration is impossible (before any work), or runs failed (after all others have landed).
    """
    partition = context.partition_key
    try:
        monitoring = load_monitor_settings()
        whole = campaign_asked_by(config, context.run.tags)
        config = asked_by(config, whole)
        planned, repeated = config.plan(partition)
    except (CampaignError, MonitorSettingsError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    if repeated:
        context.log.warning(f"{repeated} combinations ask for an experiment that another one asks for; computed once")
    _say_if_of_others(context, config)
    tag_run(context.instance, context.run.run_id, config.campaign)
    installation = connect(object_store, lakehouse, table_engine)
    pool = simulation_workers.pool() if config.executor is Executor.local else _spark(installation, partition, config)
    with (
        counts_pushed(whole, installation, context.instance, monitoring) as count_again,
        closing(delivery.open(installation.store)) as way,
    ):
        landing = Landing(
            installation.store,
            installation.settings,
            partition,
            way,
            ledger=installation.ledger,
            log=context.log.warning,
        )
        landing.forget_arrived()
        outcome = Outcome()
        _deliver_waiting(context, landing, outcome)
        landed = landing.landed([run.experiment_id for run in planned])
        if config.scan is not None:
            # A scan's next point needs the record itself, which the tables' rows are not.
            landed = {one for one in landed if one in landing.objects or landing.find(one) is not None}
        skipped = set() if config.force else landed
        wanted = [run for run in planned if run.experiment_id not in skipped]
        for experiment in landed:
            # Left by a kill between landing and forgetting; and `force` means to compute, not to replay.
            checkpoint_path(installation.settings.checkpoints, experiment).unlink(missing_ok=True)
        if config.skip_infeasible:
            wanted = _feasible(context, wanted, outcome)
        context.log.info(f"{partition}: {len(wanted)} runs to compute, {len(skipped)} have landed already")
        campaign = _Campaign(
            context,
            landing,
            pool,
            ScanChains(planned, landing.find),
            name=config.campaign,
            checkpoints=installation.settings.checkpoints,
            reports=installation.settings.reports if config.report else None,
            seconds=config.run_seconds or installation.settings.run_seconds,
            count_again=count_again,
            outcome=outcome,
        )
        campaign.compute(wanted)
        if outcome.kept or outcome.waiting:
            _deliver_waiting(context, landing, outcome)
        if config.report:
            outcome.reports += _molecule_report(context, installation, landing, partition)
    metadata = campaign_metadata(partition, len(planned), len(skipped), outcome)
    if pictures := campaign.chains.pictures(partition):
        metadata["scan"] = dg.MetadataValue.md(pictures)
    if outcome.failures or outcome.waiting:
        raise dg.Failure(failure_text(partition, len(wanted), outcome), metadata=metadata, allow_retries=False)
    return dg.MaterializeResult(metadata=metadata)


def _say_if_of_others(context: dg.AssetExecutionContext, config: VQERunsConfig) -> None:
    if config.molecules and context.partition_key not in config.molecules:
        asked = ", ".join(config.molecules)
        context.log.warning(f"nothing to do on {context.partition_key}: campaign {config.campaign} is of {asked}")


def _feasible(context: dg.AssetExecutionContext, wanted: list[PlannedRun], outcome: Outcome) -> list[PlannedRun]:
    """Those of the runs that fit; the others are noted."""
    refused = refusals(wanted)
    of_kind = {run.experiment_id: f"{run.options.basis} {run.options.ansatz} x{run.options.reps}" for run in wanted}
    outcome.infeasible.update(f"{of_kind[experiment]}: {why}" for experiment, why in refused.items())
    for why, count in outcome.infeasible.items():
        context.log.warning(f"{count} runs cannot fit and are not attempted: {why}")
    return [run for run in wanted if run.experiment_id not in refused]


def _spark(installation: Installation, partition: str, config: VQERunsConfig) -> SparkRuns:
    settings = installation.settings
    if installation.spark is None or settings.env == "services":
        raise dg.Failure(
            "executor spark needs QPIPE_ENGINE=spark, and QPIPE_ENV=local or s3, because executors land records in the "
            f"object store; found QPIPE_ENGINE={settings.engine}, QPIPE_ENV={settings.env}: set them, or ask for "
            "executor local",
            allow_retries=False,
        )
    return SparkRuns(installation.spark, installation.store, settings.topic, partition, force=config.force)


def _deliver_waiting(context: dg.AssetExecutionContext, landing: Landing, outcome: Outcome) -> None:
    """Deliver what could not be delivered before, and note what has left and what still waits."""
    attempts = landing.deliver_waiting()
    for attempt in attempts:
        experiment = attempt.file.experiment[:12]
        if attempt.where is not None:
            context.log.info(f"delivered {experiment}, which could not be delivered before: {attempt.where}")
        elif attempt.waits:
            context.log.error(f"{experiment} still waits for its delivery: {attempt.error}")
        else:
            context.log.warning(str(attempt.error))
    outcome.attempted(attempts)


def _molecule_report(
    context: dg.AssetExecutionContext, installation: Installation, landing: Landing, partition: str
) -> list[Path]:
    records = _records(LandedRuns(installation, context.log.warning), landing, partition)
    first = next(records, None)
    if first is None:
        return []
    return write_molecule_report(itertools.chain([first], records), installation.settings.reports)


def _records(landed: LandedRuns, landing: Landing, partition: str) -> Iterator[VQEDecoratedResult]:
    """All records of the molecule: in the store, and on their way there."""
    there = set()
    try:
        for record in landed.molecule(partition).read():
            there.add(record.experiment_id)
            yield record
    except UnknownSourceError:
        pass  # all are on their way
    yield from (record for record in landing.on_their_way() if record.experiment_id not in there)


@dataclass
class _Campaign:
    """The runs of one materialization on their way: computed side by side, landed one by one."""

    context: dg.AssetExecutionContext
    landing: Landing
    pool: WorkerPool[SimulationTask, VQEDecoratedResult] | SparkRuns
    chains: ScanChains
    name: str | None
    checkpoints: Path
    reports: Path | None
    seconds: float | None
    count_again: Callable[[], None]
    outcome: Outcome = field(default_factory=Outcome)

    def compute(self, wanted: list[PlannedRun]) -> Outcome:
        """Compute and land the runs, those that start from others after them."""
        for runs in self.chains.rounds(wanted):
            self._round(runs)
        return self.outcome

    def _round(self, wanted: list[PlannedRun]) -> None:
        started, log = time.monotonic(), self.context.log
        tasks = [(run, task) for run in wanted if (task := self._task(run)) is not None]
        runs = {id(task): run for run, task in tasks}

        def started_one(task: SimulationTask) -> None:
            log.info(progress_line(Progress.STARTED, runs[id(task)].label))
            self.count_again()

        def lost_one(task: SimulationTask, reason: str) -> None:
            line = progress_line(Progress.INTERRUPTED, runs[id(task)].label)
            log.warning(f"{line}: {reason}; it is tried once more")

        results = self.pool.run([task for _, task in tasks], started_one, self.seconds, lost_one)
        with closing(results):
            for number, result in enumerate(results, start=1):
                run = runs[id(result.task)]
                done = f"[{number}/{len(wanted)}, {time.monotonic() - started:.1f} s]"
                if isinstance(result, Failed):
                    self._failed(run, result, done)
                else:
                    self.chains.note(run, result.result)
                    self.outcome.computed(run.label, result.result, self._land(run, result, done))
                self.count_again()

    def _failed(self, run: PlannedRun, result: Failed[SimulationTask], done: str) -> None:
        timed_out, reason = isinstance(result, TimedOut), result.reason
        if timed_out:
            self.outcome.timed_out += 1
            reason += "; ask for it again, and it goes on from its checkpoint, or give it more with run_seconds"
        self.outcome.failures[run.label] = reason
        line = progress_line(Progress.TIMED_OUT if timed_out else Progress.FAILED, run.label, done)
        self.context.log.error(f"{line}: {reason}\n{result.details}".rstrip())

    def _task(self, run: PlannedRun) -> SimulationTask | None:
        try:
            previous = self.chains.previous(run)
        except NothingToStartFromError as error:
            self.outcome.failures[run.label] = str(error)
            self.context.log.error(f"{progress_line(Progress.FAILED, run.label)}: {error}")
            return None
        return SimulationTask(
            run.molecule,
            run.options,
            self.context.run.run_id,
            self.name,
            scan=run.point.position if run.point else None,
            previous=previous,
            checkpoints=self.checkpoints,
        )

    def _land(self, run: PlannedRun, result: Finished[SimulationTask, VQEDecoratedResult], done: str) -> str:
        """Let the record go if it has not; returns where it is."""
        kept, record = True, result.result
        try:
            where = result.where if isinstance(result, Landed) else self.landing.land(record)
            line = progress_line(Progress.FINISHED, run.label, done)
            self.context.log.info(f"{line}: {_verdict(record)}; {where}")
        except UndeliveredError as error:
            kept, where = error.kept, "outbox" if error.kept else "nowhere"
            if kept:
                self.outcome.keep(run.label, run.experiment_id, str(error))
            else:
                self.outcome.failures[run.label] = str(error)
            self.context.log.error(f"{progress_line(Progress.COMPUTED, run.label, done)}: {error}")
        if kept:
            checkpoint_path(self.checkpoints, run.experiment_id).unlink(missing_ok=True)
        if self.reports is not None:
            self._report(run, record, self.reports)
        return where

    def _report(self, run: PlannedRun, record: VQEDecoratedResult, folder: Path) -> None:
        try:
            self.outcome.reports += write_run_report(record, folder)
        except Exception as error:  # whatever ails a drawing, the runs that are left must be computed
            self.outcome.failures[f"report of {run.label}"] = str(error)
            self.context.log.error(f"report of {run.label}: {error}", exc_info=True)


def _verdict(record: VQEDecoratedResult) -> str:
    error = "no exact reference" if record.energy_error_mha is None else f"{record.energy_error_mha:+.6f} mHa to FCI"
    valid = "" if record.valid else f", NOT valid: {record.invalid_reason}"
    return f"{record.total_energy:.8f} Ha, {error}, {len(record.vqe_result.iteration_list)} evaluations{valid}"
