"""The report of a molecule: all its runs compared, and the best one in detail."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from qpipe_assets.reports import facts, labels
from qpipe_assets.reports.comparison import RunSummary, summarise
from qpipe_assets.reports.convergence_figure import MOST_CURVES, Curve, overlaid_convergence
from qpipe_assets.reports.document import Block, Document, Note, Picture, Section, Table
from qpipe_assets.reports.energy_figure import EnergyPoint, compared_energies
from qpipe_assets.reports.run_report import (
    PLOT_HEIGHT,
    PLOT_WIDTH,
    detail_blocks,
    geometry_table,
    molecule_picture,
    operator_sections,
)
from qpipe_assets.reports.scan_figure import HEIGHT, WIDTH, scan_drawing

if TYPE_CHECKING:
    from simulation.record import VQEDecoratedResult

MOST_COMPARED = 40
MOST_LISTED = 500
_ID_CHARACTERS = 12
_COLUMNS = (
    *("", "experiment", "method", "engine", "certified", "qubits", "evals"),
    *("energy (Ha)", "error (mHa)", "verdict", "s"),
)
_NUMERIC = frozenset({0, 5, 6, 7, 8, 10})


def molecule_report(records: Iterable[VQEDecoratedResult]) -> Document:
    """All runs of one molecule.

    Args:
        records: Read one after the other, and only the best one so far is kept; an experiment counts once.

    Raises:
        ValueError: there is no record, or they are of different molecules.
    """
    summaries: dict[str, RunSummary] = {}
    best: VQEDecoratedResult | None = None
    best_rank: tuple = ()
    first = ""
    for record in records:
        molecule, summary = labels.molecule_of(record), summarise(record)
        first = first or molecule
        if molecule != first:
            raise ValueError(f"records of {first} and of {molecule}: expected one molecule a report")
        if summary.experiment_id in summaries:
            continue
        if best is None or summary.rank < best_rank:
            best, best_rank = _without_trajectory(record), summary.rank
        summaries[summary.experiment_id] = summary
    if best is None:
        raise ValueError("no records: expected at least one run of the molecule")
    return _report(first, sorted(summaries.values(), key=lambda run: run.rank), best)


def _report(molecule: str, runs: Sequence[RunSummary], best: VQEDecoratedResult) -> Document:
    """The report of ranked runs, of which `best` is the first."""
    count = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
    accurate = sum(run.chemically_accurate for run in runs)
    invalid = sum(run.valid is False for run in runs)
    subtitle = f"{count}, {accurate} chemically accurate, {invalid} not valid"
    title = "Best run" if best.valid is not False else "Best run: none is valid"
    method = Note(f"{labels.space_label(best)}; {labels.method_label(best)}; {runs[0].experiment_id[:_ID_CHARACTERS]}")
    return Document(
        name=molecule,
        title=f"VQE of {molecule}",
        subtitle=subtitle,
        sections=(
            Section(title, (facts.verdict(best), facts.energies(best), method), molecule_picture(best)),
            Section("Runs", _run_tables(runs)),
            *_scan_sections(runs),
            Section("Energies", _energy_blocks(runs)),
            Section("Convergence", _convergence_blocks(runs)),
            Section("The best run in detail", detail_blocks(best)),
            Section("Molecule", (facts.molecule(best), geometry_table(best.molecule.molecule_data))),
            *operator_sections(best),
        ),
    )


def _without_trajectory(record: VQEDecoratedResult) -> VQEDecoratedResult:
    """The record with its evaluations' parameters dropped: of a long run they are hundreds of megabytes."""
    steps = [step.model_copy(update={"parameters": []}) for step in record.vqe_result.iteration_list]
    return record.model_copy(update={"vqe_result": record.vqe_result.model_copy(update={"iteration_list": steps})})


def _run_tables(runs: Sequence[RunSummary]) -> tuple[Block, ...]:
    """One table a problem, the most complete problem first; the best valid run of each stands out."""
    groups: dict[object, list[tuple[int, RunSummary]]] = {}
    for number, run in enumerate(runs[:MOST_LISTED], start=1):
        groups.setdefault(run.problem, []).append((number, run))
    blocks: list[Block] = []
    for group in groups.values():
        best = group[0][1]
        marked = frozenset({0}) if best.scan is None and best.valid is not False else frozenset()
        where = f"scan of {best.scan[0]}" if best.scan else best.geometry
        rows = tuple(_row(number, run) for number, run in sorted(group, key=_place_in_table))
        blocks.append(Table(f"{best.space}; {where}", _COLUMNS, rows, marked, _NUMERIC))
    if len(runs) > MOST_LISTED:
        blocks.append(Note(f"The {len(runs) - MOST_LISTED} runs furthest from their exact energy are not listed."))
    return tuple(blocks)


