"""docs/tables.md from the declarations: `python -m qpipe_assets.tables.documentation > docs/tables.md`."""

from __future__ import annotations

import sys

from qpipe_assets.tables import schemas
from qpipe_assets.tables.declaration import Table

_HEAD = """# Tables

Generated from `qpipe_assets/tables/schemas.py` by `python -m qpipe_assets.tables.documentation > docs/tables.md`;
a test fails when it is stale. All tables live in the Iceberg catalog `quantum_catalog`, namespace `{namespace}`.
Energies of the seeds' columns are electronic; `total_energy`, `hf_energy` and `fci_energy` include the nuclear
repulsion. `molecule` is the partition key on every table; `!` marks columns that are never null.
"""


def render() -> str:
    """The Markdown text of docs/tables.md."""
    groups = (
        ("The nine normalized tables", schemas.NORMALIZED),
        ("The audit table", (schemas.PROCESSING_METADATA,)),
        ("The two ML tables", schemas.ML),
    )
    lines = [_HEAD.format(namespace=schemas.NAMESPACE)]
    for title, tables in groups:
        lines.append(f"## {title}\n")
        for table in tables:
            lines.extend(_table(table))
    return "\n".join(lines).rstrip() + "\n"


def _table(table: Table) -> list[str]:
    partition = ", ".join(table.partition) or "none"
    lines = [
        f"### {table.name}\n",
        f"{table.comment}. Key: {', '.join(table.key)}. Partitions: {partition}. From: {', '.join(table.sources)}.\n",
        "| column | type | unit | meaning |",
        "|---|---|---|---|",
    ]
    for column in table.columns:
        mark = "!" if column.required else ""
        lines.append(f"| {column.name}{mark} | {column.type} | {column.unit} | {column.doc} |".replace("  ", " "))
    return [*lines, ""]


if __name__ == "__main__":
    sys.stdout.write(render())
