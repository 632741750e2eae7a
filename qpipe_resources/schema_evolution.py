"""Tables follow their declaration: a column that was added reaches them; what was dropped or retyped is refused.

Iceberg finds columns by id, so files of before hold null in a new column and are not rewritten. Processes of an older
qpipe that are at work go on: they load the table before each commit, and what they append is null there as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.types import NestedField

    from qpipe_resources.lakehouse import Lakehouse
    from qpipe_resources.table_declaration import TableDeclaration


class SchemaRefusedError(ValueError):
    """A table and its declaration contradict each other; nothing was changed."""


def agree(lakehouse: Lakehouse, tables: Iterable[TableDeclaration]) -> None:
    """Add the columns that existing tables lack; all tables are checked before one is changed.

    Raises:
        SchemaRefusedError: a declaration contradicts its table; nothing was changed.
        LakehouseBusyError: other writers kept winning.
    """
    loaded = [(declared, lakehouse.load(declared.name)) for declared in tables]
    refused = [sentence for declared, table in loaded for sentence in contradictions(table, declared)]
    if refused:
        raise SchemaRefusedError("\n".join(refused))
    for declared, table in loaded:
        if needs_evolution(table, declared):
            lakehouse.commit_once(declared.name, (), lambda: True, partial(evolve, declared=declared))


def contradictions(table: IcebergTable, declared: TableDeclaration) -> list[str]:
    """What no addition of columns can mend, one sentence each: table, column, found, expected, remedy."""
    found, wanted = table.schema(), declared.iceberg_schema()
    new = _missing(found, wanted)
    sentences = [_of_column(declared.name, field, wanted, new) for field in found.fields]
    sentences += [
        f"{declared.name}.{field.name}: the table lacks it, and it is declared as required; declare it optional, "
        "rows that were written before have no value"
        for field in new
        if field.required
    ]
    partition = [field.name for field in table.spec().fields]
    declared_partition = [field.name for field in declared.partition_spec().fields]
    if partition != declared_partition:
        sentences.append(
            f"{declared.name}: found partitioned by {', '.join(partition) or 'nothing'}, expected "
            f"{', '.join(declared_partition) or 'nothing'}; declare the partition that the table has"
        )
    return [sentence for sentence in sentences if sentence]


def _of_column(table: str, field: NestedField, wanted: Schema, new: list[NestedField]) -> str:
    declared = _find(wanted, field.name)
    if declared is None:
        renamed = f" (is it now {' or '.join(f.name for f in new)}? a column is not renamed)" if new else ""
        return (
            f"{table}.{field.name}: found as {field.field_type}, expected no such column{renamed}; declare it again, "
            "or use the newer qpipe that declares it"
        )
    if str(field.field_type) != str(declared.field_type):
        return (
            f"{table}.{field.name}: found as {field.field_type}, expected {declared.field_type}; declare it as "
            f"{field.field_type}, and what shall have another type as a new column"
        )
    return ""


def needs_evolution(table: IcebergTable, declared: TableDeclaration) -> bool:
    """Whether the table lacks a column, or documents one differently, or requires what is declared optional."""
    wanted = declared.iceberg_schema()
    if _missing(table.schema(), wanted):
        return True
    pairs = [(field, wanted.find_field(field.name)) for field in table.schema().fields]
    return any(_differs(field, target) for field, target in pairs)


def evolve(table: IcebergTable, declared: TableDeclaration) -> None:
    """Add what the table lacks, each column in its declared place, in one commit.

    Raises:
        CommitFailedException: another commit came first; load the table and try again.
    """
    found, wanted = table.schema(), declared.iceberg_schema()
    with table.update_schema() as update:
        before = ""
        for target in wanted.fields:
            field = _find(found, target.name)
            if field is None:
                update.add_column(target.name, target.field_type, doc=target.doc)
                if before:
                    update.move_after(target.name, before)
                else:
                    update.move_first(target.name)
            elif _differs(field, target):
                update.update_column(target.name, doc=target.doc)
                if field.required and not target.required:
                    update.make_column_optional(target.name)
            before = target.name


def _missing(found: Schema, wanted: Schema) -> list[NestedField]:
    return [field for field in wanted.fields if field.name not in found.column_names]


def _differs(field: NestedField, target: NestedField) -> bool:
    # A table that requires less than is declared, as those of other programs do, holds every row of ours.
    return field.doc != target.doc or (field.required and not target.required)


def _find(schema: Schema, name: str) -> NestedField | None:
    return next((field for field in schema.fields if field.name == name), None)
