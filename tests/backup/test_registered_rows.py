"""Rows that were adopted in place are in no raw object: a backup tells, and a restore never advises to empty tables."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.schema import Schema

from qpipe_assets.adoption.row_filters import is_null
from qpipe_assets.backup.restore import CatalogTooOldError, restore_tables
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation
from qpipe_resources.registration import prepare, replace_entries, withdraw
from tests.backup.losses import back_up, ingest, lose_the_catalog, silent
from tests.tables.protocol import land

NAME = "molecules"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def elsewhere(installation: Installation, tmp_path: Path) -> Path:
    """Where a table lies that another program has written, which was registered in place."""
    place = tmp_path / "elsewhere"
    declared = schemas.table(NAME)
    lacking = [
        field.model_copy(update={"required": False})
        for field in declared.iceberg_schema().fields
        if field.name != "molecule"
    ]
    old = SqlCatalog("old", uri="sqlite:///:memory:", warehouse=f"file://{place}")
    old.create_namespace(schemas.NAMESPACE)
    theirs = old.create_table(
        f"{schemas.NAMESPACE}.{NAME}", schema=Schema(*lacking), partition_spec=declared.partition_spec()
    )
    rows = {"experiment_id": ["theirs"], "molecule_id": pa.array([0], pa.int32())}
    empty = theirs.schema().as_arrow().empty_table()
    given = [pa.array(rows[field.name]) if field.name in rows else pa.nulls(1, field.type) for field in empty.schema]
    theirs.append(pa.table(given, schema=empty.schema))
    lakehouse = installation.lakehouse
    before = {NAME: lakehouse.load(NAME).metadata_location}
    after = prepare(lakehouse, {NAME: theirs}, {NAME: declared})
    installation.ledger.adopt(str(place), [], lambda connection: replace_entries(connection, lakehouse, before, after))
    return place


def told_by_a_backup(installation: Installation, folder: Path) -> list[str]:
    told: list[str] = []
    back_up(installation, folder, told.append)
    return [line for line in told if "adopted in place" in line]


def test_a_backup_tells_of_rows_that_it_does_not_hold(
    installation: Installation, elsewhere: Path, folder: Path
) -> None:
    land(installation, [0])
    ingest(installation, "H2")
    (line,) = told_by_a_backup(installation, folder)
    assert NAME in line
    assert "qpipe adopt WAREHOUSE --rewrite" in line
    withdraw(installation.lakehouse, NAME, is_null("molecule"))
    assert len(installation.lakehouse.arrow(NAME)) == 1, "the ingested row"
    assert told_by_a_backup(installation, folder) == []


def test_a_backup_of_ingested_rows_tells_nothing(installation: Installation, folder: Path) -> None:
    land(installation, [0])
    ingest(installation, "H2")
    assert told_by_a_backup(installation, folder) == []


def test_tables_that_hold_such_rows_are_never_to_be_emptied(
    installation: Installation, elsewhere: Path, folder: Path
) -> None:
    land(installation, [0])
    ingest(installation, "H2")
    back_up(installation, folder)
    lose_the_catalog(installation.settings)
    data = installation.settings.warehouse / schemas.NAMESPACE / "vqe_results" / "data"
    for path in data.rglob("*.parquet"):
        path.unlink()
    with pytest.raises(CatalogTooOldError, match=rf"{NAME} .*adopted in place.*do not empty") as refused:
        restore_tables(installation.settings, folder, silent)
    assert "Empty the catalog" not in str(refused.value)
