"""`qpipe diff`: what changed in a table between two versions."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from qpipe_cli.data import FormatOption
from qpipe_cli.output import Format, print_rows, refuse

_LIMIT = 1000


def diff(
    table: Annotated[str, typer.Argument(help="The table.")],
    before: Annotated[str, typer.Argument(help="A tag (or batch), a snapshot id, ISO 8601 time, or `now`.")],
    after: Annotated[str, typer.Argument(help="The same, for the version to compare with.")] = "now",
    rows: Annotated[bool, typer.Option("--rows", help="Print the differences one by one, instead of counts.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many of them.")] = _LIMIT,
    form: FormatOption = Format.TABLE,
) -> None:
    """Rows that were added, removed, changed or written again between two versions of a table."""
    from qpipe_assets.reading import open_lakehouse
    from qpipe_assets.tables import schemas

    if table not in schemas.names(schemas.ALL):
        refuse(f"there is no table {table!r}, expected one of {', '.join(schemas.names(schemas.ALL))}")
    found = open_lakehouse().diff(table, before, after)
    if rows:
        listed = found.rows(limit + 1).to_pylist()
        if len(listed) > limit:
            print(f"these are the first {limit} differences; --limit takes more", file=sys.stderr)
        print_rows(listed[:limit], form, title=f"{table}: {before} to {after}")
        return
    change = found.change()
    columns = ", ".join(f"{name} ({count})" for name, count in change.columns.items())
    summary = {
        "table": table,
        "before": before,
        "after": after,
        "added": change.added,
        "removed": change.removed,
        "changed": change.changed,
        "reprocessed": change.reprocessed,
        "changed_columns": columns or None if form is not Format.JSON else change.columns,
        "files_read": change.files_read,
    }
    print_rows([summary], form)
