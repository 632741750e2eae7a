"""`qpipe scan`: a potential-energy curve along a bond or an angle, every point a landed record, and its plot."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from qpipe_assets.reports.drawing import FORMATS
from qpipe_cli.kafka_options import KAFKA, KafkaFlag, asked_settings
from qpipe_cli.logs import log_to_standard_error
from qpipe_cli.molecule_choice import called, choose_molecules
from qpipe_cli.option_flags import FlagError, FlagGroup, add_command, flag_of
from qpipe_cli.output import Format, make_folder, print_rows, refuse, say_invalid
from qpipe_cli.progress import Progress
from qpipe_cli.run_config import OutputChoices
from qpipe_cli.simulate import OPTIONS
from qpipe_cli.target import Target, already_computed
from simulation.molecules import Molecule, MoleculeError, partition_key
from simulation.options import VQEOptions
from simulation.record import VQEDecoratedResult
from simulation.scans import PlannedPoint, ScanSpec, plan_scan, scan_of, walk
from simulation.validation import reasons

_OUTPUT = FlagGroup(OutputChoices, "Output", prefix="output_", hidden=("report",))
_GROUPS = (OPTIONS, _OUTPUT, KAFKA)
_DECIMALS = {"coordinate": 6, "vqe_energy": 8, "hf_energy": 8, "fci_energy": 8, "error_mha": 4}
_TABLE = ("coordinate", "vqe_energy", "hf_energy", "fci_energy", "error_mha", "valid", "evaluations", "start")

_log = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    """Add the command to the application, with one flag for each option of a run."""
    add_command(app, "scan", scan, _GROUPS)


def scan(
    given: dict[str, Any],
    molecule: Annotated[str | None, typer.Option("-m", "--molecule", help="Name in the catalogue.")] = None,
    file: Annotated[
        Path | None, typer.Option("-f", "--file", help='Molecule file; an entry may carry its own "scan".')
    ] = None,
    molecule_index: Annotated[
        int | None, typer.Option("--molecule-index", help="This molecule of the file, from 0.")
    ] = None,
    bond: Annotated[str | None, typer.Option("--bond", metavar="I,J", help="Scan the distance of two atoms.")] = None,
    angle: Annotated[
        str | None, typer.Option("--angle", metavar="I,J,K", help="Scan the angle of three atoms, its vertex J.")
    ] = None,
    start: Annotated[float | None, typer.Option("--from", help="First value, angstrom or degree.")] = None,
    stop: Annotated[float | None, typer.Option("--to", help="Last value.")] = None,
    points: Annotated[int | None, typer.Option("--points", help="Number of values, both ends included.")] = None,
    values: Annotated[
        str | None, typer.Option("--values", metavar="V,V,...", help="The values themselves instead.")
    ] = None,
    both_starts: Annotated[
        bool,
        typer.Option("--both-starts", help="Compute every point afresh, too, and keep the lower energy."),
    ] = False,
    kafka: KafkaFlag = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Where the plot goes, .png, .svg or .pdf; MOLECULE-COORDINATE.png unless given."),
    ] = None,
) -> None:
    """Scan a bond or an angle by VQE: the curve of energies beside Hartree-Fock and FCI.

    Each point starts from its neighbour's optimum. Points that have landed are not computed again, so a scan that was
    stopped goes on.
    """
    try:
        chosen, own_scan = _molecule(molecule, file, molecule_index)
        spec = _spec(own_scan, bond=bond, angle=angle, start=start, stop=stop, points=points, values=values)
        if both_starts:
            spec = spec.model_copy(update={"both_starts": True})
        options = VQEOptions.model_validate(OPTIONS.explicit(given))
        output = OutputChoices.model_validate(_OUTPUT.explicit(given))
        planned = plan_scan(chosen, spec, options)
        picture = _picture(plot, output, chosen, spec)
        log_to_standard_error(output.log_level)
        target = Target(output.output_dir, asked_settings(kafka, given))
    except ValidationError as error:
        refuse(reasons(error, _flag))
    except (ValueError, RuntimeError, OSError) as error:
        refuse(str(error))
    with closing(target):
        _run(planned, spec, target, output, picture)


def _run(planned: list[PlannedPoint], spec: ScanSpec, target: Target, output: OutputChoices, picture: Path) -> None:
    points = _Points(target, force=output.force)
    records: list[VQEDecoratedResult] = []
    failure = None
    try:
        for record in walk(planned, points.compute):
            records.append(record)
    except (ValueError, RuntimeError, MemoryError) as error:
        failure = str(error)
    records.sort(key=lambda record: record.scan_value or 0.0)
    rows = [_row(record) for record in records]
    form = output.format
    name = called(planned[0].point.molecule)
    title = f"{name}, {spec.coordinate} ({spec.unit})"
    print_rows([_short(row) for row in rows] if form is Format.TABLE else rows, form, title=title)
    for row in rows:
        say_invalid(f"{name} {spec.coordinate} = {row['coordinate']:g}", row)
    if records:
        from qpipe_assets.reports.scan_figure import scan_image

        initial = records[0].vqe_result.initial_data
        caption = f"{name}, {records[0].basis_set}, {initial.ansatz_name} x{initial.ansatz_reps}, {initial.optimizer}"
        picture.write_bytes(scan_image(caption, records, picture.suffix.removeprefix(".")))
        _log.info("the curve is in %s", picture)
    for row in rows:
        if (why := target.undelivered.get(row["experiment_id"])) is not None:
            print(f"error: {name} {spec.coordinate} = {row['coordinate']:g}: {why}", file=sys.stderr)
    if failure is not None:
        print(f"error: {points.current}: {failure}", file=sys.stderr)
        if records:
            done = f"{len(records)} of {len(planned)} points are done and have landed"
            print(f"{done}; run the same command to go on", file=sys.stderr)
    if failure is not None or target.undelivered:
        raise typer.Exit(1)


class _Points:
    """Computes the points of a scan that have not landed, one line of progress for each."""

    def __init__(self, target: Target, *, force: bool) -> None:
        self._target = target
        self._force = force
        self.current = ""

    def compute(self, planned: PlannedPoint, previous: VQEDecoratedResult | None) -> VQEDecoratedResult:
        """The record of a point, landed."""
        from simulation.runner import VQERunner

        molecule, position = planned.point.molecule, planned.position
        self.current = f"{called(molecule)} {position.coordinate} = {position.value:g}"
        landed = None if self._force else self._target.find(molecule, planned.experiment_id)
        if landed is not None:
            _log.info("%s", already_computed(self.current, landed))
            self._target.forward(landed)
            return landed
        VQERunner(molecules=[molecule], options=planned.options).check()
        progress = Progress(self.current)
        runner = VQERunner(
            molecules=[molecule],
            options=planned.options,
            on_prepared=progress.prepared,
            on_evaluation=progress.evaluated,
            sink=self._target.write,
            lookup=self._target.lookup(molecule) if previous is None else lambda _: previous,
            checkpoints=self._target.checkpoints,
            scan=position,
        )
        try:
            return runner.run()[0]
        finally:
            progress.close()


def _molecule(name: str | None, file: Path | None, index: int | None) -> tuple[Molecule, ScanSpec | None]:
    """The molecule, and the scan that its entry in a file carries."""
    found = choose_molecules([name] if name else None, file, index)
    if len(found) > 1:
        raise MoleculeError(f"{file} holds {len(found)} molecules, a scan is of one: give --molecule-index")
    entry = json.loads(file.read_text(encoding="utf-8"))[index or 0] if file else {}
    return found[0], scan_of(entry)


def _spec(
    own: ScanSpec | None,
    *,
    bond: str | None,
    angle: str | None,
    start: float | None,
    stop: float | None,
    points: int | None,
    values: str | None,
) -> ScanSpec:
    """The scan that was asked for, or the one the molecule's entry carries.

    Raises:
        FlagError: neither, or both a bond and an angle, or a list that is not numbers.
        pydantic.ValidationError: the scan is impossible.
    """
    ends = {"start": start, "stop": stop, "points": points, "values": values}
    if bond is None and angle is None:
        given = [name for name, value in ends.items() if value is not None]
        if own is not None and not given:
            return own
        raise FlagError("give --bond I,J or --angle I,J,K with --from, --to and --points, or with --values")
    if bond is not None and angle is not None:
        raise FlagError(f"--bond {bond} and --angle {angle} exclude each other: give one")
    asked: dict[str, Any] = {name: value for name, value in ends.items() if value is not None and name != "values"}
    if values is not None:
        asked["values"] = _numbers("--values", values, float)
    kind = "bond" if bond is not None else "angle"
    return ScanSpec.model_validate({"kind": kind, "atoms": _numbers(f"--{kind}", bond or angle or "", int), **asked})


def _numbers(flag: str, text: str, number: type) -> list[Any]:
    try:
        return [number(part) for part in text.split(",")]
    except ValueError:
        raise FlagError(f"{flag} is {text!r}, expected numbers joined by commas") from None


def _picture(plot: Path | None, output: OutputChoices, molecule: Molecule, spec: ScanSpec) -> Path:
    """Where the plot goes; its folder is made now, not after the computation."""
    name = f"{partition_key(molecule)}-{spec.coordinate.replace(' ', '-')}.png"
    path = plot or (output.output_dir or Path()) / name
    if path.suffix.removeprefix(".") not in FORMATS:
        raise FlagError(f"--plot is {str(plot)!r}, expected a name that ends in .{', .'.join(FORMATS)}")
    make_folder(path.parent, "the folder of the plot" if plot else "--output-dir")
    return path


def _flag(name: str) -> str:
    """The flag of a field of any of the models."""
    found = flag_of(_GROUPS, name)
    return found if found != name else {"start": "--from", "stop": "--to"}.get(name, f"--{name}")


def _row(record: VQEDecoratedResult) -> dict[str, Any]:
    """One point of the curve."""
    return {
        "coordinate": record.scan_value,
        "vqe_energy": record.total_energy,
        "hf_energy": record.hf_energy,
        "fci_energy": record.fci_energy,
        "error_mha": record.energy_error_mha,
        "valid": record.valid,
        "invalid_reason": record.invalid_reason,
        "evaluations": record.energy_evaluations,
        "start": record.vqe_result.initial_data.init_strategy,
        "seconds": record.wall_time,
        "certified_energy": record.certified_energy,
        "experiment_id": record.experiment_id,
        "previous_experiment": record.previous_experiment,
    }


def _short(row: dict[str, Any]) -> dict[str, Any]:
    places = _DECIMALS
    return {k: round(row[k], places[k]) if k in places and row[k] is not None else row[k] for k in _TABLE}
