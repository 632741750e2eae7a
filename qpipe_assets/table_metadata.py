"""What every table asset tells Dagster about itself, generated from the one declaration of the tables."""

from __future__ import annotations

from typing import Any

import dagster as dg

from qpipe_assets.partitions import molecule
from qpipe_assets.tables import schemas
from qpipe_assets.tables.declaration import Table
from qpipe_assets.tables.installation import Installation
from qpipe_assets.tables.ledger_tables import TableCommit

RAW_VQE_OBJECTS = "raw_vqe_objects"


def table_spec(table: Table, group: str, automation: dg.AutomationCondition | None = None) -> dg.AssetSpec:
    """The asset of one table: description, key, columns with units, lineage, and the tables it is made of."""
    return dg.AssetSpec(
        table.name,
        deps=list(table.sources),
        description=f"{table.comment}. Key: {', '.join(table.key)}.",
        group_name=group,
        kinds={"iceberg"},
        partitions_def=molecule,
        automation_condition=automation,
        metadata={
            "dagster/table_name": f"quantum_catalog.{schemas.NAMESPACE}.{table.name}",
            "dagster/column_schema": column_schema(table),
            "dagster/column_lineage": column_lineage(table),
            "key": list(table.key),
        },
    )


def column_schema(table: Table) -> dg.TableSchema:
    """The table's columns with types, documentation and constraints."""
    unique = table.key[0] if len(table.key) == 1 else None
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.name,
                column.type,
                column.described,
                dg.TableColumnConstraints(nullable=not column.required, unique=column.name == unique),
            )
            for column in table.columns
        ]
    )


def column_lineage(table: Table) -> dg.TableColumnLineage:
    """Which columns of its sources a column carries on under the same name.

    Columns that a formula makes, and all that come from nested fields of the raw objects, have no entry.
    """
    sources = [schemas.table(source) for source in table.sources if source != RAW_VQE_OBJECTS]
    deps = {
        column.name: [
            dg.TableColumnDep(dg.AssetKey(source.name), column.name)
            for source in sources
            if column.name in source.column_names
        ]
        for column in table.columns
    }
    return dg.TableColumnLineage({name: found for name, found in deps.items() if found})


def commit_metadata(commit: TableCommit | None) -> dict[str, Any]:
    """The newest snapshot that holds rows of a molecule, as it can be travelled to."""
    if commit is None or commit.snapshot_id is None or commit.tag is None:
        return {}
    # As text: a snapshot id is larger than what the browser's numbers hold exactly.
    return {"snapshot_id": str(commit.snapshot_id), "tag": commit.tag}


def table_metadata(table: Table, installation: Installation) -> dict[str, Any]:
    """What is true of the whole table after a materialization."""
    snapshot = installation.lakehouse.load(table.name).current_snapshot()
    summary = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
    return {
        "dagster/row_count": int(summary.get("total-records", 0)),
        "dagster/column_schema": column_schema(table),
        "dagster/column_lineage": column_lineage(table),
    }
