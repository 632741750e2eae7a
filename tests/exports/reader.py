"""Opens an export with nothing but the folder: run as a process of its own, `python reader.py FOLDER [iceberg]`.

Prints, as JSON, what pandas, DuckDB and (with `iceberg`) pyiceberg find of each table.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(root: Path, *, iceberg: bool) -> dict[str, Any]:
    import duckdb
    import pandas as pd

    latest = json.loads((root / "latest.json").read_text())
    manifest = json.loads((root / latest["manifest"]).read_text())
    found: dict[str, Any] = {}
    for table in manifest["tables"]:
        files = [str(root / file["path"]) for file in table["files"]]
        frame = pd.read_parquet(files)
        rows = duckdb.read_parquet(files)
        energies = sorted(float(value) for value in frame["final_energy"])
        found[table["name"]] = {"pandas": [len(frame), len(frame.columns)], "duckdb": list(rows.shape)}
        found[table["name"]]["energies"] = energies
        if iceberg:
            from pyiceberg.table import StaticTable

            opened = StaticTable.from_metadata(f"{manifest['base_url']}/{table['iceberg']}")
            scanned = opened.scan().to_arrow()
            lih = opened.scan(row_filter="molecule == 'LiH'").to_arrow()
            found[table["name"]]["pyiceberg"] = [scanned.num_rows, scanned.num_columns]
            found[table["name"]]["iceberg_energies"] = sorted(scanned.column("final_energy").to_pylist())
            found[table["name"]]["LiH"] = lih.num_rows
    assert not [name for name in sys.modules if name.startswith("qpipe")]
    return found


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1]), iceberg="iceberg" in sys.argv[2:]), sys.stdout)
