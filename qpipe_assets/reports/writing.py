"""Reports as files: one page and one PDF for each run or molecule, named after it."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe_resources.object_store import FolderObjectStore

if TYPE_CHECKING:
    from qpipe_assets.reports.document import Document
    from simulation.record import VQEDecoratedResult


class ReportFormat(enum.StrEnum):
    """What a report is written as."""

    HTML = "html"
    PDF = "pdf"
    BOTH = "both"


def write_run_report(record: VQEDecoratedResult, folder: Path, form: ReportFormat = ReportFormat.BOTH) -> list[Path]:
    """Write the report of one run; returns the files, `<molecule>-<experiment>.html` and `.pdf`.

    Raises:
        MoleculeError: the molecule has an unknown element.
        OSError: the folder cannot be written.
    """
    from qpipe_assets.reports.run_report import run_report

    return write(run_report(record), folder, form)


def write_molecule_report(
    records: Iterable[VQEDecoratedResult], folder: Path, form: ReportFormat = ReportFormat.BOTH
) -> list[Path]:
    """Write the report of all runs of one molecule; returns the files, `<molecule>.html` and `.pdf`.

    Raises:
        ValueError: there is no record, or they are of different molecules.
        OSError: the folder cannot be written.
    """
    from qpipe_assets.reports.molecule_report import molecule_report

    return write(molecule_report(records), folder, form)


def write(document: Document, folder: Path, form: ReportFormat) -> list[Path]:
    """Write a report into a folder, whole or not at all; an older one of the same name is replaced."""
    from qpipe_assets.reports.html import to_html
    from qpipe_assets.reports.pdf import to_pdf

    contents: dict[str, bytes] = {}
    if form is not ReportFormat.PDF:
        contents[f"{document.name}.html"] = to_html(document).encode()
    if form is not ReportFormat.HTML:
        contents[f"{document.name}.pdf"] = to_pdf(document)
    store = FolderObjectStore(folder.absolute())
    for name, content in contents.items():
        store.put(name, content)
    return [folder / name for name in contents]
