"""The nine normalized tables as Arrow kernels: staged records in, one table out; no engine, no I/O.

A kernel sees staged records (in the record's Arrow schema, `experiment_id` never null) and the batch's constants, and
returns rows in the declared schema. Ids are positional: `<experiment>_iter_<step>`, `<iteration>_param_<index>`,
`<experiment>_term_<index>`. Texts that many rows share are dictionaries: a row costs an index, here and in the writer.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qpipe_assets.tables import schemas

PROCESSING_NAME = "quantum_base_processing"

Columns = dict[str, Any]


@dataclass(frozen=True)
class BatchConstants:
    """What every row of a batch carries."""

    batch_id: str
    at: dt.datetime
    molecule: str

    def columns(self) -> Columns:
        """The constants as scalars under their columns' names."""
        return {
            "processing_timestamp": pa.scalar(self.at, pa.timestamp("us", tz="UTC")),
            "processing_date": pa.scalar(self.at.date(), pa.date32()),
            "processing_batch_id": self.batch_id,
            "processing_name": PROCESSING_NAME,
            "molecule": self.molecule,
        }


def flatten(staged: pa.Table, name: str, constants: BatchConstants) -> pa.Table:
    """Rows of the table `name` for the staged records, in its declared schema; texts may be dictionaries of them.

    Args:
        staged: records in the record's Arrow schema.
        name: one of the nine normalized tables.
        constants: what the batch adds to every row.
    """
    # One chunk, so that every list array has plain offsets.
    batch = staged.combine_chunks()
    columns = _KERNELS[name](_Records(batch))
    rows = len(columns["experiment_id"])
    columns |= {key: _constant(value, rows) for key, value in constants.columns().items()}
    declared = schemas.table(name).arrow_schema()
    arrays = [_of_type(columns[field.name], field.type) for field in declared]
    fields = [field.with_type(array.type) for field, array in zip(declared, arrays, strict=True)]
    return pa.table(arrays, schema=pa.schema(fields))


def _constant(value: Any, rows: int) -> pa.Array:
    if isinstance(value, str):
        return _repeat(pa.array([value]), pa.repeat(pa.scalar(0, pa.int32()), rows))
    return pa.repeat(value, rows)


def _of_type(values: Any, declared: pa.DataType) -> pa.Array:
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_dictionary(array.type) and array.type.value_type == declared:
        return array
    return array.cast(declared)


class _Records:
    """Columns of staged records by the path of their names."""

    def __init__(self, batch: pa.Table) -> None:
        self._batch = batch
        self.initial = self.path("vqe_result", "initial_data")

    def path(self, first: str, *rest: str) -> pa.Array:
        column = self._batch.column(first)
        array = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        return _field(array, *rest)

    def header(self, *names: str) -> Columns:
        """The identifying columns that many tables share."""
        shared = {
            "experiment_id": self.path("experiment_id"),
            "molecule_id": self.path("molecule_id"),
            "basis_set": self.path("basis_set"),
            "backend": _field(self.initial, "backend"),
            "num_qubits": _field(self.initial, "num_qubits"),
        }
        return {name: shared[name] for name in names}


_FULL_HEADER = ("experiment_id", "molecule_id", "basis_set", "backend", "num_qubits")


def _field(array: pa.Array, *path: str) -> pa.Array:
    for name in path:
        # struct_field, unlike StructArray.field, keeps the parent's nulls.
        array = pc.struct_field(array, name)
    return array


