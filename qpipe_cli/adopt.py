"""`qpipe adopt`: take over a warehouse that the field's earlier Spark scripts have written."""

from __future__ import annotations

import dataclasses
import logging
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from qpipe_cli.data import FormatOption
from qpipe_cli.logs import log_to_standard_error
from qpipe_cli.output import Format, print_rows, refuse

if TYPE_CHECKING:
    from qpipe_assets.adoption.adoption import Adoption

_SHOWN = 20
_log = logging.getLogger(__name__)


def adopt(
    warehouse: Annotated[
        str, typer.Argument(help="Folder that holds quantum_features/, or s3://bucket/prefix on the configured store.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, tell what is there.")] = False,
    rewrite: Annotated[
        bool,
        typer.Option("--rewrite", help="Take the runs in anew, with ids that do not collide and every column filled."),
    ] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Take over a Hadoop-catalog warehouse: its tables where they lie, or with --rewrite its runs into ours."""
    from qpipe_assets.adoption.adoption import Adoption
    from qpipe_assets.tables.installation import open_installation
    from qpipe_resources.hadoop_warehouse import HadoopWarehouse, NoWarehouseError
    from qpipe_resources.registration import RegistrationRefusedError
    from qpipe_resources.settings import load_settings

    log_to_standard_error("INFO")
    try:
        found = HadoopWarehouse.at(warehouse, load_settings())
        adoption = Adoption(open_installation(), found, _log.info)
        if dry_run:
            _show(adoption, form)
            return
        outcome = adoption.rewrite() if rewrite else adoption.register()
    except NoWarehouseError as error:
        refuse(str(error))
    except RegistrationRefusedError as error:
        refuse(f"{error}; nothing was changed: `qpipe adopt {warehouse} --rewrite` takes its runs into our tables")
    row = {
        "warehouse": found.location,
        "registered_tables": len(outcome.registered),
        "known_runs": outcome.known,
        "adopted_runs": outcome.adopted,
        "refused_runs": len(outcome.refused),
    }
    print_rows([row], form)
    beside = "runs cannot be recognised: their raw objects would be ingested beside the rows that are registered"
    _tell(outcome.refused, "runs cannot be taken; ingest their raw objects" if rewrite else beside)
    if rewrite and outcome.refused:
        raise typer.Exit(1)


def _show(adoption: Adoption, form: Format) -> None:
    rows = [dataclasses.asdict(table) for table in adoption.look()]
    if form is not Format.JSON:
        # There can be dozens of names; what speaks against the tables is told below them.
        rows = [{name: len(v) if isinstance(v, tuple) else v for name, v in row.items()} for row in rows]
    print_rows(rows, form, title="what is there")
    runs = adoption.runs
    print(f"{len(runs.usable)} runs, {runs.repeated} of them written again under another key", file=sys.stderr)
    _tell([f"{key}: {reason}" for key, reason in runs.unusable.items()], "runs cannot be recognised")
    _tell(adoption.obstacles(), "reasons against registering the tables in place; --rewrite remains")


def _tell(lines: list[str] | tuple[str, ...], what: str) -> None:
    """The first lines, under what all of them are."""
    if lines:
        print(f"{len(lines)} {what}:", file=sys.stderr)
    for line in lines[:_SHOWN]:
        print(f"  {line!r}", file=sys.stderr)
