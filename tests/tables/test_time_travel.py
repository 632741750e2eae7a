"""Time travel: a table as of a tag, a batch, a snapshot and a moment, in SQL and in Python, and what has expired."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.types import DoubleType

from qpipe_assets.reading import LakehouseReader
from qpipe_assets.tables.installation import Installation
from qpipe_assets.tables.maintenance import Retention, expire_tags
from qpipe_resources.lakehouse_versions import UnknownVersionError
from tests.tables.protocol import land


def ingest(installation: Installation, *numbers: int) -> list[str]:
    """One batch a number; their ids."""
    batches: list[str] = []
    for number in numbers:
        land(installation, [number])
        batches += installation.ingest().run("H2").batches
    return batches


def rows(reader: LakehouseReader, at: str) -> int:
    found: int = reader.sql(f"select count(*) n from vqe_results at ({at})").to_pylist()[0]["n"]
    return found


def test_tag_batch_snapshot_and_moment_mean_the_same_version(installation: Installation) -> None:
    batches = ingest(installation, 0, 1, 2)
    reader = LakehouseReader(installation)
    for number, snapshot in enumerate(installation.lakehouse.load("vqe_results").snapshots(), start=1):
        batch = batches[number - 1]
        moment = dt.datetime.fromtimestamp(snapshot.timestamp_ms / 1000, dt.UTC)
        versions: list[Any] = [batch, f"v_{batch}", f"v_incr_{batch}", snapshot.snapshot_id, str(snapshot.snapshot_id)]
        for version in [*versions, moment, moment.isoformat()]:
            assert reader.table("vqe_results", version).to_arrow().num_rows == number, version
            assert reader.sql("select minimum_energy from vqe_results", version).num_rows == number, version
        assert rows(reader, f"version => '{batch}'") == number
        assert rows(reader, f"version => {snapshot.snapshot_id}") == number
        assert rows(reader, f"timestamp => '{moment.isoformat()}'") == number
    assert rows(reader, "timestamp => '2020-01-01'") == 0
    assert rows(reader, "timestamp => now()") == rows(reader, "version => 'now'") == 3


def test_one_query_compares_two_versions_of_a_table(installation: Installation) -> None:
    first, _ = ingest(installation, 0, 1)
    found = LakehouseReader(installation).sql(
        f"select n.seed from vqe_results n left join vqe_results o at (version => '{first}') using (experiment_id) "
        "where o.experiment_id is null"
    )
    assert found.to_pylist() == [{"seed": 1}]


def test_a_version_in_the_query_wins_over_that_of_all_tables(installation: Installation) -> None:
    first, second, _ = ingest(installation, 0, 1, 2)
    query = f"select (select count(*) from vqe_results at (version => '{first}')) a, (select count(*) from molecules) b"
    assert LakehouseReader(installation).sql(query, second).to_pylist() == [{"a": 1, "b": 2}]


@pytest.mark.parametrize("version", ["v_incr_nothing", "12345678901234567", "yesterday"])
def test_a_version_that_there_is_not_is_told_with_those_that_there_are(
    installation: Installation, version: str
) -> None:
    (batch,) = ingest(installation, 0)
    with pytest.raises(UnknownVersionError, match=rf"vqe_results has no .*'{version}'.*v_{batch}"):
        LakehouseReader(installation).sql(f"select * from vqe_results at (version => '{version}')")


def test_rows_of_a_moment_whose_version_has_expired_are_refused_and_never_guessed(installation: Installation) -> None:
    batches = ingest(installation, 0, 1, 2, 3)
    lakehouse = installation.lakehouse
    times = [
        dt.datetime.fromtimestamp(snapshot.timestamp_ms / 1000, dt.UTC)
        for snapshot in lakehouse.load("vqe_results").snapshots()
    ]
    with lakehouse.load("vqe_results").manage_snapshots() as manage:
        manage.create_tag(lakehouse.load("vqe_results").snapshots()[0].snapshot_id, "paper")
    expire_tags(lakehouse, installation.ledger, "vqe_results", Retention(1, 0, 1))
    reader = LakehouseReader(installation)
    assert [reader.table("vqe_results", version).to_arrow().num_rows for version in ("paper", batches[3])] == [1, 4]
    assert reader.table("vqe_results", times[3]).to_arrow().num_rows == 4
    assert reader.table("vqe_results", "2020-01-01").to_arrow().num_rows == 0
    for moment in (times[1], times[2], times[2] + (times[3] - times[2]) / 2):
        with pytest.raises(UnknownVersionError, match=rf"have expired.*paper .* and v_incr_{batches[3]} "):
            reader.table("vqe_results", moment).to_arrow()


def test_before_the_oldest_retained_version_is_not_before_the_first(installation: Installation) -> None:
    (_, second) = ingest(installation, 0, 1)
    expire_tags(installation.lakehouse, installation.ledger, "vqe_results", Retention(1, 0, 1))
    with pytest.raises(UnknownVersionError, match=rf"have expired.*: v_incr_{second} "):
        LakehouseReader(installation).table("vqe_results", "2020-01-01").to_arrow()


def test_a_column_that_was_added_is_null_in_old_rows_and_absent_from_old_versions(installation: Installation) -> None:
    (first,) = ingest(installation, 0)
    with installation.lakehouse.load("molecules").update_schema() as update:
        update.add_column("dipole", DoubleType())
    reader = LakehouseReader(installation)
    assert reader.sql("select dipole, charge from molecules").to_pylist() == [{"dipole": None, "charge": 0}]
    assert reader.sql("select count(dipole) n, max(dipole) m from molecules").to_pylist() == [{"n": 0, "m": None}]
    assert "dipole" not in reader.table("molecules", first).to_arrow().column_names
    rows = installation.lakehouse.load("molecules").scan().to_arrow()
    position = rows.column_names.index("dipole")
    installation.lakehouse.append("molecules", rows.set_column(position, "dipole", pa.array([1.5])), "new")
    assert reader.sql("select dipole from molecules order by 1 nulls first").to_pylist() == [
        {"dipole": None},
        {"dipole": 1.5},
    ]


def test_a_column_that_another_program_renamed_keeps_its_values(installation: Installation) -> None:
    ingest(installation, 0)
    with installation.lakehouse.load("molecules").update_schema() as update:
        update.rename_column("charge", "net_charge")
    reader = LakehouseReader(installation)
    assert reader.sql("select net_charge, multiplicity from molecules").to_pylist() == [
        {"net_charge": 0, "multiplicity": 1}
    ]
