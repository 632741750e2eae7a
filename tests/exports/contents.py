"""What a test finds in an export and in its source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows of the latest version, by table, in the order of their keys."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    latest = json.loads((folder / "latest.json").read_text())
    manifest = json.loads((folder / latest["manifest"]).read_text())
    found = {}
    for table in manifest["tables"]:
        read = pa.concat_tables(pq.read_table(folder / file["path"]) for file in table["files"])
        found[table["name"]] = read.sort_by([(key, "ascending") for key in table["key"]]).to_pylist()
    return found


def source_rows(installation: Installation) -> dict[str, list[dict[str, Any]]]:
    return {
        name: installation.lakehouse.arrow(name)
        .sort_by([(key, "ascending") for key in schemas.table(name).key])
        .to_pylist()
        for name in schemas.ML_NAMES
    }
