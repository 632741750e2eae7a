"""`qpipe simulate`: run VQE here and now, with a live progress line; the record lands in the raw object store.

The command's options are made from the fields of VQEOptions: there is no second list of them.
"""

from __future__ import annotations

import inspect
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qpipe_assets.landing import Landing
from qpipe_cli.output import Format, print_rows
from qpipe_resources.object_store import FolderObjectStore
from qpipe_resources.settings import load_settings
from simulation.identity import experiment_id
from simulation.molecules import Molecule, MoleculeError, catalogue, load_molecules, partition_key, select_molecule
from simulation.options import VQEOptions
from simulation.record import ActiveSpace, VQEDecoratedResult, VQEProcess

if TYPE_CHECKING:
    from simulation.runner import RunReference

_SHORT = {"basis": "-b", "ansatz_reps": "-ar"}
_REDRAW_SECONDS = 0.1
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


def register(app: typer.Typer) -> None:
    """Add the command to the application, with one option for each field of VQEOptions."""

    def command(**given: Any) -> None:
        names = VQEOptions.model_fields
        asked = {key: value for key, value in given.items() if key in names}
        simulate(asked, **{key: value for key, value in given.items() if key not in names})

    fixed = inspect.signature(simulate, eval_str=True).parameters.values()
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in fixed if p.name != "asked"]
    parameters = [*own, *_option_parameters()]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = simulate.__doc__
    app.command(name="simulate")(command)


def _option_parameters() -> list[inspect.Parameter]:
    parameters = []
    for name, field in VQEOptions.model_fields.items():
        flags = [f"--{name.replace('_', '-')}"] + ([_SHORT[name]] if name in _SHORT else [])
        annotation: Any = field.annotation
        help_text = field.description or ""
        if name == "active_space":
            annotation, help_text = str | None, f"{help_text} As ELECTRONS,ORBITALS."
        if name == "basis":
            flags.insert(0, "--basis-set")
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=Annotated[_plain(annotation), typer.Option(*flags, help=help_text)],
            )
        )
    return parameters


def _plain(annotation: Any) -> Any:
    """The annotation without pydantic's constraints: VQEOptions checks the values."""
    import types
    import typing

    if typing.get_origin(annotation) is Annotated:
        return _plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        first, *others = [_plain(argument) for argument in typing.get_args(annotation)]
        for other in others:
            first = first | other
        return first
    return annotation


def simulate(
    asked: dict[str, Any],
    molecule: Annotated[list[str] | None, typer.Option("-m", "--molecule", help="Name in the catalogue.")] = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="Molecule file (JSON array).")] = None,
    molecule_index: Annotated[
        int | None, typer.Option("--molecule-index", help="Only this molecule of the file, from 0.")
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Write records here instead of into the raw object store.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Compute runs again that have already landed.")] = False,
    form: Annotated[Format, typer.Option("--format", help="Form of the printed summary.")] = Format.TABLE,
) -> None:
    """Run VQE on molecules and write their records."""
    from pydantic import ValidationError

    try:
        options = _options(asked)
        molecules = _molecules(molecule, file, molecule_index)
        target = Target(output_dir)
    except (ValidationError, MoleculeError, OSError) as error:
        _refuse(error)
    rows, failed = [], False
    for one in molecules:
        try:
            record = _run(one, options, target, force=force)
        except (ValueError, RuntimeError, MemoryError) as error:
            print(f"error: {partition_key(one)}: {error}", file=sys.stderr)
            failed = True
            continue
        rows.append(summary(record))
    print_rows([_short(row) for row in rows] if form is Format.TABLE else rows, form)
    if failed:
        raise typer.Exit(1)


def _refuse(error: Exception) -> None:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        for found in error.errors():
            name = "--" + str(found["loc"][0]).replace("_", "-") if found["loc"] else "options"
            print(f"error: {name}: {found['msg']} (got {found['input']!r})", file=sys.stderr)
    else:
        print(f"error: {error}", file=sys.stderr)
    raise typer.Exit(2)


def _options(asked: dict[str, Any]) -> VQEOptions:
    space = asked.get("active_space")
    if isinstance(space, str):
        parts = space.split(",")
        if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
            raise MoleculeError(f"--active-space is {space!r}, expected ELECTRONS,ORBITALS, for example 2,2")
        asked = asked | {"active_space": ActiveSpace(electrons=int(parts[0]), orbitals=int(parts[1]))}
    return VQEOptions(**asked)