def _place_in_table(numbered: tuple[int, RunSummary]) -> tuple[float, int]:
    """Points of a scan by their value, other runs by rank."""
    number, run = numbered
    return (run.scan[1] if run.scan else 0.0, number)


def _row(number: int, run: RunSummary) -> tuple[str, ...]:
    return (
        str(number),
        run.experiment_id[:_ID_CHARACTERS],
        f"{run.geometry}, {run.method}" if run.scan else run.method,
        run.engine,
        {True: "yes", False: "no", None: ""}[run.certified],
        str(run.num_qubits),
        str(run.evaluations),
        "" if run.total_energy is None else f"{run.total_energy:.8f}",
        "" if run.error_mha is None else labels.error_text(run.error_mha, _std_mha(run)).removesuffix(" mHa"),
        _verdict(run),
        f"{run.seconds:.3g}",
    )


def _verdict(run: RunSummary) -> str:
    if run.valid is False:
        return "not valid"
    if run.error_mha is None:
        return "no exact energy"
    return "accurate" if run.chemically_accurate else "not accurate"


def _energy_blocks(runs: Sequence[RunSummary]) -> tuple[Block, ...]:
    compared = [(number, run) for number, run in enumerate(runs, start=1) if run.error_mha is not None]
    if not compared:
        return (Note("No run has an exact energy to be compared with."),)
    points = [
        EnergyPoint(
            label=_label(number, run),
            error_mha=run.error_mha or 0.0,
            std_mha=_std_mha(run),
            hf_error_mha=run.hf_error_mha,
            valid=run.valid,
        )
        for number, run in compared[:MOST_COMPARED]
    ]
    caption = (
        "Distance to the exact energy in the run's own orbitals, the best run on top: the bar is Hartree-Fock, the "
        "band ±1.6 mHa, red is not valid. The axis is linear within the band, logarithmic outside."
    )
    if len(compared) > MOST_COMPARED:
        caption += f" The best {MOST_COMPARED} of {len(compared)} runs."
    height = 0.75 + 0.2 * max(len(points), 3)
    return (Picture(compared_energies(points), PLOT_WIDTH, height, caption),)


def _convergence_blocks(runs: Sequence[RunSummary]) -> tuple[Block, ...]:
    drawn = [(number, run) for number, run in enumerate(runs, start=1) if run.curve is not None]
    if not drawn:
        return (Note("No run has an exact energy, so there is no error to draw."),)
    curves = [Curve(_label(n, run), run.steps, run.curve) for n, run in drawn[:MOST_CURVES] if run.curve is not None]
    caption = "Distance to the exact energy in the run's own orbitals; the best run is drawn heavier."
    if len(drawn) > MOST_CURVES:
        caption += f" The best {MOST_CURVES} of {len(drawn)} runs."
    return (Picture(overlaid_convergence(curves, best=0), PLOT_WIDTH, PLOT_HEIGHT + 0.5, caption),)


def _std_mha(run: RunSummary) -> float | None:
    return None if not run.standard_error else 1000 * run.standard_error


def _label(number: int, run: RunSummary) -> str:
    """A run in a figure, by its number in the table."""
    where = f"{run.geometry}, " if run.scan else ""
    return f"{number}  {where}{run.method}"


def _scan_sections(runs: Sequence[RunSummary]) -> tuple[Section, ...]:
    scans: dict[tuple[str, str], list[RunSummary]] = {}
    for run in runs:
        if run.scan is not None:
            scans.setdefault((run.space, run.scan[0]), []).append(run)
    pictures = tuple(
        Picture(scan_drawing(points), WIDTH, HEIGHT, _scan_caption(coordinate, space))
        for (space, coordinate), points in scans.items()
        if len({point.scan for point in points}) > 1
    )
    return (Section("Potential-energy scan", pictures),) if pictures else ()


def _scan_caption(coordinate: str, space: str) -> str:
    return (
        f"Scan of {coordinate}; {space}; the best runs. Below, the distance to the exact energy with the band of "
        "±1.6 mHa; its axis is linear within the band, logarithmic outside where points lie far from it."
    )
