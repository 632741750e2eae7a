"""The datasheet of a version: what it holds, where it comes from, how to read it, what it cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qpipe_assets.exports.facts import Facts
from qpipe_assets.exports.manifest import LATEST, Manifest, manifest_path
from qpipe_assets.exports.request import Format

_LIMITS = (
    "Energies of `energy`, `iteration_energy`, `minimum_energy` and `final_energy` are electronic; `total_energy`, "
    "`hf_energy` and `fci_energy` include the repulsion of the nuclei.",
    "`valid` says whether a result is about the molecule that was asked (electron number, spin, not below the exact "
    "energy); `converged` and `success` are the optimiser's own words and say nothing of accuracy. Leave out rows "
    "that are not valid before you train on them.",
    "`fci_energy` is exact in the basis and active space of the run, not the limit of a complete basis; it is null "
    "where it could not be computed. Errors are relative to it.",
    "Runs of one molecule share its Hamiltonian: a split that is not by molecule leaks.",
    "Energies of sampled runs scatter; of samples the lowest is biased downwards.",
)
_READ_PARQUET = """\
```python
import json, pathlib
import pandas as pd

root = pathlib.Path(".")  # the folder that holds {latest}
manifest = json.loads((root / "{manifest}").read_text())
files = {{t["name"]: [root / f["path"] for f in t["files"]] for t in manifest["tables"]}}
frame = pd.read_parquet(files["{table}"])
```

DuckDB: `duckdb.read_parquet([str(path) for path in files["{table}"]])`. Take the manifest's files, not a pattern:
`data/` holds those of other versions too.

Iceberg, where it was written for ({base}):

```python
from pyiceberg.table import StaticTable

table = StaticTable.from_metadata("{metadata}")
```

Iceberg's paths are absolute, so this works there only. All other paths are relative to the dataset's folder: it can be
moved or copied as a whole.
"""
_READ_CSV = """\
One file for each table: `pandas.read_csv`. Lists are JSON text, a null is an empty field.
"""
_READ_HDF5 = """\
```python
import h5py

with h5py.File("{file}") as file:
    energies = file["{table}/{column}"][:]
```

One group for each table, one dataset for each column, with its `type`, `unit` and `description` as attributes. A column
of lists is a group: row i is `values[offsets[i]:offsets[i + 1]]`. Where a column has nulls, `<column>__valid` is false
for them. Dates are days, timestamps microseconds (UTC) since 1970.
"""


def render(manifest: Manifest, facts: Facts) -> str:
    """The Markdown text of a version's README.md."""
    sections = [_head(manifest), _contents(manifest), _reading(manifest), _runs(facts), _origin(manifest, facts)]
    limits = "\n".join(f"- {line}" for line in (*_LIMITS, *_own_limits(manifest, facts)))
    columns = "\n\n".join(_columns(manifest))
    return "\n\n".join([*filter(None, sections), f"## Known limits\n\n{limits}", f"## Columns\n\n{columns}"]) + "\n"


def _head(manifest: Manifest) -> str:
    return (
        f"# {manifest.dataset}, version {manifest.version}\n\n"
        "Variational quantum eigensolver (VQE) runs on molecules: trajectories of energies and what came of them.\n\n"
        + _table(
            ["", ""],
            [
                ["made", manifest.created_at],
                ["by", manifest.exported_by],
                ["of the tables as of", manifest.asked_version],
                ["format", manifest.format],
                ["licence", manifest.license or "not stated: ask whoever gave you the data"],
            ],
        )
    )


