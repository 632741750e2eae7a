"""Answers from manifests: right where they are given, given where they can be, and files that a filter rules out."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from qpipe_assets.reading import LakehouseReader
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from tests.opened_files import OpenedFiles, count_opened_files
from tests.synthetic import plain_record
from tests.tables.protocol import land, settings_in


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> LakehouseReader:
    """Three batches of H2, one of LiH: four data files a table. Shared, so it is not written to."""
    installation = open_installation(settings_in(tmp_path_factory.mktemp("reads")))
    for number in range(3):
        land(installation, [number])
        installation.ingest().run("H2")
    land(installation, [9], "LiH")
    installation.ingest().run("LiH")
    return LakehouseReader(installation)


@pytest.fixture
def opened(reader: LakehouseReader, monkeypatch: pytest.MonkeyPatch) -> OpenedFiles:
    return count_opened_files(reader.installation.lakehouse, monkeypatch)


def oracle(reader: LakehouseReader, query: str, *tables: str) -> list[dict[str, Any]]:
    """The query over the tables in memory."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        for name in tables or ("vqe_iterations",):
            connection.register(name, reader.installation.lakehouse.arrow(name))
        return list(connection.sql(query).to_arrow_table().to_pylist())


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) from vqe_iterations",
        "select count(*) as n, count(1) from vqe_iterations where false",
        "select count(*), count(gradient_norm), count(energy_delta) from vqe_iterations",
        "select min(iteration_step), max(iteration_step) + 1 last from vqe_iterations",
        "select min(iteration_energy), max(iteration_energy), min(energy_std_dev) from vqe_iterations",
        "select min(processing_date), max(processing_timestamp) from vqe_iterations",
        "select min(molecule), max(basis_set), min(gradient_norm) from vqe_iterations",
        "select molecule, count(*) n from vqe_iterations group by molecule order by n desc, molecule",
        "select molecule m, max(iteration_step) from vqe_iterations where molecule <> 'H2' group by all",
        "select count(*) from vqe_iterations v where v.basis_set in ('sto3g', 'x') and processing_date > '2020-01-01'",
        "select basis_set from vqe_iterations group by 1 having count(*) between 1 and 100",
        "SELECT COUNT(*) FROM VQE_Iterations WHERE Molecule = 'N2'",
        "select backend, count(*) from vqe_iterations group by rollup (backend) order by 1",
    ],
)
def test_counts_and_bounds_of_tables_and_partitions_open_no_data_file(
    query: str, reader: LakehouseReader, opened: OpenedFiles
) -> None:
    expected = oracle(reader, query)
    opened.forget()
    assert reader.sql(query).to_pylist() == expected
    assert opened.data == set() and opened.manifests


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) from vqe_iterations where iteration_step = 2",
        "select min(experiment_id) from vqe_iterations",
        "select count(distinct molecule) from vqe_iterations",
        "select sum(iteration_step), count(*) from vqe_iterations",
        "select experiment_id, count(*) from vqe_iterations group by all order by 1",
        "select count(*) filter (iteration_step > 1) from vqe_iterations",
        "select max(iteration_step) molecule from vqe_iterations group by molecule order by molecule",
        "select length(molecule), count(*) from vqe_iterations group by 1 order by 1",
        "select count(*) from vqe_iterations where exists (select 1 from vqe_iterations where iteration_step = 3)",
        "with t as (select * from vqe_iterations where iteration_step < 3) select count(*) from t",
        "select count(*) over () from vqe_iterations limit 1",
        "select count(*) from vqe_iterations a join vqe_iterations b using (iteration_id)",
    ],
)
def test_whatever_the_manifests_do_not_know_is_read(query: str, reader: LakehouseReader, opened: OpenedFiles) -> None:
    expected = oracle(reader, query)
    opened.forget()
    assert reader.sql(query).to_pylist() == expected
    assert opened.data


def test_columns_are_called_the_same_as_without_manifests(reader: LakehouseReader) -> None:
    query = "select count(*), max(v.iteration_step), min(iteration_step) lowest from vqe_iterations v"
    assert reader.sql(query).column_names == list(oracle(reader, query)[0])


def test_an_empty_table_is_counted(installation: Installation) -> None:
    query = "select count(*) n, count(seed) s, min(seed) low, max(seed) high from vqe_results"
    assert LakehouseReader(installation).sql(query).to_pylist() == [{"n": 0, "s": 0, "low": None, "high": None}]


