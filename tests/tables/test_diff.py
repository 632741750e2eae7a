"""What changed between two versions: right across appends, rebuilds, compaction and new columns, at the cost of it."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyiceberg.types import DoubleType

from qpipe_assets.reading import LakehouseReader
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation
from qpipe_resources.lakehouse_diff import Change
from tests.opened_files import count_opened_files
from tests.tables.protocol import land


@pytest.fixture
def reader(installation: Installation) -> LakehouseReader:
    return LakehouseReader(installation)


def ingest(reader: LakehouseReader, number: int, molecule: str = "H2") -> str:
    """One batch; its id."""
    land(reader.installation, [number], molecule)
    (batch,) = reader.installation.ingest().run(molecule).batches
    return batch


def rewrite(reader: LakehouseReader, name: str, rows: pa.Table | None = None) -> None:
    """Put the table's rows into one new file, changed or as they are."""
    table = reader.installation.lakehouse.load(name)
    table.overwrite(table.scan().to_arrow() if rows is None else rows)


def test_what_a_batch_added_is_told_without_opening_a_data_file(
    reader: LakehouseReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ingest(reader, 0), ingest(reader, 1)
    opened = count_opened_files(reader.installation.lakehouse, monkeypatch)
    assert reader.diff("vqe_iterations", first).change() == Change(4, 0, 0, 0, {}, 0)
    assert reader.diff("vqe_iterations", "now", first).change() == Change(0, 4, 0, 0, {}, 0)
    assert reader.diff("vqe_iterations", second, "now").change() == Change(0, 0, 0, 0, {}, 0)
    assert reader.diff("vqe_iterations", "2020-01-01").change() == Change(8, 0, 0, 0, {}, 0)
    assert opened.data == set()
    listed = reader.diff("vqe_iterations", first).rows().to_pylist()
    mine = reader.sql(f"select iteration_id i from vqe_iterations where processing_batch_id = '{second}' order by 1")
    assert [row["iteration_id"] for row in listed] == mine.column("i").to_pylist()
    assert {row["change"] for row in listed} == {"added"}


def test_a_compaction_changes_nothing(reader: LakehouseReader) -> None:
    ingest(reader, 0)
    second = ingest(reader, 1)
    for table in schemas.NORMALIZED:
        rewrite(reader, table.name)
        found = reader.diff(table.name, second).change()
        assert (found.added, found.removed, found.changed, found.reprocessed) == (0, 0, 0, 0), table.name
        assert found.files_read == 3
        assert reader.diff(table.name, second).rows().num_rows == 0


def test_a_rebuild_wrote_the_same_rows_again(reader: LakehouseReader) -> None:
    batches = [ingest(reader, number) for number in range(2)]
    ingest(reader, 9, "LiH")
    reader.installation.ledger.request_rebuild("H2")
    reader.installation.ingest().run("H2")
    found = reader.diff("vqe_results", batches[-1]).change()
    assert (found.added, found.removed, found.changed, found.reprocessed) == (1, 0, 0, 2) and found.columns == {}


def test_a_value_that_changed_is_shown_with_what_it_was(reader: LakehouseReader) -> None:
    first = ingest(reader, 0)
    rows = reader.installation.lakehouse.load("vqe_iterations").scan().to_arrow()
    position = rows.column_names.index("iteration_energy")
    energies = rows.column(position).to_pylist()
    place = rows["iteration_step"].to_pylist().index(3)
    changed = [*energies[:place], -7.5, *energies[place + 1 :]]
    rewrite(reader, "vqe_iterations", rows.set_column(position, rows.field(position), [changed]))
    diff = reader.diff("vqe_iterations", first)
    assert diff.change() == Change(0, 0, 1, 0, {"iteration_energy": 1}, 2)
    (row,) = diff.rows().to_pylist()
    assert row.pop("iteration_id").endswith("_iter_3")
    before = str(energies[place])
    assert row == {"change": "changed", "column": "iteration_energy", "before": before, "after": "-7.5"}


def test_a_new_column_alone_changes_nothing_and_its_values_do(reader: LakehouseReader) -> None:
    first = ingest(reader, 0)
    with reader.installation.lakehouse.load("molecules").update_schema() as update:
        update.add_column("dipole", DoubleType())
    rewrite(reader, "molecules")
    assert reader.diff("molecules", first).change() == Change(0, 0, 0, 0, {}, 2)
    rows = reader.installation.lakehouse.load("molecules").scan().to_arrow()
    position = rows.column_names.index("dipole")
    rewrite(reader, "molecules", rows.set_column(position, rows.field(position), [[1.5]]))
    assert reader.diff("molecules", first).change().columns == {"dipole": 1}


def test_files_and_manifests_that_both_versions_have_are_not_opened(
    reader: LakehouseReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        last = ingest(reader, number)
    lakehouse = reader.installation.lakehouse
    one = lakehouse.arrow("vqe_results")["experiment_id"][0].as_py()
    table = lakehouse.load("vqe_results")
    changed = table.scan(row_filter=f"experiment_id == '{one}'").to_arrow()
    position = changed.column_names.index("seed")
    changed = changed.set_column(position, changed.field(position), pa.array([77], pa.int32()))
    table.overwrite(changed, f"experiment_id == '{one}'")
    opened = count_opened_files(lakehouse, monkeypatch)
    assert reader.diff("vqe_results", last).change() == Change(0, 0, 1, 0, {"seed": 1}, 2)
    assert len(opened.data) == 2


_rows = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from([None, 0.5, 1.5, math.nan]), st.sampled_from(["x", None])), max_size=6
)


@given(before=_rows, after=_rows, kept=_rows)
@settings(
    max_examples=12,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example makes a table: not shrunk
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_two_versions_differ_as_their_rows_do(
    installation: Installation, before: list[Any], after: list[Any], kept: list[Any]
) -> None:
    lakehouse = installation.lakehouse
    schema = pa.schema([("id", pa.int64()), ("measure", pa.float64()), ("writer", pa.string())])
    identifier = f"{lakehouse.namespace}.any"
    if lakehouse.catalog.table_exists(identifier):
        lakehouse.catalog.drop_table(identifier)
    table = lakehouse.catalog.create_table(identifier, schema)

    def write(rows: dict[int, tuple[float | None, str | None]]) -> int:
        listed = [{"id": key, "measure": measure, "writer": writer} for key, (measure, writer) in rows.items()]
        table.overwrite(pa.Table.from_pylist(listed, schema), "id < 100")
        return table.current_snapshot().snapshot_id  # type: ignore[union-attr]

    # Rows from 100 on stay in a file that both versions share.
    table.append(pa.Table.from_pylist([{"id": 100 + n, "measure": row[1]} for n, row in enumerate(kept)], schema))
    old = {key: (measure, writer) for key, measure, writer in before}
    new = {key: (measure, writer) for key, measure, writer in after}
    snapshots = write(old), write(new)
    both = old.keys() & new.keys()
    changed = {key for key in both if str(old[key][0]) != str(new[key][0])}
    reprocessed = {key for key in both - changed if old[key][1] != new[key][1]}
    found = lakehouse.diff("any", *snapshots, ["id"], ["writer"])
    counts = found.change()
    assert (counts.added, counts.removed) == (len(new.keys() - old.keys()), len(old.keys() - new.keys()))
    assert (counts.changed, counts.reprocessed) == (len(changed), len(reprocessed))
    listed = found.rows()
    assert set(listed.filter(pc.field("change") == "changed")["id"].to_pylist()) == changed
