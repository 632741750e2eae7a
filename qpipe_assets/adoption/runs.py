"""The runs of a warehouse: which rows of its tables belong to one execution, of which molecule; and what is not known.

Scripts of the second generation join their tables by experiment_id; those of the first drew a new one for each table,
so there the batch, the molecule's position and the basis set join them, where these are unique.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qpipe_assets.adoption.row_filters import equal
from qpipe_assets.tables.decode import valid_partition_key
from qpipe_assets.tables.execution import TIMES, execution_digest
from simulation.molecules import partition_key_of
from simulation.record import MoleculeData

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import Table as IcebergTable

HEADS = ("vqe_results", "molecules", "performance_metrics")
"""Tables with one row for each run; no run is known without them."""
JOINING = ("processing_batch_id", "molecule_id", "basis_set")
_OF_THE_BATCH = ("processing_timestamp", "processing_date", "processing_batch_id", "processing_name")
SEPARATOR = "\x1f"

Row = dict[str, Any]


class _UnusableError(ValueError):
    """Why rows tell of no run that could be recognised."""


@dataclass(frozen=True)
class Run:
    """One execution.

    Attributes:
        execution: its digest.
        molecule: partition key.
        experiment_id: the one in vqe_results.
        key: what its rows have in common (see `Runs.joined_by`), joined by SEPARATOR.
        copies: how many times it was written, because its record was delivered so often.
        row: its columns in the HEADS.
    """

    execution: str
    molecule: str
    experiment_id: str
    key: str
    copies: int
    row: Row


@dataclass(frozen=True)
class Runs:
    """All runs of some tables.

    Attributes:
        usable: by execution.
        repeated: how many more keys tell of the same executions.
        unusable: key -> why its rows tell of no run.
        joined_by: columns that make the keys.
    """

    usable: dict[str, Run]
    repeated: int
    unusable: dict[str, str]
    joined_by: tuple[str, ...]


def find_runs(tables: Mapping[str, IcebergTable], rows: BooleanExpression | None = None) -> Runs:
    """The runs that the HEADS among the tables tell of; none where one of them is missing.

    Args:
        tables: by name.
        rows: those that count; all when None.
    """
    from pyiceberg.expressions import AlwaysTrue

    if any(name not in tables for name in HEADS):
        return Runs({}, 0, {}, ("experiment_id",))
    heads = {name: tables[name].scan(row_filter=rows or AlwaysTrue()).to_arrow().to_pylist() for name in HEADS}
    joined_by = _joined_by(heads)
    grouped = {name: _grouped(rows, joined_by) for name, rows in heads.items()}
    usable: dict[str, Run] = {}
    unusable: dict[str, str] = {}
    repeated = 0
    for key in grouped["vqe_results"]:
        try:
            run = _run(key, grouped, joined_by)
        # MoleculeError and pydantic's ValidationError are ValueErrors too.
        except ValueError as reason:
            unusable[key] = str(reason)
            continue
        repeated += run.execution in usable
        usable.setdefault(run.execution, run)
    return Runs(usable, repeated, unusable, joined_by)


def rows_of(keys: Sequence[str], joined_by: tuple[str, ...], table: IcebergTable) -> BooleanExpression:
    """The rows of a table that have one of these keys, and where it lacks columns of the key, perhaps more.

    Args:
        keys: at least one.
        joined_by: their columns.
        table: whose rows.
    """
    from pyiceberg.expressions import And, Or

    def same(key: str) -> BooleanExpression:
        parts = dict(zip(joined_by, key.split(SEPARATOR), strict=True))
        terms = [
            equal(name, None if value == str(None) else value)
            for name, value in parts.items()
            if name in table.schema().column_names
        ]
        return terms[0] if len(terms) == 1 else And(*terms)

    return same(keys[0]) if len(keys) == 1 else Or(*(same(key) for key in keys))


def molecule_data(row: Row) -> Row:
    """The molecule of a row of `molecules`, as the record's schema has it."""
    given = {
        "symbols": row["atom_symbols"],
        "coords": row["coordinates"],
        "multiplicity": row["multiplicity"],
        "charge": row["charge"],
        "units": row["coordinate_units"],
        "masses": row["atomic_masses"],
    }
    return {name: value for name, value in given.items() if value is not None}


def _joined_by(heads: Mapping[str, list[Row]]) -> tuple[str, ...]:
    known = {row["experiment_id"] for row in heads["molecules"]} - {None}
    return ("experiment_id",) if any(row["experiment_id"] in known for row in heads["vqe_results"]) else JOINING


def _grouped(rows: list[Row], joined_by: tuple[str, ...]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        # molecules has no basis set: its rows are found by the rest of the key.
        found[SEPARATOR.join(str(row[name]) for name in joined_by if name in row)].append(row)
    return found


def _run(key: str, grouped: Mapping[str, dict[str, list[Row]]], joined_by: tuple[str, ...]) -> Run:
    results = grouped["vqe_results"][key]
    nameless = [name for name in joined_by if results[0][name] is None]
    if nameless:
        raise _UnusableError(f"{', '.join(nameless)} is missing")
    row = {
        **_the_one("molecules", grouped["molecules"].get(key) or grouped["molecules"].get(_without_basis(key), [])),
        **_the_one("performance_metrics", grouped["performance_metrics"].get(key, [])),
        **_the_one("vqe_results", results),
    }
    molecule = MoleculeData.model_validate(molecule_data(row))
    partition = partition_key_of(molecule.symbols, molecule.charge, molecule.multiplicity)
    if not valid_partition_key(partition):
        raise _UnusableError(f"{partition!r} is no valid partition key")
    measured = [row[name] for name in (*TIMES, "minimization_time", "minimum_energy")]
    if None in measured or row["total_iterations"] is None:
        raise _UnusableError("its energy or one of its times is missing")
    execution = execution_digest(molecule.model_dump(), row["basis_set"], measured, row["total_iterations"])
    return Run(execution, partition, row["experiment_id"], key, len(results), row)


def _without_basis(key: str) -> str:
    return key.rpartition(SEPARATOR)[0]


def _the_one(table: str, rows: list[Row]) -> Row:
    """What all rows say, whichever batch and identity they carry."""
    if not rows:
        raise _UnusableError(f"it has no row in {table}")
    contents = {
        repr([value for name, value in row.items() if name != "experiment_id" and name not in _OF_THE_BATCH])
        for row in rows
    }
    if len(contents) > 1:
        raise _UnusableError(f"{len(contents)} different runs share its key in {table}")
    return rows[0]