def _explode(lists: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Values of all lists, the row each comes from, and its position in its list (from 0)."""
    values = pc.list_flatten(lists)
    parents = pc.list_parent_indices(lists)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    starts = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)[:-1])) if len(lengths) else np.zeros(0, np.int64)
    positions = np.arange(len(values), dtype=np.int64) - starts[parents.to_numpy(zero_copy_only=False)]
    return values, parents, pa.array(positions.astype(np.int32))


def _repeated(columns: Columns, parents: pa.Array) -> Columns:
    return {name: _repeat(values, parents) for name, values in columns.items()}


def _repeat(values: pa.Array, parents: pa.Array) -> pa.Array:
    # Encoded, and not only indexed: the Parquet writer wants each text of a dictionary once.
    return (values.dictionary_encode() if pa.types.is_string(values.type) else values).take(parents)


def _joined(left: pa.Array, infix: str, right: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(left.type):
        left = left.dictionary_decode()
    return pc.binary_join_element_wise(left, right.cast(pa.string()), infix)


def _molecules(records: _Records) -> Columns:
    molecule = records.path("molecule", "molecule_data")
    return records.header("experiment_id", "molecule_id") | {
        "atom_symbols": _field(molecule, "symbols"),
        "molecule_name": pc.binary_join(_field(molecule, "symbols"), ""),
        "coordinates": _field(molecule, "coords"),
        "multiplicity": _field(molecule, "multiplicity"),
        "charge": _field(molecule, "charge"),
        "coordinate_units": _field(molecule, "units"),
        "atomic_masses": _field(molecule, "masses"),
    }


def _ansatz_info(records: _Records) -> Columns:
    names = ("ansatz", "ansatz_reps", "ansatz_name", "init_strategy", "num_parameters")
    columns = records.header("experiment_id", "molecule_id", "basis_set")
    columns |= {name: _field(records.initial, name) for name in names}
    return columns | {"mapper": records.path("mapper")}


def _performance_metrics(records: _Records) -> Columns:
    names = ("hamiltonian_time", "mapping_time", "vqe_time", "total_time", "wall_time", "host")
    columns = records.header("experiment_id", "molecule_id", "basis_set") | {name: records.path(name) for name in names}
    built_and_mapped = pc.add(columns["hamiltonian_time"], columns["mapping_time"])
    return columns | {
        "minimization_time": records.path("vqe_result", "minimization_time"),
        "computed_total_time": pc.add(built_and_mapped, columns["vqe_time"]),
        "started_at": records.path("started_at").cast(pa.timestamp("us", tz="UTC")),
    }


_RESULT_TOP_LEVEL = (
    "total_energy",
    "hf_energy",
    "fci_energy",
    "reference_method",
    "energy_error_mha",
    "chemically_accurate",
    "certified_energy",
    "particle_number",
    "spin_z",
    "spin_squared",
    "valid",
    "invalid_reason",
    "engine",
    "engine_reason",
    "gradient",
    "energy_evaluations",
    "gradient_evaluations",
    "optimizer_steps",
    "max_evaluations",
    "threshold",
    "replicate",
    "schema_version",
    "versions",
    "dagster_run_id",
    "campaign",
    "frozen_orbitals",
    "energy_standard_error",
    "optimizer_message",
    "simulation_method",
    "optimization_level",
    "device",
    "scan_coordinate",
    "scan_value",
    "previous_experiment",
)


def _vqe_results(records: _Records) -> Columns:
    initial = ("optimizer", "noise_backend", "default_shots", "ansatz_reps", "ansatz_name", "init_strategy", "seed")
    outcome = ("maxcv", "nuclear_repulsion_energy", "success", "nfev", "nit")
    return (
        records.header(*_FULL_HEADER)
        | {name: _field(records.initial, name) for name in initial}
        | {name: records.path("vqe_result", name) for name in outcome}
        | {name: records.path(name) for name in _RESULT_TOP_LEVEL}
        | {
            "minimum_energy": records.path("vqe_result", "minimum"),
            "total_iterations": pc.list_value_length(records.path("vqe_result", "iteration_list")),
            "active_electrons": records.path("active_space", "electrons"),
            "active_orbitals": records.path("active_space", "orbitals"),
            "one_qubit_error": records.path("noise_rates", "one_qubit"),
            "two_qubit_error": records.path("noise_rates", "two_qubit"),
            "readout_error": records.path("noise_rates", "readout"),
        }
    )


def _initial_parameters(records: _Records) -> Columns:
    return _parameters(records, _field(records.initial, "initial_parameters"), "initial", "_init_")


def _optimal_parameters(records: _Records) -> Columns:
    return _parameters(records, records.path("vqe_result", "optimal_parameters"), "optimal", "_opt_")


def _parameters(records: _Records, lists: pa.Array, adjective: str, infix: str) -> Columns:
    values, parents, positions = _explode(lists)
    columns = _repeated(records.header(*_FULL_HEADER), parents)
    return columns | {
        f"{adjective}_parameter_value": values,
        "parameter_index": positions,
        "parameter_id": _joined(columns["experiment_id"], infix, positions),
    }


def _iterations(records: _Records) -> tuple[pa.Array, Columns]:
    steps, parents, _ = _explode(records.path("vqe_result", "iteration_list"))
    columns = _repeated(records.header(*_FULL_HEADER), parents)
    columns["iteration_step"] = _field(steps, "iteration")
    columns["iteration_id"] = _joined(columns["experiment_id"], "_iter_", columns["iteration_step"])
    return steps, columns


def _vqe_iterations(records: _Records) -> Columns:
    steps, columns = _iterations(records)
    same_name = ("energy_delta", "parameter_delta_norm", "cumulative_min_energy", "gradient_norm", "energy_variance")
    return (
        columns
        | {name: _field(steps, name) for name in same_name}
        | {"iteration_energy": _field(steps, "result"), "energy_std_dev": _field(steps, "std")}
    )


def _iteration_parameters(records: _Records) -> Columns:
    steps, columns = _iterations(records)
    values, parents, positions = _explode(_field(steps, "parameters"))
    columns = _repeated(columns, parents)
    return columns | {
        "parameter_index": positions,
        "parameter_value": values,
        "parameter_id": _joined(columns["iteration_id"], "_param_", positions),
    }


def _hamiltonian_terms(records: _Records) -> Columns:
    terms, parents, positions = _explode(_field(records.initial, "hamiltonian"))
    columns = _repeated(records.header("experiment_id", "molecule_id", "basis_set", "backend"), parents)
    return columns | {
        "term_label": _field(terms, "label"),
        "coeff_real": _field(terms, "coefficients", "real"),
        "coeff_imag": _field(terms, "coefficients", "imaginary"),
        "term_index": positions,
        "term_id": _joined(columns["experiment_id"], "_term_", positions),
    }


_KERNELS: dict[str, Callable[[_Records], Columns]] = {
    "molecules": _molecules,
    "ansatz_info": _ansatz_info,
    "performance_metrics": _performance_metrics,
    "vqe_results": _vqe_results,
    "initial_parameters": _initial_parameters,
    "optimal_parameters": _optimal_parameters,
    "vqe_iterations": _vqe_iterations,
    "iteration_parameters": _iteration_parameters,
    "hamiltonian_terms": _hamiltonian_terms,
}
