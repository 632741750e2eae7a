"""The declared tables against the specification, whose column lists are written out here by hand (features F and G)."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyiceberg import types as iceberg

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation

BATCH = "processing_timestamp processing_date processing_batch_id processing_name"
RUN = "experiment_id molecule_id basis_set backend num_qubits"
ML_RUN = (
    "molecule_name num_atoms num_qubits charge multiplicity basis_set optimizer ansatz_type ansatz_reps init_strategy "
    "seed default_shots"
)
COLUMNS = {
    "molecules": "experiment_id molecule_id atom_symbols molecule_name coordinates multiplicity charge "
    f"coordinate_units atomic_masses {BATCH}",
    "ansatz_info": f"experiment_id molecule_id basis_set ansatz ansatz_reps ansatz_name init_strategy {BATCH}",
    "performance_metrics": "experiment_id molecule_id basis_set hamiltonian_time mapping_time vqe_time total_time "
    f"minimization_time computed_total_time {BATCH}",
    "vqe_results": f"{RUN} optimizer noise_backend default_shots ansatz_reps ansatz_name init_strategy seed "
    f"minimum_energy maxcv nuclear_repulsion_energy success nfev nit total_iterations {BATCH}",
    "initial_parameters": f"{RUN} initial_parameter_value {BATCH} parameter_index parameter_id",
    "optimal_parameters": f"{RUN} optimal_parameter_value {BATCH} parameter_index parameter_id",
    "vqe_iterations": f"{RUN} iteration_step iteration_energy energy_std_dev energy_delta parameter_delta_norm "
    f"cumulative_min_energy {BATCH} iteration_id",
    "iteration_parameters": f"{RUN} iteration_step parameter_index parameter_value {BATCH} iteration_id parameter_id",
    "hamiltonian_terms": "experiment_id molecule_id basis_set backend term_label coeff_real coeff_imag "
    f"{BATCH} term_index term_id",
    "processing_metadata": "processing_batch_id processing_name processing_timestamp processing_date table_names "
    "table_versions record_counts source_data_info",
    "ml_iteration_features": f"experiment_id iteration_step {ML_RUN} energy energy_std energy_delta "
    "parameter_delta_norm cumulative_min_energy relative_iteration energy_improvement_rate normalized_energy "
    "is_new_minimum steps_since_improvement energy_moving_avg_5 energy_moving_std_5 mean_param_change "
    "total_iterations final_energy converged convergence_iteration vqe_time total_time processing_date",
    "ml_run_summary": f"experiment_id {ML_RUN} total_iterations final_energy converged convergence_iteration vqe_time "
    "total_time mean_energy_delta std_energy_delta min_energy max_energy energy_range mean_param_delta_norm "
    "std_param_delta_norm total_param_distance num_new_minima longest_plateau improvement_ratio processing_date "
    "first_10_mean_energy first_10_energy_slope last_10_mean_energy time_per_iteration",
}
KEYS = {
    "molecules": "experiment_id molecule_id",
    "ansatz_info": "experiment_id molecule_id",
    "performance_metrics": "experiment_id molecule_id basis_set",
    "vqe_results": "experiment_id molecule_id basis_set",
    "initial_parameters": "parameter_id",
    "optimal_parameters": "parameter_id",
    "vqe_iterations": "iteration_id",
    "iteration_parameters": "parameter_id",
    "hamiltonian_terms": "term_id",
    "ml_iteration_features": "experiment_id iteration_step",
    "ml_run_summary": "experiment_id",
}
PARTITIONS = {
    "molecules": "processing_date",
    "ansatz_info": "processing_date basis_set",
    "performance_metrics": "processing_date basis_set",
    "vqe_results": "processing_date basis_set backend",
    "initial_parameters": "processing_date basis_set",
    "optimal_parameters": "processing_date basis_set",
    "vqe_iterations": "processing_date basis_set backend",
    "iteration_parameters": "processing_date basis_set",
    "hamiltonian_terms": "processing_date basis_set backend",
    "ml_iteration_features": "processing_date",
    "ml_run_summary": "processing_date basis_set",
}
COMMENTS = {
    "molecules": "Molecule information for quantum simulations",
    "ansatz_info": "Ansatz configurations for quantum simulations",
    "performance_metrics": "Performance metrics for quantum simulations",
    "vqe_results": "VQE optimization results for quantum simulations",
    "initial_parameters": "Initial parameters for VQE optimization",
    "optimal_parameters": "Optimal parameters found by VQE optimization",
    "vqe_iterations": "VQE optimization iterations and energy values",
    "iteration_parameters": "Parameters at each iteration of VQE optimization",
    "hamiltonian_terms": "Hamiltonian terms for quantum simulations",
}
INTEGERS = (
    "molecule_id multiplicity charge ansatz_reps num_qubits default_shots seed nfev nit total_iterations "
    "parameter_index iteration_step term_index num_atoms steps_since_improvement convergence_iteration longest_plateau"
)
STRINGS = (
    "experiment_id molecule_name coordinate_units processing_batch_id processing_name basis_set ansatz ansatz_name "
    "init_strategy backend optimizer noise_backend parameter_id iteration_id term_id term_label source_data_info "
    "ansatz_type molecule"
)
TYPES = (
    dict.fromkeys(INTEGERS.split(), iceberg.IntegerType())
    | dict.fromkeys(STRINGS.split(), iceberg.StringType())
    | dict.fromkeys(("success", "converged", "is_new_minimum"), iceberg.BooleanType())
    | {"processing_timestamp": iceberg.TimestamptzType(), "processing_date": iceberg.DateType()}
    | {"num_new_minima": iceberg.LongType()}
)
ARROW_LISTS = {
    "atom_symbols": pa.list_(pa.string()),
    "coordinates": pa.list_(pa.list_(pa.float64())),
    "atomic_masses": pa.list_(pa.float64()),
    "table_names": pa.list_(pa.string()),
    "table_versions": pa.list_(pa.string()),
    "record_counts": pa.list_(pa.int64()),
}
"""Every other column is a double."""


def test_there_are_nine_normalized_one_audit_and_two_ml_tables() -> None:
    assert schemas.names(schemas.ALL) == list(COLUMNS)
    assert len(schemas.NORMALIZED_NAMES) == 9 and len(schemas.ML_NAMES) == 2


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_the_specification_s_in_its_order_then_qpipe_s_own(name: str) -> None:
    wanted = COLUMNS[name].split()
    assert schemas.table(name).column_names[: len(wanted)] == wanted
    assert "molecule" in schemas.table(name).column_names[len(wanted) :]


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_have_the_declared_types(name: str) -> None:
    declared = schemas.table(name)
    for column in COLUMNS[name].split():
        if column in ARROW_LISTS:
            assert declared.arrow_schema().field(column).type == ARROW_LISTS[column]
        else:
            assert declared.iceberg_schema().find_type(column) == TYPES.get(column, iceberg.DoubleType()), column


@pytest.mark.parametrize("name", KEYS)
def test_keys_and_partitions_are_the_specification_s(name: str) -> None:
    declared = schemas.table(name)
    assert declared.key == tuple(KEYS[name].split())
    assert declared.partition == tuple(PARTITIONS[name].split())


@pytest.mark.parametrize("name", COMMENTS)
def test_comments_are_the_specification_s(name: str) -> None:
    assert schemas.table(name).comment == COMMENTS[name]


def test_the_created_tables_are_the_declared_ones(installation: Installation) -> None:
    for declared in schemas.ALL:
        table = installation.lakehouse.load(declared.name)
        assert table.properties["comment"] == declared.comment
        assert table.properties["commit.retry.num-retries"] == "0"
        found = table.schema()
        assert found.column_names == declared.iceberg_schema().column_names
        assert [field.name for field in table.spec().fields] == list(declared.partition)
        for column in declared.columns:
            field = found.find_field(column.name)
            assert field.doc == column.described and field.doc
            assert field.required == column.required
            assert field.field_type == declared.iceberg_schema().find_type(column.name)


def test_every_energy_time_and_angle_has_a_unit() -> None:
    without = [
        f"{table.name}.{column.name}"
        for table in schemas.ALL
        for column in table.columns
        if column.type == "double" and not column.unit and ("energy" in column.name or column.name.endswith("_time"))
    ]
    assert without == ["ml_iteration_features.normalized_energy"]


def test_an_unknown_table_is_refused_by_name() -> None:
    with pytest.raises(KeyError, match="no table 'vqe_resluts'"):
        schemas.table("vqe_resluts")
