"""`qpipe report`: HTML and PDF reports of landed runs and molecules, or of files of records."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qpipe_assets.reports.writing import ReportFormat, write_molecule_report, write_run_report
from qpipe_cli.data import fail
from qpipe_cli.output import make_folder

if TYPE_CHECKING:
    from qpipe_assets.reports.sources import LandedRuns, MoleculeRecords

Job = Callable[[], list[Path]]


def report(
    targets: Annotated[
        list[str],
        typer.Argument(
            help="Files of records, folders of them, experiments by the first characters of their id (4 or more), "
            "or molecules (all their landed runs)."
        ),
    ],
    output_dir: Annotated[Path, typer.Option("--output-dir", help="Where the reports are written.")] = Path("reports"),
    form: Annotated[ReportFormat, typer.Option("--format", help="What is written.")] = ReportFormat.BOTH,
) -> None:
    """Write reports on runs and molecules from their records; prints the files."""
    from qpipe_assets.reports.sources import UnknownSourceError
    from simulation.molecules import MoleculeError

    try:
        jobs = [job for target in targets for job in _jobs(target, output_dir, form)]
        make_folder(output_dir, "--output-dir")
    except (UnknownSourceError, MoleculeError, ValueError, OSError) as error:
        fail(str(error))
    for job in jobs:
        for path in job():
            print(path)


def _jobs(target: str, folder: Path, form: ReportFormat) -> list[Job]:
    """What is to be written for one target; every record that it names is there."""
    from qpipe_assets.reports.sources import is_identity, is_path, records_in_file, records_in_folder

    path = Path(target)
    if path.is_dir():
        return [_molecule_job(found, folder, form) for found in records_in_folder(path, _say)]
    if path.exists() or is_path(target):
        return [functools.partial(write_run_report, record, folder, form) for record in records_in_file(path)]
    if is_identity(target):
        return [functools.partial(write_run_report, _landed().experiment(target), folder, form)]
    return [_molecule_job(_landed().molecule(target), folder, form)]


def _molecule_job(found: MoleculeRecords, folder: Path, form: ReportFormat) -> Job:
    return lambda: write_molecule_report(found.read(), folder, form)


def _landed() -> LandedRuns:
    from qpipe_assets.reports.sources import LandedRuns
    from qpipe_assets.tables.installation import open_installation

    return LandedRuns(open_installation(), _say)


def _say(line: str) -> None:
    print(line, file=sys.stderr)
