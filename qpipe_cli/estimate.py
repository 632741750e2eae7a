"""`qpipe estimate`: what a run would need, before it is launched; with --measure, how right that is."""

from __future__ import annotations

import inspect
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError

from qpipe_cli.data import FormatOption
from qpipe_cli.option_flags import FlagError
from qpipe_cli.output import Format, print_rows
from qpipe_cli.simulate import OPTIONS
from qpipe_resources.simulation_workers import THREAD_VARIABLES
from simulation.estimate import Estimate, estimate
from simulation.molecules import Molecule, MoleculeError, catalogue, load_molecules, partition_key, select_molecule
from simulation.options import VQEOptions
from simulation.recommended import recommended_options
from simulation.validation import reasons

_TABLE = ("molecule", "ansatz", "engine", "qubits", "electrons", "orbitals", "parameters", "determinants")


def register(app: typer.Typer) -> None:
    """Add the command to the application, with one flag for each option of a run."""
    fixed = inspect.signature(estimate_command, eval_str=True).parameters
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, p in fixed.items() if name != "given"]
    parameters = [*own, *OPTIONS.parameters()]

    def command(**given: Any) -> None:
        options = {key: value for key, value in given.items() if key not in fixed}
        estimate_command(options, **{key: value for key, value in given.items() if key in fixed})

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = estimate_command.__doc__
    app.command(name="estimate")(command)


def estimate_command(
    given: dict[str, Any],
    molecule: Annotated[list[str] | None, typer.Option("-m", "--molecule", help="Name in the catalogue.")] = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="Molecule file (JSON array).")] = None,
    molecule_index: Annotated[
        int | None, typer.Option("--molecule-index", help="Only this molecule of the file, from 0.")
    ] = None,
    recommended: Annotated[
        bool, typer.Option("--recommended", help="Start from the options that are recommended for each molecule.")
    ] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Run what is feasible, too, and print prediction and measurement.")
    ] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Qubits, parameters, memory and time of a run, without running it; exit code 1 when one cannot run.

    Qubits, electrons, orbitals, parameters and determinants are exact, Pauli terms and memory are upper bounds,
    evaluations and seconds are rough.
    """
    from simulation.engines.base import EngineError
    from simulation.problem import ProblemError

    try:
        explicit = OPTIONS.explicit(given)
        asked = [
            (
                one,
                VQEOptions.model_validate((recommended_options(partition_key(one)) if recommended else {}) | explicit),
            )
            for one in _molecules(molecule, file, molecule_index)
        ]
        estimates = [estimate(one, options) for one, options in asked]
    except ValidationError as error:
        _refuse(reasons(error, OPTIONS.flag))
    except (FlagError, EngineError, ProblemError, MoleculeError, ValueError, OSError) as error:
        _refuse(str(error))
    rows = [_row(found) for found in estimates]
    if measure:
        for row, found, (one, options) in zip(rows, estimates, asked, strict=True):
            row |= _measured(one, options, found)
    print_rows([_short(row) for row in rows] if form is Format.TABLE else rows, form)
    for found in estimates:
        if not found.feasible:
            print(f"{found.molecule}: {found.refusal}", file=sys.stderr)
    if not all(found.feasible for found in estimates):
        raise typer.Exit(1)


def _molecules(names: list[str] | None, file: Path | None, index: int | None) -> list[Molecule]:
    if (file is None) == (not names):
        raise MoleculeError("give molecules by name (-m LiH) or a molecule file (-f molecules.json), one of the two")
    if file is not None:
        found = load_molecules(file)
        return found if index is None else [select_molecule(found, index)]
    if index is not None:
        raise MoleculeError(f"--molecule-index {index} goes with a molecule file (-f)")
    known = catalogue()
    unknown = [name for name in names or [] if name not in known]
    if unknown:
        raise MoleculeError(f"no molecule {unknown[0]!r} in the catalogue: expected one of {', '.join(known)}")
    return [known[name] for name in names or []]


def _measured(molecule: Molecule, options: VQEOptions, predicted: Estimate) -> dict[str, Any]:
    """What a run really took (processor seconds), in a process of its own that has not imported anything before."""
    empty = {"measured_evaluations": None, "measured_seconds": None, "measured_over_predicted": None}
    if not predicted.feasible:
        return empty
    import os
    import resource
    import subprocess

    program = (
        "import sys; from simulation.molecules import Molecule; from simulation.options import VQEOptions;"
        "from simulation.record import MoleculeData; from simulation.runner import VQERunner;"
        "m = Molecule.from_record(MoleculeData.model_validate_json(sys.argv[1]));"
        "o = VQEOptions.model_validate_json(sys.argv[2]);"
        "r = VQERunner(molecules=[m], options=o).run()[0]; print(r.energy_evaluations)"
    )
    arguments = [sys.executable, "-c", program, molecule.to_record().model_dump_json(), options.model_dump_json()]
    print(f"{predicted.molecule}: measuring ...", file=sys.stderr)
    # Processor time of one thread, which other work on the machine does not change.
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    one_thread = os.environ | dict.fromkeys(THREAD_VARIABLES, "1")
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=one_thread)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = ended.ru_utime - began.ru_utime + ended.ru_stime - began.ru_stime
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1]
        print(f"{predicted.molecule}: the run failed: {reason}", file=sys.stderr)
        return empty
    ratio = None if predicted.seconds is None else seconds / predicted.seconds
    return {
        "measured_evaluations": int(done.stdout),
        "measured_seconds": round(seconds, 2),
        "measured_over_predicted": None if ratio is None else round(ratio, 2),
    }


def _refuse(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(2)


def _row(found: Estimate) -> dict[str, Any]:
    space = found.fitting
    return asdict(found) | {"fitting": space.model_dump() if space else None}


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """The columns that a person reads."""
    fitting = row["fitting"]
    return {
        **{name: row[name] for name in _TABLE},
        "pauli_terms (at most)": row["pauli_terms"],
        "memory (at most)": _size(row["memory_bytes"]),
        "evaluations (about)": row["evaluations"],
        "seconds (about)": None if row["seconds"] is None else float(f"{row['seconds']:.2g}"),
        "feasible": row["feasible"],
        "active space that fits": None if fitting is None else f"{fitting['electrons']},{fitting['orbitals']}",
        **{name: row[name] for name in row if name.startswith("measured")},
    }


def _size(number: int) -> str:
    size, units = float(number), ["B", "kB", "MB", "GB", "TB", "PB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.3g} {units[0]}"
