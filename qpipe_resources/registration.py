"""Tables of another catalog become ours where they lie: only metadata is written, and one transaction names it.

A table is first brought into our form (columns, properties) in a catalog that exists in memory alone: this writes
metadata files beside the table's own, of which nobody knows. Then our catalog's entry of that name is replaced.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpipe_resources.commits import Commit, tag_new_snapshots, tag_times
from qpipe_resources.lakehouse import TABLE_PROPERTIES
from qpipe_resources.lakehouse_reads import CATALOG
from qpipe_resources.schema_evolution import evolve

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import Table as IcebergTable
    from sqlalchemy import Connection

    from qpipe_resources.lakehouse import Lakehouse
    from qpipe_resources.table_declaration import TableDeclaration


_REGISTERED = "qpipe.registered-snapshot"
"""Property of a table: its newest snapshot when it became ours."""


class RegistrationRefusedError(ValueError):
    """Tables cannot become ours in place; nothing was changed."""


@dataclass(frozen=True)
class Fit:
    """What separates a table from its declaration.

    Attributes:
        added: columns that it lacks.
        hidden: columns that are not declared: they leave the schema, their values stay in the data files.
        conflicts: what no metadata can mend, one sentence each.
    """

    added: tuple[str, ...]
    hidden: tuple[str, ...]
    conflicts: tuple[str, ...]


def fit(table: IcebergTable, declared: TableDeclaration) -> Fit:
    """Compare a table with its declaration."""
    found = {field.name: str(field.field_type) for field in table.schema().fields}
    wanted = {field.name: str(field.field_type) for field in declared.iceberg_schema().fields}
    conflicts = [
        f"{declared.name}.{name} is {kind}, expected {wanted[name]}"
        for name, kind in found.items()
        if name in wanted and wanted[name] != kind
    ]
    partition = [field.name for field in table.spec().fields]
    expected = [field.name for field in declared.partition_spec().fields]
    if partition != expected:
        conflicts.append(f"{declared.name} is partitioned by {partition}, expected {expected}")
    added = tuple(name for name in wanted if name not in found)
    hidden = tuple(name for name in found if name not in wanted)
    return Fit(added, hidden, tuple(conflicts))


def prepare(
    lakehouse: Lakehouse, found: Mapping[str, IcebergTable], declared: Mapping[str, TableDeclaration]
) -> dict[str, str]:
    """Write metadata of the tables in our form; returns its location for each name. Nothing refers to it yet."""
    from pyiceberg.catalog.sql import SqlCatalog

    scratch = SqlCatalog(CATALOG, **{**lakehouse.catalog.properties, "uri": "sqlite:///:memory:"})
    scratch.create_namespace(lakehouse.namespace)
    return {name: _prepared(scratch, lakehouse.namespace, table, declared[name]) for name, table in found.items()}


def _prepared(scratch: SqlCatalog, namespace: str, original: IcebergTable, declared: TableDeclaration) -> str:
    identifier = f"{namespace}.{declared.name}"
    table = scratch.register_table(identifier, original.metadata_location)
    hidden = fit(table, declared).hidden
    if hidden:
        with table.update_schema() as update:
            for name in hidden:
                update.delete_column(name)
    evolve(table, declared)
    with table.transaction() as transaction:
        transaction.set_properties({**TABLE_PROPERTIES, "comment": declared.comment, _REGISTERED: _newest(original)})
    return table.metadata_location


def was_registered(table: IcebergTable) -> bool:
    """Whether a table has become ours where it lay."""
    return _REGISTERED in table.properties


def holds(ours: IcebergTable, theirs: IcebergTable) -> bool:
    """Whether nobody wrote to a table in its old catalog since it became ours."""
    return ours.properties.get(_REGISTERED) == _newest(theirs)


def _newest(table: IcebergTable) -> str:
    snapshot = table.current_snapshot()
    return str(snapshot.snapshot_id) if snapshot else "none"


def withdraw(lakehouse: Lakehouse, name: str, rows: BooleanExpression) -> None:
    """Delete rows of a table in one tagged commit; none are left to delete when it is done again.

    Raises:
        LakehouseBusyError: other writers kept winning.
    """
    tag = f"v_rebuild_{uuid.uuid4().hex}"

    def write(table: IcebergTable) -> Commit | None:
        if not table.scan(row_filter=rows).count():
            return None
        with table.transaction() as transaction:
            transaction.delete(rows)
            snapshot_id = tag_new_snapshots(transaction, table, tag)
        return Commit(name, tag, snapshot_id, True, tag_times(table))

    lakehouse.commit_once(name, (tag,), lambda: True, write)


def replace_entries(
    connection: Connection, lakehouse: Lakehouse, before: Mapping[str, str], after: Mapping[str, str]
) -> None:
    """Let our catalog's entries name other metadata, inside the caller's transaction.

    Args:
        connection: of the catalog's database.
        lakehouse: of the entries.
        before: metadata that each table's entry must still name; by table.
        after: metadata that it shall name.

    Raises:
        RegistrationRefusedError: an entry names other metadata by now.
    """
    import sqlalchemy as sa
    from pyiceberg.catalog.sql import IcebergTables

    for name, location in after.items():
        mine = (IcebergTables.catalog_name == CATALOG) & (IcebergTables.table_namespace == lakehouse.namespace)
        mine &= IcebergTables.table_name == name
        # The second choice: this transaction was done, and its answer lost.
        unchanged = IcebergTables.metadata_location.in_([before[name], location])
        change = sa.update(IcebergTables).where(mine & unchanged)
        if connection.execute(change.values(metadata_location=location, previous_metadata_location=None)).rowcount != 1:
            raise RegistrationRefusedError(f"table {name} was written meanwhile, it is not empty any more")
