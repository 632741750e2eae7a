"""The asset vqe_runs: the VQE runs that a campaign asks for on one molecule, each landed as soon as it is finished."""

import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from qpipe_assets.campaign import CampaignError, PlannedRun, VQERunsConfig
from qpipe_assets.connection import connect
from qpipe_assets.landing import Landing, UndeliveredError
from qpipe_assets.partitions import molecule
from qpipe_assets.reports.asset_metadata import MOST_CURVES, convergence_markdown, errors_mha, molecule_markdown
from qpipe_assets.reports.sources import LandedRuns
from qpipe_assets.reports.writing import write_molecule_report, write_run_report
from qpipe_assets.scan_chains import NothingToStartFromError, ScanChains
from qpipe_resources.deployment import LakehouseResource, ObjectStoreResource, SimulationWorkers
from qpipe_resources.simulation_workers import Failed, SimulationTask, WorkerPool
from simulation.record import MoleculeData, VQEDecoratedResult
from simulation.runner import checkpoint_path

SIMULATION_POOL = "simulation"


@dataclass
class _Outcome:
    """What became of a campaign's runs; no record is kept, for a campaign may have thousands."""

    rows: list[dg.TableRecord] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    invalid: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    molecule: MoleculeData | None = None
    reports: list[Path] = field(default_factory=list)

    def computed(self, label: str, record: VQEDecoratedResult) -> None:
        """Note what is shown of a computed run."""
        self.molecule = self.molecule or record.molecule.molecule_data
        self.rows.append(_row(record))
        self.invalid += record.valid is False
        errors = errors_mha(record)
        if errors and len(self.curves) < MOST_CURVES:
            self.curves[label] = errors


@dg.asset(
    partitions_def=molecule,
    group_name="simulation",
    kinds={"qiskit", "python"},
    pool=SIMULATION_POOL,
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
    description="VQE runs of a campaign on one molecule; each record lands in the object store at once.",
)
def vqe_runs(
    context: dg.AssetExecutionContext,
    config: VQERunsConfig,
    object_store: ObjectStoreResource,
    lakehouse: LakehouseResource,
    simulation_workers: SimulationWorkers,
) -> dg.MaterializeResult:
    """Compute what the configuration asks for and has not landed yet.

    Raises:
        dg.Failure: the configuration is impossible (before any work), or runs failed (after all others have landed).
    """
    partition = context.partition_key
    try:
        planned, repeated = config.plan(partition)
    except CampaignError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    if repeated:
        context.log.warning(f"{repeated} combinations ask for an experiment that another one asks for; computed once")
    installation = connect(object_store, lakehouse)
    landing = Landing(installation.store, installation.settings, partition)
    for key in landing.deliver_spooled():
        context.log.info(f"delivered {key}, which the object store had refused before")
    asked = [run.experiment_id for run in planned]
    objects = landing.objects()
    landed = set(asked) & objects.keys()
    if config.scan is None:
        # What came in under another name (a sink's) is in the tables; a scan's next point needs the object itself.
        landed |= installation.ledger.claimed(asked)
    skipped = set() if config.force else landed
    wanted = [run for run in planned if run.experiment_id not in skipped]
    for experiment in landed:
        # Left by a kill between landing and forgetting; and `force` means to compute, not to replay.
        checkpoint_path(installation.settings.checkpoints, experiment).unlink(missing_ok=True)
    context.log.info(f"{partition}: {len(wanted)} runs to compute, {len(skipped)} have landed already")
    campaign = _Campaign(
        context,
        landing,
        simulation_workers.pool(),
        ScanChains(planned, lambda experiment: landing.read(objects.get(experiment))),
        name=config.campaign,
        checkpoints=installation.settings.checkpoints,
        reports=installation.settings.reports if config.report else None,
    )
    outcome = campaign.compute(wanted)
    if config.report:
        runs = LandedRuns(installation, context.log.warning).molecule(partition)
        outcome.reports += write_molecule_report(runs.read(), installation.settings.reports)
    metadata = _metadata(partition, planned, skipped, outcome)
    if pictures := campaign.chains.pictures(partition):
        metadata["scan"] = dg.MetadataValue.md(pictures)
    if outcome.failures:
        listed = "\n".join(f"- {label}: {reason}" for label, reason in outcome.failures.items())
        raise dg.Failure(
            f"{len(outcome.failures)} of {len(wanted)} runs of {partition} failed; the others have landed:\n{listed}",
            metadata=metadata,
            allow_retries=False,
        )
    return dg.MaterializeResult(metadata=metadata)