def _molecules(names: list[str] | None, file: Path | None, index: int | None) -> list[Molecule]:
    if (file is None) == (not names):
        raise MoleculeError("give molecules by name (-m LiH) or a molecule file (-f molecules.json), one of the two")
    if file is not None:
        found = load_molecules(file)
        return found if index is None else [select_molecule(found, index)]
    if index is not None:
        raise MoleculeError("--molecule-index goes with a molecule file (-f)")
    known = catalogue()
    unknown = [name for name in names or [] if name not in known]
    if unknown:
        raise MoleculeError(f"no molecule {unknown[0]!r} in the catalogue: expected one of {', '.join(known)}")
    return [known[name] for name in names or []]


class Target:
    """Where records go: the raw object store, or a folder the user names; one object for each experiment."""

    def __init__(self, folder: Path | None) -> None:
        self._settings = load_settings()
        if folder is not None:
            # Now, not after the computation: a folder that cannot be is an error before any work.
            folder.mkdir(parents=True, exist_ok=True)
        self._folder = FolderObjectStore(folder.absolute()) if folder else None
        self._raw = FolderObjectStore(self._settings.raw_results)

    def find(self, molecule: Molecule, experiment: str) -> VQEDecoratedResult | None:
        """The record of an experiment that is there already."""
        if self._folder is not None:
            store, keys = self._folder, {info.key: info.key for info in self._folder.list_objects("", recursive=False)}
            key = keys.get(f"{experiment}.json")
        else:
            store, key = self._raw, self._landing(partition_key(molecule)).objects().get(experiment)
        return VQEDecoratedResult.model_validate_json(store.get(key).data) if key else None

    def write(self, record: VQEDecoratedResult) -> None:
        """Land one record, durably."""
        if self._folder is not None:
            self._folder.put(f"{record.experiment_id}.json", record.to_json())
        else:
            self._landing(partition_key(Molecule.from_record(record.molecule.molecule_data))).land(record)

    def _landing(self, molecule: str) -> Landing:
        return Landing(self._raw, self._settings, molecule)


def _run(molecule: Molecule, options: VQEOptions, target: Target, *, force: bool) -> VQEDecoratedResult:
    from simulation.runner import VQERunner

    options = options.resolved()
    landed = None if force else target.find(molecule, experiment_id(molecule, options))
    if landed is not None:
        print(f"{partition_key(molecule)}: already computed; --force computes it again", file=sys.stderr)
        return landed
    progress = Progress(partition_key(molecule))
    runner = VQERunner(
        molecules=[molecule],
        options=options,
        on_prepared=progress.prepared,
        on_evaluation=progress.evaluated,
        sink=target.write,
    )
    try:
        return runner.run()[0]
    finally:
        progress.close()


class Progress:
    """One line on standard error that follows a run: evaluation, energy, error to FCI."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._reference: RunReference | None = None
        self._drawn = 0.0
        self._width = 0
        self._last = ""
        self._live = sys.stderr.isatty()
        self._show(f"{name}: Hartree-Fock, integrals and reference energy ...")

    def prepared(self, reference: RunReference) -> None:
        """The problem stands: its size and its reference energies are known."""
        self._reference = reference

    def evaluated(self, step: VQEProcess) -> None:
        """One energy evaluation was made."""
        assert self._reference is not None
        lowest = (step.cumulative_min_energy or step.result) + self._reference.nuclear_repulsion
        text = f"{self._name}: {self._reference.num_qubits} qubits, evaluation {step.iteration}, {lowest:.8f} Ha"
        if self._reference.exact_energy is not None:
            text += f", {1000 * (lowest - self._reference.exact_energy):+.4f} mHa to {self._reference.exact_method}"
        self._last = text
        if time.monotonic() - self._drawn > _REDRAW_SECONDS:
            self._show(text)

    def _show(self, text: str) -> None:
        self._drawn = time.monotonic()
        if self._live:
            sys.stderr.write("\r" + text.ljust(self._width))
            sys.stderr.flush()
            self._width = len(text)
        elif not self._last:
            print(text, file=sys.stderr)

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._live:
            sys.stderr.write("\r" + self._last.ljust(self._width) + "\n")
        elif self._last:
            print(self._last, file=sys.stderr)


def summary(record: VQEDecoratedResult) -> dict[str, Any]:
    """What a person wants to know of a run, as one row."""
    initial = record.vqe_result.initial_data
    molecule = record.molecule.molecule_data
    return {
        "molecule": partition_key(Molecule.from_record(molecule)),
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
    return {k: row[k] if places is None or row[k] is None else round(row[k], places) for k, places in digits}
