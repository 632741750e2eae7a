"""`qpipe maintain`: the upkeep of the tables that the daemon does every night, by hand."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from qpipe_cli.output import Format, print_rows


def maintain(
    tables: Annotated[list[str] | None, typer.Argument(help="Names of tables; all when none is given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, tell what would be done.")] = False,
    form: Annotated[Format, typer.Option("--format", help="Form of the printed rows.")] = Format.TABLE,
) -> None:
    """Compact small files, expire old snapshots, remove orphan files; safe while others write."""
    from qpipe_assets.tables import schemas
    from qpipe_assets.tables.installation import open_installation

    if unknown := sorted(set(tables or ()) - set(schemas.names(schemas.ALL))):
        raise typer.BadParameter(f"no table {', '.join(unknown)}; there are {', '.join(schemas.names(schemas.ALL))}")
    upkeep = open_installation().maintenance().run(tables, dry_run=dry_run)
    title = "what would be done" if dry_run else "what was done"
    print_rows([dataclasses.asdict(table) for table in upkeep], form, title=title)