def test_a_maximum_is_read_where_a_nan_may_be(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    installation.store.put(
        "experiments/t/molecule=H2/year=2026/month=11/day=21/0.json",
        json.dumps(plain_record(0, evaluations=8)).encode(),
    )
    installation.ingest().run("H2")
    installation.ml_features().run("H2")
    # No manifest of ours counts NaN, and other programs may write it.
    row = installation.lakehouse.load("ml_run_summary").scan().to_arrow()
    rows = pa.concat_tables([row, row])
    position = rows.column_names.index("first_10_energy_slope")
    planted = rows.set_column(position, rows.schema.field(position), pa.array([math.nan, -1.0]))
    schema = schemas.table("ml_run_summary").arrow_schema()
    installation.lakehouse.append("ml_run_summary", planted.cast(schema), "planted")
    opened = count_opened_files(installation.lakehouse, monkeypatch)
    query = "select {}(first_10_energy_slope) found from ml_run_summary"
    slopes = [LakehouseReader(installation).sql(query.format(name)).to_pylist()[0]["found"] for name in ("max", "min")]
    assert math.isnan(slopes[0]) and opened.data and slopes[1] == -1.0
    opened.forget()
    LakehouseReader(installation).sql(query.format("min"))
    assert not opened.data


# Filters


@pytest.mark.parametrize(
    ("condition", "files"),
    [
        ("molecule = 'LiH'", 1),
        ("molecule = 'H2' and iteration_step = 2", 3),
        ("molecule in ('LiH', 'N2')", 1),
        ("basis_set = 'sto3g'", 4),
        ("basis_set = 'cc-pvdz'", 0),
        ("processing_date < '2020-01-01'", 0),
        ("processing_timestamp <= '2020-01-01'", 0),
        ("iteration_step > 100", 0),
        ("iteration_energy < -100", 0),
        ("gradient_norm is null", 4),
        ("experiment_id = 'zz'", 0),
        ("molecule = 'LiH' or iteration_step > 100", 1),
    ],
)
def test_files_that_the_manifests_rule_out_are_not_opened(
    condition: str, files: int, reader: LakehouseReader, opened: OpenedFiles
) -> None:
    query = f"select iteration_id, iteration_energy from vqe_iterations where {condition} order by 1"
    expected = oracle(reader, query)
    opened.forget()
    assert reader.sql(query).to_pylist() == expected
    assert len(opened.data) == files


def test_a_dataset_from_python_skips_files_too(reader: LakehouseReader, opened: OpenedFiles) -> None:
    import pyarrow.dataset as ds

    dataset = reader.table("vqe_iterations").to_dataset()
    assert dataset.to_table(filter=ds.field("molecule") == "LiH").num_rows == 4
    assert len(opened.data) == 1


def test_only_the_columns_that_are_named_are_read(reader: LakehouseReader, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = reader.sql("explain select sum(iteration_energy) from vqe_iterations where molecule = 'LiH'").to_pylist()
    text = str(plan)
    assert "iteration_energy" in text and "gradient_norm" not in text and "molecule" in text


# Any rows

_VALUES = {
    "number": (pa.int64(), st.integers(-3, 3)),
    "measure": (pa.float64(), st.sampled_from([-1.5, -0.0, 0.0, 2.0, math.inf, -math.inf, math.nan])),
    "label": (pa.string(), st.sampled_from(["", "a", "b", "a label longer than sixteen", "a label longer than 17"])),
    "day": (pa.date32(), st.dates(dt.date(2026, 1, 1), dt.date(2026, 1, 4))),
    "flag": (pa.bool_(), st.booleans()),
}
_file = st.lists(
    st.fixed_dictionaries({name: st.none() | values for name, (_, values) in _VALUES.items()}), min_size=1, max_size=4
)
_conditions = st.sampled_from(
    [
        *("true", "number > 0", "number is null", "number in (1, 2) and flag", "day = '2026-01-02' or number = 1"),
        *("measure > 1", "measure <= 0", "not (measure > 1)", "measure = 'nan'::double", "flag"),
        *("label = 'a'", "label <> 'a'", "label > 'a label longer than sixteen'", "day >= '2026-01-03'"),
    ]
)


_aggregates = st.tuples(st.sampled_from(["count", "min", "max"]), st.sampled_from(sorted(_VALUES)))
_names = itertools.count()


@given(files=st.lists(_file, min_size=1, max_size=3), condition=_conditions, aggregate=_aggregates)
@settings(
    max_examples=12,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_rows_give_the_same_answers_with_and_without_manifests(
    installation: Installation, files: list[list[dict[str, Any]]], condition: str, aggregate: tuple[str, str]
) -> None:
    lakehouse = installation.lakehouse
    name = f"any_{next(_names)}"
    schema = pa.schema([(column, kind) for column, (kind, _) in _VALUES.items()])
    table = lakehouse.catalog.create_table(f"{lakehouse.namespace}.{name}", schema)
    for rows in files:
        table.append(pa.Table.from_pylist(rows, schema))
    function, column = aggregate
    several = ", ".join(f"count({c}), min({c}), max({c})" for c in _VALUES)
    queries = [
        f"select {function}({column}) v from {name}",
        f"select {several}, count(*) from {name} where {condition}",
        f"select label, count(*) n, max(number) v from {name} group by label order by label",
    ]
    with duckdb.connect() as connection:
        connection.register(name, pa.concat_tables([pa.Table.from_pylist(rows, schema) for rows in files]))
        for query in queries:
            expected = connection.sql(query).to_arrow_table().to_pylist()
            assert _text(lakehouse.sql(query, [name]).to_pylist()) == _text(expected), query


def _text(rows: list[dict[str, Any]]) -> str:
    """Rows with NaN equal to itself and one zero."""
    return str(rows).replace("-0.0", "0.0")