def _contents(manifest: Manifest) -> str:
    tables = [[t.name, f"{t.rows:,}", str(len(t.files)), ", ".join(t.key), t.comment] for t in manifest.tables]
    text = "## What it holds\n\n" + _table(["table", "rows", "files", "key", "one row is"], tables)
    text += (
        f"\n\nAll tables hold the same {manifest.batches:,} batches of runs, whole. Snapshots: "
        + ", ".join(f"{t.name} {t.snapshot_id} ({', '.join(t.tags) or 'no tag'})" for t in manifest.tables)
        + "."
    )
    if manifest.splits:
        rows = [
            [split, str(len(members)), f"{sum(_rows_of(manifest, m) for m in members):,}", ", ".join(members)]
            for split, members in manifest.splits.items()
        ]
        text += "\n\n" + _table(["split", "molecules", "rows", "which"], rows)
        text += "\n\nA molecule is in one split as a whole, and stays there in later versions of the same splits."
    return text


def _rows_of(manifest: Manifest, molecule: str) -> int:
    return sum(rows.get(molecule, 0) for rows in manifest.molecules.values())


def _reading(manifest: Manifest) -> str:
    first = manifest.tables[0]
    if manifest.format == Format.PARQUET:
        text = _READ_PARQUET.format(
            latest=LATEST,
            manifest=manifest_path(manifest.version),
            table=first.name,
            base=manifest.base_url,
            metadata=f"{manifest.base_url}/{first.iceberg}",
        )
        if manifest.splits:
            text += '\nA file\'s split: `f["split"]` in the manifest; or filter by `molecule`.\n'
    elif manifest.format == Format.HDF5:
        text = _READ_HDF5.format(file=first.files[0].path, table=first.name, column=first.columns[0].name)
    else:
        text = _READ_CSV
    return f"## How to read it\n\n{text}".rstrip()


def _runs(facts: Facts) -> str:
    if not facts.runs:
        return ""
    names = ["molecule", "basis_set", "runs", "valid", "invalid", "not_judged", "accurate"]
    return (
        "## Runs\n\n"
        + _table([name.replace("_", " ") for name in names], [[row[name] for name in names] for row in facts.runs])
        + "\n\nAccurate: valid and within 1.6 mHartree of the exact energy in the same orbital space."
    )


def _origin(manifest: Manifest, facts: Facts) -> str:
    if not facts.origins:
        return ""
    names = ["engine", "reference", "runs", "certified", "sampled"]
    text = "## Where the energies come from\n\n"
    text += _table(names, [[row[name] for name in names] for row in facts.origins])
    text += (
        "\n\nEngine: what computed energies and gradients. Reference: method of `fci_energy`. Certified: the optimum "
        "was computed again by Qiskit Aer's statevector. Sampled: from shots."
    )
    if facts.software:
        versions = "; ".join(f"{package} {', '.join(found)}" for package, found in facts.software.items())
        text += f"\n\nSoftware: {versions}."
    return text


def _own_limits(manifest: Manifest, facts: Facts) -> list[str]:
    found = []
    if bad := sum(row["invalid"] + row["not_judged"] for row in facts.runs):
        found.append(f"{bad:,} of {sum(row['runs'] for row in facts.runs):,} runs here are not valid or not judged.")
    if lacking := sum(row["runs"] for row in facts.origins if not row["reference"]):
        found.append(f"{lacking:,} runs here have no exact reference energy.")
    if any("" in rows for rows in manifest.molecules.values()):
        found.append("Rows without `molecule` come from an adopted warehouse.")
    if manifest.batches_left_out:
        found.append(
            f"{len(manifest.batches_left_out)} batches are not here, because only some of the tables had them."
        )
    if manifest.waiting:
        found.append(
            f"Rows of {', '.join(manifest.waiting)} may be missing: an ingest, a rebuild or a table was not finished "
            "when this version was made."
        )
    return found


def _columns(manifest: Manifest) -> list[str]:
    return [
        f"### {table.name}\n\n"
        + _table(
            ["column", "type", "unit", "meaning"],
            [[f"{c.name}{'!' if c.required else ''}", c.type, c.unit, c.doc] for c in table.columns],
        )
        for table in manifest.tables
    ] + ["`!` marks columns that are never null."]


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [head, ["---"] * len(head), *rows]
    lines = ["| " + " | ".join("" if c is None else str(c).replace("|", "\\|") for c in row) + " |" for row in cells]
    return "\n".join(lines)
