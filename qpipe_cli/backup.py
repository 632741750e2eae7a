"""`qpipe backup` and `qpipe restore`: what cannot be computed again, in a folder and back (docs/backup.md)."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qpipe_cli.data import FormatOption
from qpipe_cli.logs import log_to_standard_error
from qpipe_cli.output import Format, print_rows, refuse

if TYPE_CHECKING:
    from qpipe_assets.backup.part import Part

_SHOWN = 20
_log = logging.getLogger(__name__)


def backup(
    folder: Annotated[Path, typer.Argument(help="Folder of the backup, on another disk; again: what is new.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the copies that are there; what is damaged is copied again.")
    ] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Copy catalog, ledger, outbox, raw objects and Dagster's history into a folder, while everything works on."""
    from qpipe_assets.backup.backup import take_backup
    from qpipe_resources.opening import open_store
    from qpipe_resources.settings import load_settings

    log_to_standard_error("INFO")
    settings = load_settings()
    try:
        parts = take_backup(settings, open_store(settings), folder, _log.info, verify=verify)
    except ValueError as error:
        refuse(str(error))
    _show(parts, form, f"in {folder}")


def restore(
    folder: Annotated[Path, typer.Argument(help="Folder that `qpipe backup` filled.")],
    catalog: Annotated[
        bool,
        typer.Option("--catalog", help="Catalog and ledger too, where the tables' files have survived."),
    ] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Put back what is missing of raw objects and outbox; overwrites nothing. Stop everything else first."""
    from qpipe_assets.backup.manifest import BackupDamagedError
    from qpipe_assets.backup.restore import OtherWarehouseError, restore_objects, restore_tables
    from qpipe_resources.opening import open_store
    from qpipe_resources.settings import load_settings

    log_to_standard_error("INFO")
    settings = load_settings()
    try:
        for molecule in restore_tables(settings, folder, _log.info) if catalog else ():
            print(f"{molecule}: a batch was under way; its rows are made anew by the next ingest", file=sys.stderr)
        parts = restore_objects(settings, open_store(settings), folder, _log.info)
    except (BackupDamagedError, OtherWarehouseError) as error:
        refuse(str(error))
    _show(parts, form, "put back where it was missing")
    print("the next ingest (the daemon's sensor, or quantum_feature_processing) takes what is new", file=sys.stderr)


def _show(parts: list[Part], form: Format, title: str) -> None:
    rows = [{"part": one.part, "items": one.items, "new": one.new, "bytes": one.bytes} for one in parts]
    print_rows(rows, form, title=title)
    left_out = [reason for part in parts for reason in part.left_out]
    if left_out:
        print(f"{len(left_out)} objects were left out:", file=sys.stderr)
    for reason in left_out[:_SHOWN]:
        print(f"  {reason}", file=sys.stderr)