@dataclass
class _Campaign:
    """The runs of one materialization on their way: computed side by side, landed one by one."""

    context: dg.AssetExecutionContext
    landing: Landing
    pool: WorkerPool[SimulationTask, VQEDecoratedResult]
    chains: ScanChains
    name: str | None
    checkpoints: Path
    reports: Path | None
    outcome: _Outcome = field(default_factory=_Outcome)

    def compute(self, wanted: list[PlannedRun]) -> _Outcome:
        """Compute and land the runs, those that start from others after them."""
        for runs in self.chains.rounds(wanted):
            self._round(runs)
        return self.outcome

    def _round(self, wanted: list[PlannedRun]) -> None:
        started, log = time.monotonic(), self.context.log
        tasks = [(run, task) for run in wanted if (task := self._task(run)) is not None]
        runs = {id(task): run for run, task in tasks}
        results = self.pool.run(
            [task for _, task in tasks], on_start=lambda task: log.info(f"started {runs[id(task)].label}")
        )
        with closing(results):
            for number, result in enumerate(results, start=1):
                run = runs[id(result.task)]
                done = f"[{number}/{len(wanted)}, {time.monotonic() - started:.1f} s]"
                if isinstance(result, Failed):
                    self.outcome.failures[run.label] = result.reason
                    log.error(f"{done} failed {run.label}: {result.reason}\n{result.details}")
                    continue
                self.outcome.computed(run.label, result.result)
                self.chains.note(run, result.result)
                self._land(run, result.result, done)

    def _task(self, run: PlannedRun) -> SimulationTask | None:
        try:
            previous = self.chains.previous(run)
        except NothingToStartFromError as error:
            self.outcome.failures[run.label] = str(error)
            self.context.log.error(f"{run.label}: {error}")
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

    def _land(self, run: PlannedRun, record: VQEDecoratedResult, done: str) -> None:
        try:
            key = self.landing.land(record)
        except UndeliveredError as error:
            self.outcome.failures[run.label] = str(error)
            self.context.log.error(f"{done} computed {run.label}: {error}")
        else:
            self.context.log.info(f"{done} finished {run.label}: {_verdict(record)}; {key}")
        # Landed or spooled, the record is on the disk.
        checkpoint_path(self.checkpoints, run.experiment_id).unlink(missing_ok=True)
        if self.reports is not None:
            self._report(run, record, self.reports)

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


def _metadata(
    partition: str, planned: list[PlannedRun], skipped: set[str], outcome: _Outcome
) -> dict[str, dg.MetadataValue]:
    counts = {
        "asked": len(planned),
        "computed": len(outcome.rows),
        "skipped": len(skipped),
        "failed": len(outcome.failures),
        "invalid": outcome.invalid,
    }
    metadata: dict[str, dg.MetadataValue] = {name: dg.MetadataValue.int(count) for name, count in counts.items()}
    if outcome.rows:
        metadata["runs"] = dg.MetadataValue.table(outcome.rows, _COLUMNS)
    if outcome.molecule is not None:
        metadata["molecule"] = dg.MetadataValue.md(molecule_markdown(partition, outcome.molecule))
    if outcome.reports:
        metadata["report"] = dg.MetadataValue.path(str(outcome.reports[-2]))
        metadata["reports"] = dg.MetadataValue.md("\n".join(f"- {path}" for path in outcome.reports))
    if outcome.curves:
        metadata["convergence"] = dg.MetadataValue.md(convergence_markdown(partition, outcome.curves))
    return metadata


_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("experiment_id", "string"),
        dg.TableColumn("ansatz", "string"),
        dg.TableColumn("basis", "string"),
        dg.TableColumn("optimizer", "string"),
        dg.TableColumn("energy_ha", "float", "Total energy (Hartree)"),
        dg.TableColumn("fci_ha", "float", "Exact total energy in the same orbitals (Hartree)"),
        dg.TableColumn("error_mha", "float", "energy - fci (mHartree)"),
        dg.TableColumn("evaluations", "int"),
        dg.TableColumn("seconds", "float"),
        dg.TableColumn("engine", "string"),
        dg.TableColumn("valid", "bool"),
    ]
)


def _row(record: VQEDecoratedResult) -> dg.TableRecord:
    initial = record.vqe_result.initial_data
    return dg.TableRecord(
        {
            "experiment_id": (record.experiment_id or "")[:12],
            "ansatz": f"{initial.ansatz_name} x{initial.ansatz_reps}",
            "basis": record.basis_set,
            "optimizer": initial.optimizer,
            "energy_ha": record.total_energy,
            "fci_ha": record.fci_energy,
            "error_mha": record.energy_error_mha,
            "evaluations": len(record.vqe_result.iteration_list),
            "seconds": record.wall_time,
            "engine": record.engine,
            "valid": record.valid,
        }
    )
