"""SQL over versions of tables with DuckDB: `t`, `t AT (VERSION => 'tag')`, `t AT (TIMESTAMP => '2026-11-21')`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qpipe_resources.lakehouse_versions import Version

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from qpipe_resources.table_version import TableVersion

Node = dict[str, Any]
"""A node of a query as DuckDB serializes it."""

OpenVersion = Callable[[str, Version], "TableVersion"]


@dataclass(frozen=True)
class TableSpace:
    """Where and under which names the tables are.

    Attributes:
        catalog: their catalog.
        namespace: their namespace.
        names: of the tables that a query may name.
        finite: of those whose doubles are never NaN, whatever their manifests say or do not say.
    """

    catalog: str
    namespace: str
    names: Collection[str]
    finite: Collection[str] = ()


def run(query: str, space: TableSpace, open_version: OpenVersion, as_of: Version = None) -> pa.Table:
    """Run one query; a table is read as of `as_of` where the query says no version of its own.

    Count, minimum and maximum are answered from manifests where these know (metadata_answers.py). For the rest columns
    and filters are pushed down, and files that the manifests rule out are not opened.

    Raises:
        duckdb.Error: the query cannot be run.
        UnknownVersionError: a table has no such version.
    """
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        place = f"{space.catalog}.{space.namespace}"
        connection.execute(f"attach ':memory:' as {space.catalog}; create schema {place}; use {place}")
        tree = _parsed(connection, query)
        if tree is None:
            # DESCRIBE, EXPLAIN, COPY ...: DuckDB does not tell which tables they name.
            mentioned = [name for name in space.names if re.search(rf"\b{name}\b", query, re.IGNORECASE)]
            views = {name: open_version(name, as_of) for name in mentioned}
        else:
            references = list(_references(tree, space))
            views = _views(connection, references, open_version, as_of)
            if any("@" in view for view in views):
                query = _text(connection, tree)
            if len(references) == 1:
                answer = _from_manifests(connection, query, tree, references[0], views, space)
                if answer is not None:
                    return answer
        # Bounds are turned into expressions only for columns that the query can filter by: it names them.
        named = {word.lower() for word in re.findall(r"\w+", query)}
        for view, version in views.items():
            bounded = [field.name for field in version.schema.fields if field.name.lower() in named]
            _create_view(connection, view, version.dataset(bounded, finite=version.name in space.finite))
        return connection.sql(query).to_arrow_table()


def _views(
    connection: DuckDBPyConnection, references: list[Node], open_version: OpenVersion, as_of: Version
) -> dict[str, TableVersion]:
    """The versions that a query names, by the names of views that its references are made to mean."""
    views: dict[str, TableVersion] = {}
    for reference in references:
        name = reference["table_name"].lower()
        at = _version_in(connection, reference["at_clause"])
        reference["at_clause"] = None
        view = name if at is None else f"{name}@{at}"
        if view not in views:
            views[view] = open_version(name, as_of if at is None else at)
        if at is not None:
            rename(reference, view)
    return views


def _from_manifests(
    connection: DuckDBPyConnection,
    query: str,
    tree: Node,
    reference: Node,
    views: dict[str, TableVersion],
    space: TableSpace,
) -> pa.Table | None:
    from qpipe_resources.metadata_answers import rewritten

    [(view, version)] = views.items()
    facts = rewritten(tree, reference, version, version.name in space.finite, _parser(connection))
    if facts is None:
        return None
    # What the query itself would call its columns, which DuckDB tells without rows.
    _create_view(connection, view, version.arrow_schema.empty_table())
    columns = connection.sql(query).columns
    connection.register(facts.view, facts.rows)
    return connection.sql(_text(connection, tree)).to_arrow_table().rename_columns(columns)


def rename(reference: Node, view: str) -> None:
    """Let a reference mean another table or view under the name by which the query calls it."""
    reference["alias"] = reference["alias"] or reference["table_name"]
    reference["table_name"] = view
    reference["schema_name"] = reference["catalog_name"] = ""
    if "qualified_name" in reference:
        reference["qualified_name"] = {"path": [view]}


def nodes(tree: Any) -> Iterator[Node]:
    """All nodes of a serialized query, outer ones first."""
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from nodes(part)


def _create_view(connection: DuckDBPyConnection, view: str, rows: Any) -> None:
    connection.register(f"_{view}", rows)
    connection.execute(f'create view "{view}" as select * from "_{view}"')


def _parsed(connection: DuckDBPyConnection, query: str) -> Node | None:
    """The query's tree; None where DuckDB serializes none: no SELECT, or an error that running it will tell."""
    [[text]] = connection.execute("select json_serialize_sql(?)", [query]).fetchall()
    tree: Node = json.loads(text)
    return None if tree["error"] else tree


def _text(connection: DuckDBPyConnection, tree: Node) -> str:
    [[text]] = connection.execute("select json_deserialize_sql(?)", [json.dumps(tree)]).fetchall()
    return str(text)


def _parser(connection: DuckDBPyConnection) -> Callable[[str], Node]:
    def parse(expression: str) -> Node:
        tree = _parsed(connection, f"select {expression}")
        assert tree is not None
        node: Node = tree["statements"][0]["node"]["select_list"][0]
        return node

    return parse


def _references(tree: Node, space: TableSpace) -> Iterator[Node]:
    names = {name.lower() for name in space.names}
    for node in nodes(tree):
        if node.get("type") == "BASE_TABLE" and node["table_name"].lower() in names:
            if node["schema_name"] in ("", space.namespace) and node["catalog_name"] in ("", space.catalog):
                yield node


def _version_in(connection: DuckDBPyConnection, at: Node | None) -> Version:
    """What AT (VERSION => ...) or AT (TIMESTAMP => ...) says; it may be an expression, as `now() - interval 1 day`."""
    if at is None:
        return None
    tree = _parsed(connection, "select 1")
    assert tree is not None
    tree["statements"][0]["node"]["select_list"] = [at["expr"]]
    [[version]] = connection.execute(_text(connection, tree)).fetchall()
    return version
