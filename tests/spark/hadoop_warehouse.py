"""Writes Hadoop-catalog warehouses with a real Spark, as the field's two generations of scripts leave them.

Run as a program, so that its session and JVM are gone before a test begins:
python -m tests.spark.hadoop_warehouse PLAN.json, which lists warehouses with their form and batches of records.

Forms: `avro` (types as Avro declares them, experiment_id a digest, ids by hash), `json` (integers inferred as bigint,
nulls as string, a column of the newest scripts), `v1` (fewer columns, a new random experiment_id in each table).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import sys
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from qpipe_resources.spark.jars import jar_files
from qpipe_resources.spark.settings import SparkSettings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

NAMESPACE = "quantum_catalog.quantum_features"
_COMMON = "processing_timestamp timestamp, processing_date date, processing_batch_id string, processing_name string"
_HEADER = "experiment_id string, molecule_id int, basis_set string, backend string, num_qubits int"
COLUMNS = {
    "molecules": "experiment_id string, molecule_id int, atom_symbols array<string>, molecule_name string, "
    "coordinates array<array<double>>, multiplicity int, charge int, coordinate_units string, "
    "atomic_masses array<double>",
    "ansatz_info": "experiment_id string, molecule_id int, basis_set string, ansatz string, ansatz_reps int, "
    "ansatz_name string, init_strategy string",
    "performance_metrics": "experiment_id string, molecule_id int, basis_set string, hamiltonian_time double, "
    "mapping_time double, vqe_time double, total_time double, minimization_time double, computed_total_time double",
    "vqe_results": f"{_HEADER}, optimizer string, noise_backend string, default_shots int, ansatz_reps int, "
    "ansatz_name string, init_strategy string, seed int, minimum_energy double, maxcv double, "
    "nuclear_repulsion_energy double, success boolean, nfev int, nit int, total_iterations int",
    "initial_parameters": f"{_HEADER}, initial_parameter_value double",
    "optimal_parameters": f"{_HEADER}, optimal_parameter_value double",
    "vqe_iterations": f"{_HEADER}, iteration_step int, iteration_energy double, energy_std_dev double, "
    "energy_delta double, parameter_delta_norm double, cumulative_min_energy double",
    "iteration_parameters": f"{_HEADER}, iteration_step int, parameter_value double",
    "hamiltonian_terms": "experiment_id string, molecule_id int, basis_set string, backend string, "
    "term_label string, coeff_real double, coeff_imag double",
}
_LATER = {
    "molecule_name", "ansatz_name", "init_strategy", "seed", "nuclear_repulsion_energy", "success", "nfev", "nit",
    "energy_delta", "parameter_delta_norm", "cumulative_min_energy",
}  # fmt: skip
_BY_BACKEND = ("vqe_results", "vqe_iterations", "hamiltonian_terms")
_STEP_ID = "concat(experiment_id, '_iter_', hash(concat(experiment_id, cast(iteration_step as string))) % 1000000)"
IDS = {
    "initial_parameters": {
        "parameter_index": "hash(concat(experiment_id, initial_parameter_value)) % 1000000",
        "parameter_id": "concat(experiment_id, '_init_', parameter_index)",
    },
    "optimal_parameters": {
        "parameter_index": "hash(concat(experiment_id, optimal_parameter_value)) % 1000000",
        "parameter_id": "concat(experiment_id, '_opt_', parameter_index)",
    },
    "vqe_iterations": {"iteration_id": _STEP_ID},
    "iteration_parameters": {
        "parameter_index": "hash(concat(experiment_id, cast(iteration_step as string), parameter_value)) % 1000000",
        "iteration_id": _STEP_ID,
        "parameter_id": "concat(iteration_id, '_param_', parameter_index)",
    },
    "hamiltonian_terms": {
        "term_index": "hash(concat(experiment_id, term_label)) % 1000000",
        "term_id": "concat(experiment_id, '_term_', term_index)",
    },
}
_METADATA = (
    "processing_batch_id string, processing_name string, processing_timestamp timestamp, processing_date date, "
    "table_names array<string>, table_versions array<string>, record_counts array<bigint>, source_data_info string"
)


def partition(name: str) -> list[str]:
    """Columns by which a table is partitioned."""
    if name == "molecules":
        return ["processing_date"]
    return ["processing_date", "basis_set", *(["backend"] if name in _BY_BACKEND else [])]


def flattened(record: dict[str, Any], experiment: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of one record as (table, columns)."""
    result = record["vqe_result"]
    initial = result["initial_data"]
    molecule = record["molecule"]["molecule_data"]
    head = {"experiment_id": experiment, "molecule_id": record["molecule_id"], "basis_set": record["basis_set"]}
    head |= {"backend": initial["backend"], "num_qubits": initial["num_qubits"]}
    times = {name: record[name] for name in ("hamiltonian_time", "mapping_time", "vqe_time", "total_time")}
    named = {"ansatz_name": initial["ansatz_name"] or "EfficientSU2"}
    named |= {"init_strategy": initial["init_strategy"] or "random"}
    yield (
        "molecules",
        head
        | {
            "atom_symbols": molecule["symbols"],
            "molecule_name": "".join(molecule["symbols"]),
            "coordinates": molecule["coords"],
            "multiplicity": molecule["multiplicity"],
            "charge": molecule["charge"],
            "coordinate_units": molecule["units"],
            "atomic_masses": molecule["masses"],
        },
    )
    yield "ansatz_info", head | initial | named
    computed = times["hamiltonian_time"] + times["mapping_time"] + times["vqe_time"]
    yield (
        "performance_metrics",
        head | times | {"minimization_time": result["minimization_time"], "computed_total_time": computed},
    )
    of_run = {"minimum_energy": result["minimum"], "total_iterations": len(result["iteration_list"])}
    yield "vqe_results", head | initial | result | named | of_run
    for kind, values in (("initial", initial["initial_parameters"]), ("optimal", result["optimal_parameters"])):
        for value in values:
            yield f"{kind}_parameters", head | {f"{kind}_parameter_value": value}
    for step in result["iteration_list"]:
        at = head | {"iteration_step": step["iteration"]}
        yield "vqe_iterations", at | step | {"iteration_energy": step["result"], "energy_std_dev": step["std"]}
        for value in step["parameters"]:
            yield "iteration_parameters", at | {"parameter_value": value}
    for term in initial["hamiltonian"]:
        number = term["coefficients"]
        values = {"term_label": term["label"], "coeff_real": number["real"], "coeff_imag": number["imaginary"]}
        yield "hamiltonian_terms", head | values


