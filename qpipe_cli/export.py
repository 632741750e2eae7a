"""`qpipe export`: a consistent snapshot of tables into a folder or a bucket, readable there without qpipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qpipe_assets.exports.progress import each_tenth
from qpipe_assets.exports.request import ExportRefusedError, ExportRequest, Format
from qpipe_assets.exports.splits import SplitRule, SplitsRefusedError, parse_rule
from qpipe_assets.exports.target import DATASET
from qpipe_assets.tables import schemas
from qpipe_cli.output import Format as Form
from qpipe_cli.output import print_rows, refuse
from qpipe_resources.export_settings import ExportSettingsError, load_export_settings

if TYPE_CHECKING:
    from qpipe_assets.exports.export import Outcome
    from qpipe_assets.exports.progress import Progress
    from qpipe_assets.exports.target import ExportTarget
    from qpipe_assets.exports.verification import Verification


def export(
    target: Annotated[str, typer.Argument(help="Folder, or s3://bucket/prefix; QPIPE_EXPORT_TARGET if none.")] = "",
    tables: Annotated[str, typer.Option("--tables", help="Names joined by commas, or `all`.")] = ",".join(
        schemas.ML_NAMES
    ),
    data_format: Annotated[
        Format,
        typer.Option("--format", help="Of the data files; only parquet is incremental and has Iceberg metadata."),
    ] = Format.PARQUET,
    version: Annotated[
        str | None,
        typer.Option("--version", help="The tables as of a tag (or batch) or an ISO 8601 time; now if none."),
    ] = None,
    splits: Annotated[
        str | None, typer.Option("--splits", help="By molecule: train=0.8,validation=0.1,test=0.1 (shares sum to 1).")
    ] = None,
    split_molecules: Annotated[
        list[str] | None, typer.Option("--split-molecules", help="Put these there: test=H2,LiH. May be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the splits.")] = 0,
    dataset: Annotated[str, typer.Option("--dataset", help="Folder below the target.")] = DATASET,
    license_: Annotated[
        str | None, typer.Option("--license", help="Licence that is stated; QPIPE_EXPORT_LICENSE if none.")
    ] = None,
    base_url: Annotated[
        str, typer.Option("--base-url", help="Where the target will be read: Iceberg's paths are absolute.")
    ] = "",
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, help="Remove all versions but so many; none is removed without it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing, tell what would be written.")] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Export nothing: compare every file of the latest version with its manifest."),
    ] = False,
    form: Annotated[Form, typer.Option("--report", help="Form of the printed row.")] = Form.TABLE,
) -> None:
    """Export tables, consistent with each other, as Parquet with Iceberg metadata, as CSV or as HDF5."""
    from qpipe_assets.exports.export import Export
    from qpipe_assets.exports.target import open_target
    from qpipe_assets.exports.verification import verify as verified
    from qpipe_assets.tables.installation import open_installation
    from qpipe_resources.settings import load_settings

    try:
        settings, configured = load_settings(), load_export_settings()
        place = open_target(target or configured.target, dataset, settings, configured)
        if verify:
            with _bar("bytes") as progress:
                found = verified(place, configured.checkers, progress=progress)
            _tell_verified(place, found, form)
            return
        request = ExportRequest(
            tables=tuple(schemas.names(schemas.ALL)) if tables == "all" else _names(tables),
            format=data_format,
            version=version,
            splits=_rule(splits, split_molecules or [], seed),
            license=configured.license if license_ is None else license_,
            base_url=base_url,
        )
        with _bar("rows") as progress:
            exporter = Export(open_installation(settings), place, configured, progress)
            outcome = exporter.run(request, dry_run=dry_run, keep=keep)
    except (ExportRefusedError, SplitsRefusedError, ExportSettingsError) as error:
        refuse(str(error))
    _tell(outcome, form, dry_run)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _rule(splits: str | None, named: list[str], seed: int) -> SplitRule | None:
    if splits is None and named:
        raise SplitsRefusedError(f"--split-molecules {named[0]!r} without --splits: name the splits and their shares")
    return None if splits is None else parse_rule(splits, named, seed)


@contextmanager
def _bar(unit: str) -> Iterator[Progress]:
    """A progress bar on standard error, a line for each tenth where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if not sys.stderr.isatty():
        yield each_tenth(lambda done, whole: print(f"{done} of {whole} {unit}", file=sys.stderr))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("looking at both ends", total=None)

        def show(done: int, whole: int) -> None:
            bar.update(task, description="reading" if unit == "bytes" else "writing", completed=done, total=whole)

        yield show


def _tell(outcome: Outcome, form: Form, dry_run: bool) -> None:
    row: dict[str, Any] = {
        "version": outcome.version,
        "at": outcome.url,
        "new": outcome.new,
        "batches": outcome.batches,
        "batches_left_out": outcome.batches_left_out,
        "waiting": outcome.waiting if form is Form.JSON else ", ".join(outcome.waiting),
        "rows": outcome.rows if form is Form.JSON else ", ".join(f"{name} {n}" for name, n in outcome.rows.items()),
        "rows_written": outcome.rows_written,
        "files_written": outcome.files_written,
        "bytes_written": outcome.bytes_written,
        "files_kept": outcome.files_kept,
        "removed_versions": len(outcome.removed.versions),
        "removed_files": outcome.removed.files,
    }
    if outcome.splits:
        row["splits"] = (
            outcome.splits if form is Form.JSON else ", ".join(f"{s} {n}" for s, n in outcome.splits.items())
        )
    if form is Form.TABLE:
        title = "what would be written" if dry_run else "what was written" if outcome.new else "nothing new"
        print_rows([{"what": name, "value": value} for name, value in row.items()], form, title=title)
    else:
        print_rows([row], form)
    if outcome.batches_left_out:
        print(
            f"{outcome.batches_left_out} batches are left out: only some of the tables have them so far; the next "
            "export takes them",
            file=sys.stderr,
        )
    if outcome.waiting:
        print(
            f"rows of {', '.join(outcome.waiting)} may be missing: an ingest, a rebuild or a table is not finished; a "
            "later export takes them",
            file=sys.stderr,
        )


def _tell_verified(target: ExportTarget, found: Verification, form: Form) -> None:
    row = {
        "version": found.version,
        "at": target.url,
        "files": found.files,
        "bytes": found.bytes,
        "damaged": len(found.damaged),
    }
    print_rows([row], form)
    for path, wrong in found.damaged.items():
        print(f"damaged: {target.url}/{path} {wrong}", file=sys.stderr)
    if found.damaged:
        print("remove the damaged files and export again: what is missing is written anew", file=sys.stderr)
        raise typer.Exit(1)
