"""An export opened by pandas, DuckDB and pyiceberg in processes that know nothing of qpipe, the source gone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qpipe_assets.exports.export import Export
from qpipe_assets.exports.request import ExportRequest
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation
from tests.exports.conftest import bring_in, export_to, fill

READER = Path(__file__).with_name("reader.py")


def read(dataset: Path, away: Path, *how: str) -> dict[str, Any]:
    """What a process finds that stands in another folder and has none of our packages on its path."""
    away.mkdir(exist_ok=True)
    shutil.copy(READER, away / "reader.py")
    command = [sys.executable, "-I", str(away / "reader.py"), str(dataset), *how]
    done = subprocess.run(command, cwd=away, capture_output=True, text=True, timeout=120, env={})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows_of(installation: Installation) -> dict[str, Any]:
    """Rows and energies of the ML tables, as the reader finds them."""
    found = {}
    for name in schemas.ML_NAMES:
        table = installation.lakehouse.arrow(name)
        found[name] = {
            "size": [table.num_rows, table.num_columns],
            "energies": sorted(table.column("final_energy").to_pylist()),
            "LiH": table.column("molecule").to_pylist().count("LiH"),
        }
    return found


@dataclass(frozen=True)
class Exported:
    """Datasets whose source is gone, and what its tables held."""

    here: Path
    moved: Path
    final: Path
    rows: dict[str, Any]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Two versions where they were written, a copy in another tree, and one that was written for another place."""
    folder = tmp_path_factory.mktemp("reading")
    source, final = fill(folder / "source", ("H2", "LiH")), folder / "final"
    export_to(folder / "exports", source).run(ExportRequest())
    bring_in(source, "H2", [7])
    export_to(folder / "exports", source).run(ExportRequest())
    export_to(folder / "written", source).run(ExportRequest(base_url=f"file://{final}"))
    rows = rows_of(source)
    shutil.rmtree(folder / "source")
    shutil.move(folder / "written", final)
    moved = folder / "another tree" / "moved"
    shutil.copytree(folder / "exports" / "demo", moved)
    return Exported(folder / "exports" / "demo", moved, final / "demo", rows)


def test_pandas_duckdb_and_pyiceberg_open_it_where_it_is_with_the_source_gone(
    exported: Exported, tmp_path: Path
) -> None:
    found = read(exported.here, tmp_path / "elsewhere", "iceberg")
    assert exported.rows.keys() == found.keys()
    for name, rows in exported.rows.items():
        assert [found[name][reader] for reader in ("pandas", "duckdb", "pyiceberg")] == [rows["size"]] * 3
        assert found[name]["energies"] == found[name]["iceberg_energies"] == rows["energies"]
        assert found[name]["LiH"] == rows["LiH"]


def test_a_copy_elsewhere_is_readable_by_pandas_and_duckdb_with_original_and_source_gone(
    exported: Exported, tmp_path: Path
) -> None:
    hidden = exported.here.rename(tmp_path / "hidden")
    try:
        found = read(exported.moved, tmp_path / "elsewhere")
    finally:
        hidden.rename(exported.here)
    for name, rows in exported.rows.items():
        assert [found[name][reader] for reader in ("pandas", "duckdb")] == [rows["size"]] * 2
        assert found[name]["energies"] == rows["energies"]


def test_with_a_base_url_pyiceberg_opens_it_at_its_final_place(exported: Exported, tmp_path: Path) -> None:
    found = read(exported.final, tmp_path / "elsewhere", "iceberg")
    for name, rows in exported.rows.items():
        assert found[name]["pyiceberg"] == rows["size"]
        assert found[name]["iceberg_energies"] == rows["energies"]


def test_every_table_can_be_exported_and_every_column_reads_as_in_the_source(
    filled: Installation, export: Export
) -> None:
    from pyiceberg.table import StaticTable

    names = tuple(schemas.names(schemas.ALL))
    outcome = export.run(ExportRequest(tables=names))
    for name in names:
        exported = StaticTable.from_metadata(f"{outcome.url}/versions/{outcome.version}/iceberg/{name}")
        ours = filled.lakehouse.arrow(name)
        order = [(key, "ascending") for key in schemas.table(name).key]
        rows = exported.scan().to_arrow().select(ours.column_names).cast(ours.schema).sort_by(order)
        assert rows.equals(ours.sort_by(order)), name
        assert [f.doc for f in exported.schema().fields] == [c.described for c in schemas.table(name).columns]
