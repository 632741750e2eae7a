"""Two installations compared row for row."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation

OF_THE_BATCH = frozenset({"processing_timestamp", "processing_date", "processing_batch_id"})
"""Columns that say when and in which batch a row was ingested."""
OF_THE_CLOCK = frozenset(
    {
        "hamiltonian_time",
        "mapping_time",
        "vqe_time",
        "minimization_time",
        "total_time",
        "computed_total_time",
        "wall_time",
        "started_at",
        "time_per_iteration",
    }
)
"""Columns that say when a run was computed and how long it took."""
OF_THE_RUN = frozenset({"dagster_run_id"})
"""Column that names the Dagster run which computed."""


def rows(installation: Installation, name: str, without: Collection[str]) -> pa.Table:
    """A table's rows in the order of its key, without the named columns."""
    table = installation.lakehouse.arrow(name)
    kept = table.drop_columns([column for column in table.column_names if column in without])
    return kept.sort_by([(key, "ascending") for key in schemas.table(name).key]).combine_chunks()


def assert_no_key_twice(table: pa.Table, name: str) -> None:
    """Every key of the table names one row."""
    keys = list(schemas.table(name).key)
    counted = table.select(keys).group_by(keys).aggregate([([], "count_all")])
    twice = counted.filter(pc.greater(counted["count_all"], 1))
    assert twice.num_rows == 0, f"{name} holds {twice.num_rows} keys more than once, the first is {twice.slice(0, 1)}"


def assert_same_rows(
    found: Installation, expected: Installation, tables: Iterable[str], without: Collection[str]
) -> dict[str, int]:
    """Every table holds the same rows in both installations, none twice; returns how many."""
    counts = {}
    for name in tables:
        mine, theirs = rows(found, name, without), rows(expected, name, without)
        assert_no_key_twice(mine, name)
        _assert_same_keys(mine, theirs, name)
        for column in theirs.column_names:
            assert mine[column].equals(theirs[column]), f"{name}.{column}: {_first_difference(mine, theirs, column)}"
        assert mine.schema.names == theirs.schema.names
        counts[name] = mine.num_rows
    return counts


def _assert_same_keys(mine: pa.Table, theirs: pa.Table, name: str) -> None:
    experiments = [_counted(table) for table in (mine, theirs)]
    wrong = {key: (experiments[0].get(key), experiments[1].get(key)) for key in experiments[0] | experiments[1]}
    wrong = {key: pair for key, pair in wrong.items() if pair[0] != pair[1]}
    first = dict(list(wrong.items())[:3])
    assert not wrong, f"{name}: {len(wrong)} experiments have other numbers of rows (found, expected): {first}"


def _counted(table: pa.Table) -> dict[str, int]:
    counted = table.select(["experiment_id"]).group_by("experiment_id").aggregate([([], "count_all")])
    return dict(zip(counted["experiment_id"].to_pylist(), counted["count_all"].to_pylist(), strict=True))


def _first_difference(mine: pa.Table, theirs: pa.Table, column: str) -> str:
    pairs = zip(mine[column].to_pylist(), theirs[column].to_pylist(), strict=True)
    return next((f"row {row}: {a!r} != {b!r}" for row, (a, b) in enumerate(pairs) if a != b), "types differ")
