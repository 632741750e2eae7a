"""Answers from manifests alone: COUNT, MIN and MAX without opening a data file, where they are exact.

A query that looks at rows only through count(*), count(x), min(x), max(x), and otherwise names only columns that each
data file holds one value of (partition columns above all), is run over one row per data file instead. Filters and
groups on such columns mean the same there. Everything else, and every doubt, leaves the query to the data files:
rows deleted beside the files, bounds of strings (they are cut off), a manifest without counts, a NaN that may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qpipe_resources.lakehouse_sql import Node, nodes, rename
from qpipe_resources.table_version import TableVersion, bound, may_be_nan, names_mean_fields

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.manifest import DataFile
    from pyiceberg.types import NestedField

_PLAIN = {"CONSTANT", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "OPERATOR", "BETWEEN", "CAST"}
"""Classes of expressions that look at the row at hand alone."""

_AGGREGATES = {
    "count_star": 'cast(coalesce(sum("rows"), 0) as bigint)',
    "count": 'cast(coalesce(sum("rows {column}"), 0) as bigint)',
    "min": 'min("min {column}")',
    "max": 'max("max {column}")',
}
"""What an aggregate over rows is over files."""


class _NotKnownError(Exception):
    """The manifests do not know the answer."""


@dataclass(frozen=True)
class Facts:
    """What the manifests know of the files, one row each, and the name under which the rewritten query reads it."""

    view: str
    rows: pa.Table


def rewritten(
    tree: Node, reference: Node, version: TableVersion, finite: bool, parse: Callable[[str], Node]
) -> Facts | None:
    """Rewrite a query to one over facts about data files, in place; None and untouched where that is not exact.

    Args:
        tree: the query.
        reference: the one place in it where a table is named.
        version: that table.
        finite: whether its doubles are never NaN even where no manifest says so.
        parse: the tree of an SQL expression.
    """
    node = tree["statements"][0]["node"]
    if len(tree["statements"]) != 1 or not _is_aggregation_of(node, reference):
        return None
    try:
        found = _Aggregation(node, reference, version)
        facts = _facts(version, found, finite)
    except _NotKnownError:
        return None
    for place, name, column in found.aggregates:
        alias = place["alias"]
        place.clear()
        place.update(parse(_AGGREGATES[name].format(column=column)), alias=alias)
    view = f"files of {version.name}"
    rename(reference, view)
    return Facts(view, facts)


def _is_aggregation_of(node: Node, reference: Node) -> bool:
    if node["type"] != "SELECT_NODE" or node["from_table"] is not reference:
        return False
    unusual = (node["qualify"], node["sample"], reference["sample"], reference["column_name_alias"])
    if any(unusual) or node["cte_map"]["map"]:
        return False
    aggregates = any(part.get("function_name") in _AGGREGATES for part in nodes(node["select_list"]))
    return aggregates or bool(node["group_expressions"])


class _Aggregation:
    """What a query asks of the rows.

    Attributes:
        aggregates: where, which, of which column (empty for count(*)).
        constants: columns that are named outside of them.
    """

    def __init__(self, node: Node, reference: Node, version: TableVersion) -> None:
        self.aggregates: list[tuple[Node, str, str]] = []
        self.constants: set[str] = set()
        self._columns = {field.name.lower(): field.name for field in version.schema.fields}
        self._table = (reference["alias"] or reference["table_name"]).lower()
        self._aliases = {part["alias"].lower() for part in node["select_list"] if part.get("alias")}
        for key, part in node.items():
            if key != "from_table":
                self._collect(part)

    def _collect(self, part: Any) -> None:
        if isinstance(part, list):
            for item in part:
                self._collect(item)
        elif isinstance(part, dict):
            kind = part.get("class")
            if kind == "FUNCTION":
                self._collect_function(part)
            elif kind == "COLUMN_REF":
                self._collect_constant(part)
            elif kind is None or kind in _PLAIN:
                self._collect(list(part.values()))
            else:
                raise _NotKnownError

    def _collect_function(self, part: Node) -> None:
        name, arguments = part["function_name"], [item["expression"] for item in part["arguments"]]
        if part["is_operator"]:
            self._collect(arguments)
            return
        if name not in _AGGREGATES or part["distinct"] or part["filter"] or part["order_bys"]["orders"]:
            raise _NotKnownError
        if name == "count_star":
            self.aggregates.append((part, name, ""))
            return
        if len(arguments) != 1 or arguments[0]["class"] != "COLUMN_REF":
            raise _NotKnownError
        self.aggregates.append((part, name, self._column(arguments[0])))

    def _collect_constant(self, part: Node) -> None:
        names = part["column_names"]
        if len(names) == 1 and names[0].lower() in self._aliases:
            # What an alias stands for was looked at where it is defined, but a column may have its name.
            if names[0].lower() in self._columns:
                raise _NotKnownError
            return
        self.constants.add(self._column(part))

    def _column(self, part: Node) -> str:
        *table, name = (text.lower() for text in part["column_names"])
        if table not in ([], [self._table]) or name not in self._columns:
            raise _NotKnownError
        return self._columns[name]


def _facts(version: TableVersion, asked: _Aggregation, finite: bool) -> pa.Table:
    """One row per data file: the columns that it holds one value of, and counts and bounds of those aggregated."""
    import pyarrow as pa

    if version.deletes_rows or not names_mean_fields(version.table):
        raise _NotKnownError
    fields = {field.name: field for field in version.schema.fields}
    files = [_FileFacts(file, version.identity_partition(file), finite) for file in version.files if file.record_count]
    columns: dict[str, pa.Array] = {"rows": pa.array([file.rows for file in files], pa.int64())}
    for name in asked.constants:
        columns[name] = _array([file.constant(fields[name]) for file in files], version, name)
    for _, aggregate, name in asked.aggregates:
        if aggregate == "count":
            columns[f"rows {name}"] = pa.array([file.values(fields[name]) for file in files], pa.int64())
        elif aggregate == "min":
            columns[f"min {name}"] = _array([file.minimum(fields[name]) for file in files], version, name)
        elif aggregate == "max":
            columns[f"max {name}"] = _array([file.maximum(fields[name]) for file in files], version, name)
    return pa.table(columns)


def _array(values: list[Any], version: TableVersion, name: str) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, version.arrow_schema.field(name).type)


@dataclass(frozen=True)
class _FileFacts:
    """What a manifest knows for certain of one data file; each method raises _NotKnownError where it does not."""

    file: DataFile
    partition: dict[int, Any]
    finite: bool

    @property
    def rows(self) -> int:
        return self.file.record_count

    def values(self, field: NestedField) -> int:
        """Rows that have a value."""
        if field.field_id in self.partition:
            return 0 if self.partition[field.field_id] is None else self.rows
        nulls = (self.file.null_value_counts or {}).get(field.field_id)
        if nulls is None or not field.field_type.is_primitive:
            raise _NotKnownError
        return self.rows - nulls

    def constant(self, field: NestedField) -> Any:
        """The value that all rows have."""
        if field.field_id in self.partition:
            return self.partition[field.field_id]
        values = self.values(field)
        lower, upper = bound(self.file.lower_bounds, field), bound(self.file.upper_bounds, field)
        if values == 0:
            return None
        # Equal bounds are exact, also where they were cut off: one is below all values, the other above. But zero
        # has two signs.
        if values < self.rows or lower is None or lower != upper or isinstance(lower, float):
            raise _NotKnownError
        return lower

    def minimum(self, field: NestedField) -> Any:
        """The least value; None where no row has one."""
        if field.field_id in self.partition or isinstance(bound(self.file.lower_bounds, field), str):
            return self.constant(field)
        return self._exact(self.file.lower_bounds, field)

    def maximum(self, field: NestedField) -> Any:
        """The greatest value, NaN above all numbers; None where no row has a value."""
        if field.field_id in self.partition or isinstance(bound(self.file.upper_bounds, field), str):
            return self.constant(field)
        # Bounds leave NaN out.
        if not self.finite and may_be_nan(self.file, field):
            raise _NotKnownError
        return self._exact(self.file.upper_bounds, field)

    def _exact(self, bounds: dict[int, bytes] | None, field: NestedField) -> Any:
        if self.values(field) == 0:
            return None
        exact = bound(bounds, field)
        if exact is None or isinstance(exact, bytes) or (isinstance(exact, float) and math.isnan(exact)):
            raise _NotKnownError
        # Adding zero turns the -0.0 that writers put for zero into 0.
        return exact + 0.0 if isinstance(exact, float) else exact
