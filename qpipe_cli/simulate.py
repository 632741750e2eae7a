"""`qpipe simulate`: run VQE here and now, with a live progress line; the record lands in the raw object store."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from qpipe_cli.kafka_options import KAFKA, KafkaFlag, asked_settings, without_secrets
from qpipe_cli.logs import log_to_standard_error
from qpipe_cli.molecule_choice import MoleculeFile, MoleculeIndex, MoleculeNames, called, choose_molecules
from qpipe_cli.option_flags import FlagError, FlagGroup, add_command, flag_of
from qpipe_cli.output import Format, make_folder, print_rows, refuse, say_invalid
from qpipe_cli.progress import Progress
from qpipe_cli.run_config import OutputChoices, RunConfig, dump, load
from qpipe_cli.target import Target, already_computed
from qpipe_resources.kafka.settings import SECRETS, VARIABLES
from simulation.identity import experiment_id
from simulation.molecules import Molecule, partition_key, select_molecule
from simulation.monitor_settings import MonitorSettings, load_monitor_settings, shown
from simulation.options import VQEOptions
from simulation.recommended import recommended_options
from simulation.record import VQEDecoratedResult

if TYPE_CHECKING:
    from qpipe_resources.kafka.settings import KafkaSettings
    from simulation.monitor import PerformanceMonitor

DEFAULT_THRESHOLD = 1e-6
"""What --convergence means where no --threshold is given (Hartree)."""

OPTIONS = FlagGroup(
    VQEOptions,
    "Options of the run",
    names={"basis": ("--basis", "--basis-set", "-b"), "ansatz_reps": ("--ansatz-reps", "-ar")},
)
OUTPUT = FlagGroup(OutputChoices, "Output", prefix="output_")
MONITORING = FlagGroup(
    MonitorSettings,
    "Performance monitoring",
    prefix="monitoring_",
    names={
        "enabled": ("--enable-performance-monitoring/--disable-performance-monitoring",),
        "interval": ("--performance-interval",),
        "pushgateway": ("--performance-pushgateway",),
        "export_format": ("--performance-export-format",),
        "folder": ("--performance-folder",),
    },
    hidden=("container_type",),
)
_GROUPS = (OPTIONS, OUTPUT, MONITORING, KAFKA)

_TABLE_DIGITS = {
    "molecule": None,
    "qubits": None,
    "vqe_energy": 8,
    "fci_energy": 8,
    "error_mha": 4,
    "evaluations": None,
    "seconds": 2,
    "valid": None,
    "engine": None,
}
"""Columns of the printed table, with the decimals that matter."""

_FAILURES = (ValueError, RuntimeError, MemoryError, OSError)
"""What one molecule may end in without ending the command."""

_log = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    """Add the command to the application, with one flag for each field of the models."""
    add_command(app, "simulate", simulate, _GROUPS)


def simulate(
    given: dict[str, Any],
    molecule: MoleculeNames = None,
    file: MoleculeFile = None,
    molecule_index: MoleculeIndex = None,
    recommended: Annotated[
        bool,
        typer.Option(
            "--recommended", help="Start from the options with which the molecule reaches 1.6 mHa (docs/science.md)."
        ),
    ] = False,
    ibm: Annotated[bool, typer.Option("--ibm", help="Short for --engine ibm.")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Exact expectation values; --shots is ignored.")] = False,
    convergence: Annotated[
        bool,
        typer.Option("--convergence", help=f"Short for --threshold {DEFAULT_THRESHOLD:g}, where that is not given."),
    ] = False,
    kafka: KafkaFlag = False,
    dump_config: Annotated[
        bool,
        typer.Option("--dump", help="Also write what is asked to run_configs/, without secrets, for --load."),
    ] = False,
    load_config: Annotated[
        Path | None,
        typer.Option("--load", help="Run what a dumped file asks; flags given besides replace its single values."),
    ] = None,
) -> None:
    """Run VQE on molecules and write their records."""
    from pydantic import ValidationError

    from qpipe_resources.metrics_push import forget_machine, performance_monitor

    try:
        if dump_config and load_config:
            raise FlagError(f"--dump and --load {load_config} exclude each other: give one")
        loaded = load(load_config) if load_config else None
        molecules = _molecules(molecule, file, molecule_index, loaded)
        base = (loaded.options.model_dump() if loaded else {}) | (_recommended(molecules) if recommended else {})
        through = asked_settings(kafka, given, loaded.kafka if loaded else None)
        config = RunConfig(
            molecules=[one.to_record() for one in molecules],
            # Once for all molecules: a seed that is drawn is one and the same, and is what the file says.
            options=_options(base, OPTIONS.explicit(given), ibm=ibm, exact=exact, convergence=convergence).resolved(),
            output=_output(given, loaded),
            monitoring=_monitoring(given, loaded),
            kafka=without_secrets(through),
        )
        log_to_standard_error(config.output.log_level)
        target = Target(config.output.output_dir, through)
        if config.output.report:
            make_folder(config.output.report_folder, "the folder of the reports")
        monitor = performance_monitor(config.monitoring)
        if dump_config:
            _dump(config, through, file.stem if file else "_".join(map(partition_key, molecules)))
    except ValidationError as error:
        _refuse_values(error)
    except (ValueError, RuntimeError, OSError) as error:
        refuse(str(error))
    with closing(target):
        try:
            _run_all(molecules, config, target, monitor)
        finally:
            forget_machine(config.monitoring, os.getpid())


def _run_all(molecules: list[Molecule], config: RunConfig, target: Target, monitor: PerformanceMonitor | None) -> None:
    """Every molecule, whatever becomes of the others; the exit code tells whether one failed.

    What can be refused without computing is refused for all of them first.
    """
    accepted: list[tuple[Molecule, VQEDecoratedResult | None]] = []
    rows, failed = [], False
    for one in molecules:
        try:
            accepted.append((one, _landed_or_checked(one, config, target)))
        except _FAILURES as error:
            failed = _say_failure(one, error)
    for one, landed in accepted:
        try:
            record = _forwarded(landed, target) if landed else _run(one, config, target, monitor)
            rows.append(summary(record))
            if config.output.report:
                _report(record, config.output)
        except _FAILURES as error:
            failed = _say_failure(one, error)
    form = config.output.format
    print_rows([_short(row) for row in rows] if form is Format.TABLE else rows, form)
    for row in rows:
        say_invalid(_name(row), row)
        if (why := target.undelivered.get(row["experiment_id"])) is not None:
            print(f"error: {_name(row)}: {why}", file=sys.stderr)
    if failed or target.undelivered:
        raise typer.Exit(1)


def _forwarded(record: VQEDecoratedResult, target: Target) -> VQEDecoratedResult:
    """A record that was there already, sent to where it is to go if it has not left yet."""
    target.forward(record)
    return record


def _say_failure(molecule: Molecule, error: Exception) -> bool:
    """Tell why a molecule has no record; true, there was a failure."""
    print(f"error: {called(molecule)}: {error}", file=sys.stderr)
    return True


def _report(record: VQEDecoratedResult, output: OutputChoices) -> None:
    from qpipe_assets.reports.writing import write_run_report

    for path in write_run_report(record, output.report_folder):
        _log.info("the report is in %s", path)


def _refuse_values(error: Any) -> NoReturn:
    from simulation.validation import reasons

    refuse(reasons(error, partial(flag_of, _GROUPS), shown))


def _options(
    base: dict[str, Any], explicit: dict[str, Any], *, ibm: bool, exact: bool, convergence: bool
) -> VQEOptions:
    """The options of a file or a recommendation, replaced by those that were given, and the shorthands for some.

    Raises:
        FlagError: a shorthand contradicts what is asked besides.
        pydantic.ValidationError: the options are impossible.
    """
    if ibm and explicit.get("engine", "ibm") != "ibm":
        raise FlagError(f"--ibm and --engine {explicit['engine']} exclude each other: give one")
    values = base | explicit
    if ibm:
        values["engine"] = "ibm"
    if exact:
        values["shots"] = None
    if convergence and values.get("threshold") is None:
        values["threshold"] = DEFAULT_THRESHOLD
    options = VQEOptions.model_validate(values)
    if exact and options.sampled:
        besides = [f"{name}={values[name]!r}" for name in ("noise", "noise_rates", "engine") if values.get(name)]
        raise FlagError(f"--exact asks for no samples, but {' and '.join(besides)} for some: leave one out")
    return options


def _output(given: dict[str, Any], loaded: RunConfig | None) -> OutputChoices:
    return OutputChoices.model_validate((loaded.output.model_dump() if loaded else {}) | OUTPUT.explicit(given))


def _monitoring(given: dict[str, Any], loaded: RunConfig | None) -> MonitorSettings:
    """The settings of the file, replaced by those that were given, completed from the environment.

    Raises:
        MonitorSettingsError: a setting is impossible.
        FlagError: there are settings of a monitor that is off.
    """
    explicit = MONITORING.explicit(given)
    written = loaded.monitoring.model_dump(include=loaded.monitoring.model_fields_set) if loaded else {}
    settings = load_monitor_settings(written | explicit, MONITORING.flag)
    if explicit and "enabled" not in explicit and not settings.enabled:
        name = next(iter(explicit))
        raise FlagError(f"{MONITORING.flag(name)} goes with --enable-performance-monitoring, which is off: give both")
    return settings


def _molecules(
    names: list[str] | None, file: Path | None, index: int | None, loaded: RunConfig | None
) -> list[Molecule]:
    """Those that were given, else those of the loaded file."""
    if loaded is None or names or file is not None:
        return choose_molecules(names, file, index)
    found = [Molecule.from_record(one) for one in loaded.molecules]
    return found if index is None else [select_molecule(found, index)]


def _recommended(molecules: list[Molecule]) -> dict[str, Any]:
    """The options that are recommended for all of the molecules.

    Raises:
        FlagError: there are different ones.
        ValueError: there are none for a molecule.
    """
    first, *others = [recommended_options(partition_key(one)) for one in molecules]
    if any(other != first for other in others):
        raise FlagError("--recommended gives these molecules different options: run them one at a time")
    return first


def _dump(config: RunConfig, through: KafkaSettings | None, stem: str) -> None:
    path = dump(config, stem)
    _log.info("what is asked is in %s", path)
    gateway = config.monitoring.pushgateway
    if gateway is not None and "@" in gateway.get_secret_value():
        _log.warning("%s has no user and password of the PushGateway: set PUSHGATEWAY_URL where it is loaded", path)
    for name in SECRETS:
        if through is not None and getattr(through, name) is not None:
            _log.warning("%s has no %s: set %s where it is loaded", path, name, VARIABLES[name])


def _landed_or_checked(molecule: Molecule, config: RunConfig, target: Target) -> VQEDecoratedResult | None:
    """The record that is there already; None where there is none, and the run is possible."""
    from simulation.runner import VQERunner

    name, options = called(molecule), config.options
    identity = experiment_id(molecule, options)
    _log.debug("%s: experiment %s, %r", name, identity, options)
    landed = None if config.output.force else target.find(molecule, identity)
    if landed is None:
        VQERunner(molecules=[molecule], options=options).check()
    else:
        _log.info("%s", already_computed(name, landed))
    return landed


def _run(
    molecule: Molecule, config: RunConfig, target: Target, monitor: PerformanceMonitor | None
) -> VQEDecoratedResult:
    from qpipe_resources.metrics_push import push_run
    from simulation.runner import VQERunner

    progress = Progress(called(molecule))
    runner = VQERunner(
        molecules=[molecule],
        options=config.options,
        on_prepared=progress.prepared,
        on_evaluation=progress.evaluated,
        sink=target.write,
        lookup=target.lookup(molecule),
        checkpoints=target.checkpoints,
        monitor=monitor,
    )
    try:
        record = runner.run()[0]
    finally:
        progress.close()
    push_run(record, config.monitoring)
    return record


def summary(record: VQEDecoratedResult) -> dict[str, Any]:
    """What a person wants to know of a run, as one row."""
    initial = record.vqe_result.initial_data
    molecule = record.molecule.molecule_data
    return {
        "molecule": partition_key(Molecule.from_record(molecule)),
        "name": molecule.name,
        "basis": record.basis_set,
        "qubits": initial.num_qubits,
        "parameters": initial.num_parameters,
        "vqe_energy": record.total_energy,
        "hf_energy": record.hf_energy,
        "fci_energy": record.fci_energy,
        "error_mha": record.energy_error_mha,
        "evaluations": record.energy_evaluations,
        "seconds": record.wall_time,
        "valid": record.valid,
        "invalid_reason": record.invalid_reason,
        "engine": record.engine,
        "certified_energy": record.certified_energy,
        "experiment_id": record.experiment_id,
    }


def _short(row: dict[str, Any]) -> dict[str, Any]:
    digits = _TABLE_DIGITS.items()
    shown = row | {"molecule": _name(row)}
    return {k: shown[k] if places is None or shown[k] is None else round(shown[k], places) for k, places in digits}


def _name(row: dict[str, Any]) -> str:
    """What the user calls the molecule."""
    return row["name"] or row["molecule"]
