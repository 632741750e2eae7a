"""The nine tables against a plain-Python oracle: one loop a table, written from the specification."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpipe_assets.tables import schemas
from qpipe_assets.tables.decode import Decoded, decode
from qpipe_assets.tables.flatten import BatchConstants, flatten
from qpipe_resources.serialization import arrow_schema
from simulation.record import VQEDecoratedResult
from tests.synthetic import plain_record
from tests.tables.records import records

AT = dt.datetime(2026, 11, 21, 23, 59, 59, 999_999, tzinfo=dt.UTC)
CONSTANTS = BatchConstants("b" * 32, AT, "LiH")
Row = dict[str, Any]

several_records = st.lists(records, min_size=1, max_size=3).map(
    lambda found: list({item.experiment_id: item for r in found for item in decode(r.to_json())}.values())
)


def stage(decoded: list[Decoded]) -> pa.Table:
    rows = [item.row | {"experiment_id": item.experiment_id} for item in decoded]
    return pa.Table.from_pylist(rows, schema=arrow_schema())


def header(item: Decoded, *names: str) -> Row:
    initial = item.row["vqe_result"]["initial_data"]
    everything = {
        "experiment_id": item.experiment_id,
        "molecule_id": item.row["molecule_id"],
        "basis_set": item.row["basis_set"],
        "backend": initial["backend"],
        "num_qubits": initial["num_qubits"],
    }
    return {name: everything[name] for name in names} if names else everything


def molecules(item: Decoded) -> Iterator[Row]:
    molecule = item.row["molecule"]["molecule_data"]
    yield header(item, "experiment_id", "molecule_id") | {
        "atom_symbols": molecule["symbols"],
        "molecule_name": "".join(molecule["symbols"]),
        "coordinates": molecule["coords"],
        "multiplicity": molecule["multiplicity"],
        "charge": molecule["charge"],
        "coordinate_units": molecule["units"],
        "atomic_masses": molecule["masses"],
    }


def ansatz_info(item: Decoded) -> Iterator[Row]:
    initial = item.row["vqe_result"]["initial_data"]
    names = ("ansatz", "ansatz_reps", "ansatz_name", "init_strategy", "num_parameters")
    yield (
        header(item, "experiment_id", "molecule_id", "basis_set")
        | {n: initial[n] for n in names}
        | {"mapper": item.row["mapper"]}
    )


def performance_metrics(item: Decoded) -> Iterator[Row]:
    row = item.row
    names = ("hamiltonian_time", "mapping_time", "vqe_time", "total_time", "wall_time", "host")
    started = row["started_at"]
    yield (
        header(item, "experiment_id", "molecule_id", "basis_set")
        | {n: row[n] for n in names}
        | {
            "minimization_time": row["vqe_result"]["minimization_time"],
            "computed_total_time": row["hamiltonian_time"] + row["mapping_time"] + row["vqe_time"],
            "started_at": None if started is None else dt.datetime.fromisoformat(started),
        }
    )


def vqe_results(item: Decoded) -> Iterator[Row]:
    row = item.row
    result, initial, space = row["vqe_result"], row["vqe_result"]["initial_data"], row["active_space"]
    rates = row["noise_rates"]
    from_initial = (
        "optimizer",
        "noise_backend",
        "default_shots",
        "ansatz_reps",
        "ansatz_name",
        "init_strategy",
        "seed",
    )
    from_result = ("maxcv", "nuclear_repulsion_energy", "success", "nfev", "nit")
    renamed = {
        "minimum_energy": result["minimum"],
        "total_iterations": len(result["iteration_list"]),
        "active_electrons": space and space["electrons"],
        "active_orbitals": space and space["orbitals"],
        "one_qubit_error": rates and rates["one_qubit"],
        "two_qubit_error": rates and rates["two_qubit"],
        "readout_error": rates and rates["readout"],
    }
    known = header(item) | {n: initial[n] for n in from_initial} | {n: result[n] for n in from_result} | renamed
    of_the_batch = {"processing_timestamp", "processing_date", "processing_batch_id", "processing_name", "molecule"}
    own = set(schemas.table("vqe_results").column_names) - known.keys() - of_the_batch
    yield known | {name: row[name] for name in own}


def initial_parameters(item: Decoded) -> Iterator[Row]:
    for index, value in enumerate(item.row["vqe_result"]["initial_data"]["initial_parameters"]):
        identity = f"{item.experiment_id}_init_{index}"
        yield header(item) | {
            "initial_parameter_value": value,
            "parameter_index": index,
            "parameter_id": identity,
        }


def optimal_parameters(item: Decoded) -> Iterator[Row]:
    for index, value in enumerate(item.row["vqe_result"]["optimal_parameters"]):
        identity = f"{item.experiment_id}_opt_{index}"
        yield header(item) | {"optimal_parameter_value": value, "parameter_index": index, "parameter_id": identity}


def vqe_iterations(item: Decoded) -> Iterator[Row]:
    same = ("energy_delta", "parameter_delta_norm", "cumulative_min_energy", "gradient_norm", "energy_variance")
    for step in item.row["vqe_result"]["iteration_list"]:
        yield (
            header(item)
            | {name: step[name] for name in same}
            | {
                "iteration_step": step["iteration"],
                "iteration_energy": step["result"],
                "energy_std_dev": step["std"],
                "iteration_id": f"{item.experiment_id}_iter_{step['iteration']}",
            }
        )


def iteration_parameters(item: Decoded) -> Iterator[Row]:
    for step in item.row["vqe_result"]["iteration_list"]:
        iteration = f"{item.experiment_id}_iter_{step['iteration']}"
        for index, value in enumerate(step["parameters"]):
            yield header(item) | {
                "iteration_step": step["iteration"],
                "parameter_index": index,
                "parameter_value": value,
                "iteration_id": iteration,
                "parameter_id": f"{iteration}_param_{index}",
            }


def hamiltonian_terms(item: Decoded) -> Iterator[Row]:
    for index, term in enumerate(item.row["vqe_result"]["initial_data"]["hamiltonian"]):
        yield header(item, "experiment_id", "molecule_id", "basis_set", "backend") | {
            "term_label": term["label"],
            "coeff_real": term["coefficients"]["real"],
            "coeff_imag": term["coefficients"]["imaginary"],
            "term_index": index,
            "term_id": f"{item.experiment_id}_term_{index}",
        }


ORACLES = {
    oracle.__name__: oracle
    for oracle in (
        molecules,
        ansatz_info,
        performance_metrics,
        vqe_results,
        initial_parameters,
        optimal_parameters,
        vqe_iterations,
        iteration_parameters,
        hamiltonian_terms,
    )
}
COMMON = {
    "processing_timestamp": AT,
    "processing_date": dt.date(2026, 11, 21),
    "processing_batch_id": "b" * 32,
    "processing_name": "quantum_base_processing",
    "molecule": "LiH",
}


def test_there_is_an_oracle_for_each_of_the_nine_tables() -> None:
    assert tuple(ORACLES) == schemas.NORMALIZED_NAMES


@pytest.mark.parametrize("name", ORACLES)
@settings(max_examples=40)
@given(decoded=several_records)
def test_a_table_holds_what_a_plain_loop_over_the_records_makes(name: str, decoded: list[Decoded]) -> None:
    made = flatten(stage(decoded), name, CONSTANTS)
    expected = [row | COMMON for item in decoded for row in ORACLES[name](item)]
    assert made.to_pylist() == [{column: row[column] for column in made.column_names} for row in expected]


@pytest.mark.parametrize("name", ORACLES)
@settings(max_examples=20)
@given(decoded=several_records)
def test_keys_are_unique_and_the_schema_is_the_declared_one(name: str, decoded: list[Decoded]) -> None:
    made = flatten(stage(decoded), name, CONSTANTS)
    plain = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in made.schema]
    assert pa.schema(plain).equals(schemas.table(name).arrow_schema())
    keys = list(zip(*(made.column(key).to_pylist() for key in schemas.table(name).key), strict=True))
    assert len(set(keys)) == len(keys)
    required = [column.name for column in schemas.table(name).columns if column.required]
    assert [column for column in required if made.column(column).null_count] == []


@pytest.mark.parametrize("name", ORACLES)
def test_a_record_with_nothing_to_list_makes_no_row_too_many(name: str) -> None:
    record = plain_record(evaluations=1, parameters=0, terms=0)
    decoded = decode(VQEDecoratedResult.model_validate(record).to_json())
    empty = ("initial_parameters", "optimal_parameters", "iteration_parameters", "hamiltonian_terms")
    assert flatten(stage(decoded), name, CONSTANTS).num_rows == (0 if name in empty else 1)


@pytest.mark.parametrize("name", ORACLES)
def test_equal_values_keep_their_own_rows_and_ids(name: str) -> None:
    # The reference hashed values into ids: 24 equal parameters became one row.
    record = plain_record(evaluations=2, parameters=0, terms=0)
    result = record["vqe_result"]
    result["initial_data"]["initial_parameters"] = result["optimal_parameters"] = [0.5] * 24
    result["iteration_list"][0]["parameters"] = result["iteration_list"][1]["parameters"] = [0.5] * 24
    term = {"label": "IZ", "coefficients": {"real": 1.0, "imaginary": 0.0}}
    result["initial_data"]["hamiltonian"] = [term] * 24
    made = flatten(stage(decode(VQEDecoratedResult.model_validate(record).to_json())), name, CONSTANTS)
    rows = {"vqe_iterations": 2, "iteration_parameters": 48}
    several = ("initial_parameters", "optimal_parameters", "hamiltonian_terms")
    assert made.num_rows == rows.get(name, 24 if name in several else 1)
    key = schemas.table(name).key[0]
    assert len(set(made.column(key).to_pylist())) == made.num_rows


def test_staged_records_in_several_chunks_and_slices_are_all_flattened() -> None:
    decoded = [item for n in range(4) for item in decode(VQEDecoratedResult.model_validate(plain_record(n)).to_json())]
    whole = stage(decoded)
    pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 2), whole.slice(3, 1)])
    for name in schemas.NORMALIZED_NAMES:
        assert flatten(pieces, name, CONSTANTS) == flatten(whole, name, CONSTANTS)
        assert flatten(whole.slice(1, 2), name, CONSTANTS) == flatten(stage(decoded[1:3]), name, CONSTANTS)
