"""What became of a campaign's runs, as the UI shows it."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from qpipe_assets.reports.asset_metadata import MOST_CURVES, convergence_markdown, errors_mha, molecule_markdown
from qpipe_resources.outbox import Attempt
from simulation.record import MoleculeData, VQEDecoratedResult

MOST_REASONS = 10


@dataclass
class Outcome:
    """What became of a campaign's runs; no record is kept, for a campaign may have thousands."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    invalid: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    timed_out: int = 0
    """How many of the failures took longer than they may."""
    kept: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Of each experiment of this campaign whose record is in the outbox: its label, and the index of its row."""
    waiting: list[str] = field(default_factory=list)
    """Why each record of an earlier run still waits for its delivery."""
    infeasible: Counter[str] = field(default_factory=Counter)
    """Runs that cannot fit and were not attempted, by what they are and why."""
    molecule: MoleculeData | None = None
    reports: list[Path] = field(default_factory=list)

    def computed(self, label: str, record: VQEDecoratedResult, where: str) -> None:
        """Note what is shown of a computed run, and where its record is."""
        self.molecule = self.molecule or record.molecule.molecule_data
        self.rows.append(_row(record, where))
        self.invalid += record.valid is False
        errors = errors_mha(record)
        if errors and len(self.curves) < MOST_CURVES:
            self.curves[label] = errors

    def keep(self, label: str, experiment: str, reason: str) -> None:
        """Note that the record of the run whose row comes next is in the outbox: a failure until it leaves."""
        self.failures[label] = reason
        self.kept[experiment] = (label, len(self.rows))

    def attempted(self, attempts: list[Attempt]) -> None:
        """Note what became of all that waited; what no longer waits was delivered, by whomever."""
        left = {one.file.experiment: str(one.error) for one in attempts if one.where is None}
        where = {one.file.experiment: one.where for one in attempts}
        for experiment in self.kept.keys() - left.keys():
            label, row = self.kept.pop(experiment)
            del self.failures[label]
            self.rows[row]["where"] = where.get(experiment) or "delivered by another process"
        self.waiting = [
            f"{one.file.experiment[:12]}: {one.error}"
            for one in attempts
            if one.waits and one.file.experiment not in self.kept
        ]


def failure_text(partition: str, wanted: int, outcome: Outcome) -> str:
    """What a campaign ends in that did not go well."""
    lines = []
    if outcome.failures:
        lines.append(f"{len(outcome.failures)} of {wanted} runs of {partition} failed; the others have landed:")
        lines += [f"- {label}: {reason}" for label, reason in outcome.failures.items()]
    if outcome.waiting:
        lines.append(f"{len(outcome.waiting)} records of earlier runs of {partition} wait for their delivery:")
        lines += [f"- {reason}" for reason in outcome.waiting[:MOST_REASONS]]
        lines += [f"- and {more} more"] if (more := len(outcome.waiting) - MOST_REASONS) > 0 else []
        lines.append("`qpipe replay` delivers them, and so does the next materialization, when the service is back.")
    return "\n".join(lines)


def campaign_metadata(partition: str, asked: int, skipped: int, outcome: Outcome) -> dict[str, dg.MetadataValue]:
    """Counts, the table of runs, pictures and reports."""
    counts = {
        "asked": asked,
        "computed": len(outcome.rows),
        "skipped": skipped,
        "failed": len(outcome.failures),
        "timed_out": outcome.timed_out,
        "invalid": outcome.invalid,
        "waiting": len(outcome.waiting),
        "infeasible": outcome.infeasible.total(),
    }
    metadata: dict[str, dg.MetadataValue] = {name: dg.MetadataValue.int(count) for name, count in counts.items()}
    if outcome.rows:
        metadata["runs"] = dg.MetadataValue.table([dg.TableRecord(row) for row in outcome.rows], _COLUMNS)
    if outcome.infeasible:
        lines = (f"- {count} runs: {why}" for why, count in outcome.infeasible.items())
        metadata["infeasible_runs"] = dg.MetadataValue.md("\n".join(lines))
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
        dg.TableColumn("where", "string", "Where the record went: a key, a message, or the outbox"),
    ]
)


def _row(record: VQEDecoratedResult, where: str) -> dict[str, Any]:
    initial = record.vqe_result.initial_data
    return {
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
        "where": where,
    }
