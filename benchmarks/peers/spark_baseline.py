"""The nine tables and the ML tables as a competent PySpark user writes them: read.json, explode, anti-join, append.

Run as: python spark_baseline.py FOLDER, which has the ML tables' SQL. The session's options come from
spark-defaults.conf (SPARK_CONF_DIR) and the place of the objects from S3_BUCKET_URL. Every run reads all objects and
appends the experiments that the tables lack, without tags, ledger or any guard against a kill.
"""

import os
import sys
from pathlib import Path

from answers import answer_when_asked, take_stdout

NAMESPACE = "quantum_catalog.quantum_features"
SOURCES = ("vqe_iterations", "vqe_results", "molecules", "performance_metrics", "ansatz_info")
COMMON = ["processing_timestamp", "processing_date", "processing_batch_id", "processing_name", "molecule"]
RUN = ["experiment_id", "molecule_id", "basis_set"]
WHERE = [*RUN, "initial.backend", "initial.num_qubits"]
BY_DATE = ("processing_date",)
BY_BASIS = (*BY_DATE, "basis_set")
BY_BACKEND = (*BY_BASIS, "backend")
NOT_RECORDED = (
    *("total_energy double", "fci_energy double", "energy_error_mha double"),
    *("chemically_accurate boolean", "valid boolean"),
)
"""Columns that the SQL asks for and the objects do not have."""


def read(spark, location):
    """All objects, with an identity, nested as they are."""
    from pyspark.sql import functions as f

    options = {"recursiveFileLookup": "true", "pathGlobFilter": "*.json"}
    record = spark.read.options(**options).json(location)
    identity = f.sha2(f.to_json(f.struct("molecule.molecule_data", "basis_set", "vqe_result.initial_data")), 256)
    return record.select(
        identity.alias("experiment_id"),
        *("molecule_id", "basis_set", "hamiltonian_time", "mapping_time", "vqe_time", "total_time"),
        f.col("molecule.molecule_data").alias("structure"),
        f.array_join("molecule.molecule_data.symbols", "").alias("molecule"),
        f.col("vqe_result").alias("result"),
        f.col("vqe_result.initial_data").alias("initial"),
        f.current_timestamp().alias("processing_timestamp"),
        f.current_date().alias("processing_date"),
        f.expr("uuid()").alias("processing_batch_id"),
        f.lit("quantum_base_processing").alias("processing_name"),
    ).dropDuplicates(["experiment_id"])


def single_rows(new):
    """The four tables that have one row for each experiment, with their partitions."""
    structure = [f"structure.{name}" for name in ("symbols", "coords", "multiplicity", "charge", "units", "masses")]
    names = ("atom_symbols", "coordinates", "multiplicity", "charge", "coordinate_units", "atomic_masses")
    molecule = [f"{source} as {name}" for source, name in zip(structure, names, strict=True)]
    ansatz = ["initial.ansatz", "initial.ansatz_reps", "initial.ansatz_name", "initial.init_strategy"]
    times = ["hamiltonian_time", "mapping_time", "vqe_time", "total_time", "result.minimization_time"]
    asked = ["optimizer", "noise_backend", "default_shots", "ansatz_reps", "ansatz_name", "init_strategy", "seed"]
    found = ["maxcv", "nuclear_repulsion_energy", "success", "nfev", "nit"]
    results = [f"initial.{name}" for name in asked] + [f"result.{name}" for name in found]
    results += ["result.minimum as minimum_energy", "size(result.iteration_list) as total_iterations"]
    computed = "hamiltonian_time + mapping_time + vqe_time as computed_total_time"
    return {
        "molecules": (new.selectExpr(*RUN[:2], "molecule as molecule_name", *molecule, *COMMON), BY_DATE),
        "ansatz_info": (new.selectExpr(*RUN, *ansatz, *COMMON), BY_BASIS),
        "performance_metrics": (new.selectExpr(*RUN, *times, computed, *COMMON), BY_BASIS),
        "vqe_results": (new.selectExpr(*WHERE, *results, *COMMON), BY_BACKEND),
    }