def _digest(record: dict[str, Any]) -> str:
    # What the scripts hash: the molecule, the basis and what the optimisation started from.
    asked = [record["molecule"], record["basis_set"], record["vqe_result"]["initial_data"]]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _declared(name: str, form: str) -> list[tuple[str, str]]:
    columns = [tuple(column.split(" ", 1)) for column in f"{COLUMNS[name]}, {_COMMON}".split(", ")]
    if form == "v1":
        return [(column, kind) for column, kind in columns if column not in _LATER]
    if form == "json":
        inferred = {"int": "bigint"}
        typed = [(c, "string" if c == "maxcv" else inferred.get(k, k)) for c, k in columns]
        return [*typed, ("exact_estimator", "boolean")] if name == "vqe_results" else typed
    return columns


def _arrow_type(kind: str) -> pa.DataType:
    if kind.startswith("array<"):
        return pa.list_(_arrow_type(kind[6:-1]))
    names = {"int": "int32", "bigint": "int64", "double": "float64", "boolean": "bool", "date": "date32"}
    return pa.timestamp("us", "UTC") if kind == "timestamp" else pa.type_for_alias(names.get(kind, kind))


def _frame(spark: SparkSession, name: str, rows: list[dict[str, Any]], form: str) -> DataFrame:
    columns = _declared(name, form)
    values = {column: [row.get(column) for row in rows] for column, _ in columns}
    typed = pa.table({column: pa.array(values[column], _arrow_type(kind)) for column, kind in columns})
    # From Arrow no Python worker is started.
    frame = spark.createDataFrame(typed)
    for column, expression in IDS.get(name, {}).items():
        frame = frame.selectExpr("*", f"{expression} as {column}")
    if name == "vqe_iterations":
        # What the scripts do against records that were delivered twice, and for this table alone.
        frame = frame.dropDuplicates(["experiment_id", "iteration_step"])
    return frame.coalesce(1)


def write_batch(spark: SparkSession, records: list[dict[str, Any]], form: str, at: dt.datetime) -> None:
    """Write records as one batch, new tables or appended, tag each table, and add the audit's row."""
    batch = str(uuid.uuid4())
    common = {"processing_timestamp": at, "processing_date": at.date(), "processing_batch_id": batch}
    common |= {"processing_name": "quantum_base_processing"}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in COLUMNS}
    for record in records:
        drawn = {name: str(uuid.uuid4()) for name in COLUMNS}
        for name, row in flattened(record, _digest(record)):
            rows[name].append(row | common | ({"experiment_id": drawn[name]} if form == "v1" else {}))
    tags = []
    for name, mine in rows.items():
        table = f"{NAMESPACE}.{name}"
        fresh = not spark.catalog.tableExists(table)
        writer = _frame(spark, name, mine, form).write.format("iceberg").option("write-format", "parquet")
        writer.partitionBy(*partition(name)).mode("overwrite" if fresh else "append").saveAsTable(table)
        tags.append(("v_" if fresh else "v_incr_") + batch.replace("-", ""))
        spark.sql(f"alter table {table} create tag {tags[-1]}")
    spark.sql(f"create table if not exists {NAMESPACE}.processing_metadata ({_METADATA}) using iceberg")
    counts = [len(mine) for mine in rows.values()]
    audit = (batch, "quantum_base_processing", at, at.date(), list(rows), tags, counts, "from topic experiment.vqe")
    frame = spark.createDataFrame([audit], _METADATA)
    frame.write.format("iceberg").mode("append").saveAsTable(f"{NAMESPACE}.processing_metadata")


def main(plan: list[dict[str, Any]], options: dict[str, str]) -> None:
    """Write every warehouse of the plan: its location, form and batches of records."""
    from pyspark.sql import SparkSession

    jars = ",".join(str(jar) for jar in jar_files(SparkSettings()))
    builder = SparkSession.builder.master("local[1]").config("spark.jars", jars)
    settings = {
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        "spark.driver.memory": "1g",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        # A hundred small statements: what the JVM compiles for them costs more than they do.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        **options,
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    for warehouse in plan:
        # One session a warehouse: a catalog keeps its location.
        spark = builder.getOrCreate().newSession()
        spark.conf.set("spark.sql.catalog.quantum_catalog", "org.apache.iceberg.spark.SparkCatalog")
        spark.conf.set("spark.sql.catalog.quantum_catalog.type", "hadoop")
        spark.conf.set("spark.sql.catalog.quantum_catalog.warehouse", warehouse["location"])
        for number, records in enumerate(warehouse["batches"]):
            at = dt.datetime(2025, 6, 1 + number, 4, 30, tzinfo=dt.UTC)
            write_batch(spark, records, warehouse["form"], at)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        given = json.load(file)
    main(given["warehouses"], given["options"])
