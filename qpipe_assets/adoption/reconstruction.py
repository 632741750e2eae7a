"""Records made again from a warehouse's rows, so that the ordinary ingest can take them with ids that do not collide.

What the tables do not keep stays unknown. Positions of parameters and terms are those of parameter_index and term_index
where these count from 0; where they are hashes, the order of the rows as they are stored stands in for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qpipe_assets.adoption.row_filters import among
from qpipe_assets.adoption.runs import JOINING, SEPARATOR, Run, Runs, molecule_data
from simulation.record import VQEDecoratedResult

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import Table as IcebergTable

_STEPS_AT_ONCE = 10_000
"""Evaluations whose parameters are in memory at a time."""
_STEP, _INDEX = "iteration_step", "parameter_index"
_PARTS = {
    "ansatz_info": (("ansatz",), ()),
    "initial_parameters": (("initial_parameter_value",), (_INDEX,)),
    "optimal_parameters": (("optimal_parameter_value",), (_INDEX,)),
    "vqe_iterations": (
        ("iteration_energy", "energy_std_dev", "energy_delta", "parameter_delta_norm", "cumulative_min_energy"),
        (_STEP,),
    ),
    "iteration_parameters": (("parameter_value",), (_STEP, _INDEX)),
    "hamiltonian_terms": (("term_label", "coeff_real", "coeff_imag"), ("term_index",)),
}
"""Tables with many rows for each run: their values, and what they are ordered by."""
_OPTIONAL_INITIAL = ("init_strategy", "seed", "ansatz_name", "exact_estimator")
_OPTIONAL_RESULT = ("nuclear_repulsion_energy", "success", "nfev", "nit")


class IncompleteError(ValueError):
    """The rows of a run do not make a record."""


def reconstruct(
    tables: Mapping[str, IcebergTable], runs: Runs, wanted: Sequence[Run]
) -> Iterator[tuple[Run, VQEDecoratedResult | IncompleteError]]:
    """The record of each wanted run, or why there is none; a bounded part of the tables is in memory at a time.

    Args:
        tables: of the warehouse, by name.
        runs: all of them.
        wanted: some of them.
    """
    for chunk in _chunks(wanted):
        parts = {name: _Part.read(tables[name], name, chunk, runs.joined_by) for name in _PARTS if name in tables}
        for number, run in enumerate(chunk):
            try:
                yield run, _record(run, _Lists(parts, number, run.copies))
            # pydantic's ValidationError is a ValueError too.
            except ValueError as error:
                yield run, IncompleteError(f"{run.experiment_id}: {error}")


def _chunks(wanted: Sequence[Run]) -> Iterator[list[Run]]:
    chunk: list[Run] = []
    steps = 0
    # Runs of one batch lie in the same files.
    for run in sorted(wanted, key=lambda run: (run.row["processing_batch_id"], run.key)):
        if chunk and steps + run.row["total_iterations"] > _STEPS_AT_ONCE:
            yield chunk
            chunk, steps = [], 0
        chunk.append(run)
        steps += run.row["total_iterations"]
    if chunk:
        yield chunk


@dataclass(frozen=True)
class _Part:
    """Rows of one table, those of one run side by side in stored order; `starts[n]` is where those of run n begin."""

    columns: dict[str, np.ndarray[Any, Any]]
    starts: np.ndarray[Any, Any]

    @classmethod
    def read(cls, table: IcebergTable, name: str, runs: Sequence[Run], joined_by: tuple[str, ...]) -> _Part:
        values, order = _PARTS[name]
        present = [column for column in (*values, *order) if column in table.schema().column_names]
        rows = table.scan(row_filter=_of_runs(runs, joined_by), selected_fields=(*joined_by, *present)).to_arrow()
        keys = pc.binary_join_element_wise(*(rows.column(c).cast(pa.string()) for c in joined_by), SEPARATOR)
        found = pc.index_in(keys, value_set=pa.array([run.key for run in runs], keys.type))
        numbers = pc.fill_null(found, len(runs)).to_numpy()
        sorting = np.argsort(numbers, kind="stable")
        columns = {column: rows.column(column).to_numpy()[sorting] for column in present}
        return cls(columns, np.searchsorted(numbers[sorting], np.arange(len(runs) + 1)))


def _of_runs(runs: Sequence[Run], joined_by: tuple[str, ...]) -> BooleanExpression:
    from pyiceberg.expressions import And

    if joined_by == JOINING:
        batches = among("processing_batch_id", {run.row["processing_batch_id"] for run in runs})
        return And(batches, among("molecule_id", {run.row["molecule_id"] for run in runs}))
    return among("experiment_id", {run.experiment_id for run in runs})


class _Lists:
    """The rows of one run, each once."""

    def __init__(self, parts: Mapping[str, _Part], number: int, copies: int) -> None:
        self._parts = parts
        self._number = number
        self._copies = copies

    def rows(self, name: str) -> dict[str, np.ndarray[Any, Any]]:
        """Columns of the run's rows in a table, in stored order and with copies."""
        if name not in self._parts:
            raise IncompleteError(f"there is no table {name}")
        part = self._parts[name]
        mine = slice(part.starts[self._number], part.starts[self._number + 1])
        return {column: values[mine] for column, values in part.columns.items()}

    def ordered(self, name: str, index: str) -> dict[str, list[Any]]:
        """The same without copies, by position."""
        rows = self.rows(name)
        chosen = self._first_copies(name, rows[index])
        return {column: values[chosen].tolist() for column, values in rows.items()}

    def by_step(self) -> dict[int, list[float]]:
        """Parameters of each evaluation, by position."""
        rows = self.rows("iteration_parameters")
        sorting = np.argsort(rows[_STEP], kind="stable")
        steps, values, index = rows[_STEP][sorting], rows["parameter_value"][sorting], rows[_INDEX][sorting]
        numbers, starts = np.unique(steps, return_index=True)
        found = {}
        for step, start, end in zip(numbers.tolist(), starts, [*starts[1:], len(steps)], strict=True):
            chosen = self._first_copies("iteration_parameters", index[start:end])
            found[step] = values[start:end][chosen].tolist()
        return found

    def _first_copies(self, name: str, index: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        count, rest = divmod(len(index), self._copies)
        if rest:
            raise IncompleteError(f"{len(index)} rows in {name} for a run that was written {self._copies} times")
        by_index = np.argsort(index, kind="stable")[:: self._copies]
        counts_from_0 = np.array_equal(index[by_index], np.arange(count))
        return by_index if counts_from_0 else np.arange(count)


def _record(run: Run, lists: _Lists) -> VQEDecoratedResult:
    row = run.row
    given: dict[str, Any] = {
        "vqe_result": _result(run, lists),
        "molecule": {"molecule_data": molecule_data(run.row)},
        **{name: row[name] for name in ("basis_set", "hamiltonian_time", "mapping_time", "vqe_time", "total_time")},
        "molecule_id": row["molecule_id"],
    }
    return VQEDecoratedResult.model_validate(given)


def _result(run: Run, lists: _Lists) -> dict[str, Any]:
    row = run.row
    return {
        "initial_data": _initial_data(row, lists),
        "iteration_list": _iterations(row, lists),
        "minimum": row["minimum_energy"],
        "optimal_parameters": lists.ordered("optimal_parameters", _INDEX)["optimal_parameter_value"],
        # Scripts that inferred its type from nulls have made it a text.
        "maxcv": None if row["maxcv"] is None else float(row["maxcv"]),
        "minimization_time": row["minimization_time"],
        **{name: row.get(name) for name in _OPTIONAL_RESULT},
    }


def _initial_data(row: Mapping[str, Any], lists: _Lists) -> dict[str, Any]:
    terms = lists.ordered("hamiltonian_terms", "term_index")
    parameters = lists.ordered("initial_parameters", _INDEX)["initial_parameter_value"]
    circuits = lists.rows("ansatz_info")["ansatz"]
    if not len(circuits):
        raise IncompleteError("it has no row in ansatz_info")
    numbers = zip(terms["coeff_real"], terms["coeff_imag"], strict=True)
    return {
        **{name: row[name] for name in ("backend", "num_qubits", "optimizer", "noise_backend", "default_shots")},
        "ansatz_reps": row["ansatz_reps"],
        "ansatz": circuits[0],
        "num_parameters": len(parameters),
        "initial_parameters": parameters,
        "hamiltonian": [
            {"label": label, "coefficients": {"real": real, "imaginary": imaginary}}
            for label, (real, imaginary) in zip(terms["term_label"], numbers, strict=True)
        ],
        **{name: row[name] for name in _OPTIONAL_INITIAL if row.get(name) is not None},
    }


def _iterations(row: Mapping[str, Any], lists: _Lists) -> list[dict[str, Any]]:
    rows = lists.rows("vqe_iterations")
    steps, first = np.unique(rows.pop(_STEP), return_index=True)
    if len(steps) != row["total_iterations"]:
        raise IncompleteError(f"{len(steps)} of its {row['total_iterations']} evaluations are in vqe_iterations")
    # What is null in the table is NaN in the arrays.
    columns = {name: [None if math.isnan(x) else x for x in values[first].tolist()] for name, values in rows.items()}
    parameters = lists.by_step()
    optional = [name for name in columns if name not in ("iteration_energy", "energy_std_dev")]
    return [
        {
            "iteration": step,
            "parameters": parameters.get(step, []),
            "result": columns["iteration_energy"][i],
            "std": columns["energy_std_dev"][i],
            **{name: columns[name][i] for name in optional},
        }
        for i, step in enumerate(steps.tolist())
    ]