def vector_rows(new, source, value, kind):
    """A row for each value of a parameter vector."""
    return new.selectExpr(*WHERE, f"posexplode({source}) as (parameter_index, {value})", *COMMON).selectExpr(
        "*", f"concat(experiment_id, '_{kind}_', parameter_index) as parameter_id"
    )


def exploded_rows(new):
    """The five tables that have many rows for each experiment, with their partitions."""
    initial = vector_rows(new, "initial.initial_parameters", "initial_parameter_value", "init")
    optimal = vector_rows(new, "result.optimal_parameters", "optimal_parameter_value", "opt")
    steps = new.selectExpr(*WHERE, "explode(result.iteration_list) as step", *COMMON).selectExpr(
        *(*RUN, "backend", "num_qubits", "step.iteration as iteration_step", "step", *COMMON),
        "concat(experiment_id, '_iter_', step.iteration) as iteration_id",
    )
    key = [*RUN, "backend", "num_qubits", "iteration_step"]
    told = ["step.result as iteration_energy", "step.std as energy_std_dev"]
    told += [f"step.{name}" for name in ("energy_delta", "parameter_delta_norm", "cumulative_min_energy")]
    values = "posexplode(step.parameters) as (parameter_index, parameter_value)"
    parameters = steps.selectExpr(*key, "iteration_id", values, *COMMON).selectExpr(
        "*", "concat(iteration_id, '_param_', parameter_index) as parameter_id"
    )
    terms = new.selectExpr(*WHERE, "posexplode(initial.hamiltonian) as (term_index, term)", *COMMON).selectExpr(
        *(*RUN, "backend", "term_index", "term.label as term_label", *COMMON),
        *("term.coefficients.real as coeff_real", "term.coefficients.imaginary as coeff_imag"),
        "concat(experiment_id, '_term_', term_index) as term_id",
    )
    return {
        "initial_parameters": (initial, BY_BASIS),
        "optimal_parameters": (optimal, BY_BASIS),
        "vqe_iterations": (steps.selectExpr(*key, "iteration_id", *told, *COMMON), BY_BACKEND),
        "iteration_parameters": (parameters, BY_BASIS),
        "hamiltonian_terms": (terms, BY_BACKEND),
    }


def append(spark, name, rows, partitions):
    """Append rows to a table, or make it of them."""
    table = f"{NAMESPACE}.{name}"
    if spark.catalog.tableExists(table):
        rows.writeTo(table).append()
    else:
        first, *others = partitions
        rows.writeTo(table).using("iceberg").partitionedBy(first, *others).create()


def process(spark, location, sql):
    """One run: what the tables lack, appended to all eleven."""
    records = read(spark, location)
    if spark.catalog.tableExists(f"{NAMESPACE}.molecules"):
        known = spark.table(f"{NAMESPACE}.molecules").select("experiment_id")
        records = records.join(known, "experiment_id", "left_anti")
    # Not persist: Spark computes a kept frame anew when a table grows that it was joined with, and then it is empty.
    new = records.localCheckpoint()
    tables = single_rows(new) | exploded_rows(new)
    for name, (rows, partitions) in tables.items():
        append(spark, name, rows, partitions)
    for name in SOURCES:
        rows = tables[name][0]
        if name == "vqe_results":
            rows = rows.selectExpr("*", *(f"cast(null as {kind}) as {column}" for column, kind in _pairs(NOT_RECORDED)))
        rows.createOrReplaceTempView(name)
    features = spark.sql((sql / "ml_iteration_features.sql").read_text()).persist()
    append(spark, "ml_iteration_features", features, BY_DATE)
    features.createOrReplaceTempView("ml_iteration_features")
    append(spark, "ml_run_summary", spark.sql((sql / "ml_run_summary.sql").read_text()), BY_BASIS)
    features.unpersist()


def _pairs(columns):
    return (column.split() for column in columns)


def main(sql):
    answer = take_stdout()
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.getOrCreate()

    def work():
        process(spark, os.environ["S3_BUCKET_URL"], sql)
        return {}

    answer_when_asked(answer, work)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
