"""`qpipe estimate`: what a run would need, before it is launched; with --measure, how right that is."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from qpipe_cli.data import FormatOption
from qpipe_cli.molecule_choice import MoleculeFile, MoleculeIndex, MoleculeNames, choose_molecules
from qpipe_cli.option_flags import FlagError, add_command
from qpipe_cli.output import Format, print_rows, refuse
from qpipe_cli.simulate import OPTIONS
from qpipe_resources.simulation_workers import THREAD_VARIABLES
from simulation.estimate import Estimate, estimate
from simulation.molecules import Molecule, MoleculeError, partition_key
from simulation.options import VQEOptions
from simulation.recommended import recommended_options
from simulation.validation import reasons

_TABLE = ("molecule", "ansatz", "engine", "qubits", "electrons", "orbitals", "parameters", "determinants")


def register(app: typer.Typer) -> None:
    """Add the command to the application, with one flag for each option of a run."""
    add_command(app, "estimate", estimate_command, (OPTIONS,))


def estimate_command(
    given: dict[str, Any],
    molecule: MoleculeNames = None,
    file: MoleculeFile = None,
    molecule_index: MoleculeIndex = None,
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
            for one in choose_molecules(molecule, file, molecule_index)
        ]
        estimates = [estimate(one, options) for one, options in asked]
    except ValidationError as error:
        refuse(reasons(error, OPTIONS.flag))
    except (FlagError, EngineError, ProblemError, MoleculeError, ValueError, OSError) as error:
        refuse(str(error))
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
