"""How commands print rows: a table for people, JSON or CSV for programs; logs go to standard error."""

from __future__ import annotations

import csv
import datetime as dt
import enum
import json
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import typer

_UNLIMITED_WIDTH = 10_000


class Format(enum.StrEnum):
    """Form of printed rows."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def print_rows(rows: Sequence[dict[str, Any]], form: Format, *, title: str = "") -> None:
    """Print rows (all with the same keys) to standard output in the asked form; JSON and CSV print nothing else."""
    if form is Format.JSON:
        json.dump(rows, sys.stdout, default=_plain, indent=2)
        sys.stdout.write("\n")
    elif form is Format.CSV:
        if rows:
            writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows({key: _flat(value) for key, value in row.items()} for row in rows)
    else:
        _print_table(rows, title)


def _print_table(rows: Sequence[dict[str, Any]], title: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if not rows:
        print(f"{title}: no rows" if title else "no rows")
        return
    table = Table(title=title or None)
    for name in rows[0]:
        numeric = all(isinstance(row[name], int | float) or row[name] is None for row in rows)
        table.add_column(escape(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row.values()))
    console = Console()
    if not console.is_terminal:
        # Piped output is read by programs and logs: never cut a column to a guessed width.
        console = Console(width=_UNLIMITED_WIDTH)
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    # Adding zero turns a rounded -0.0 into 0.
    return f"{value + 0.0:.10g}" if isinstance(value, float) else str(value)


def _flat(value: Any) -> Any:
    return json.dumps(value, default=_plain) if isinstance(value, list | dict) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    if isinstance(value, Decimal):  # what a sum of whole numbers is
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def make_folder(path: Path, name: str) -> None:
    """Make a folder, where it is not there.

    Args:
        path: The folder.
        name: What the reader calls it: a flag, say.

    Raises:
        ValueError: there cannot be such a folder.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ValueError(f"{name} is {str(path)!r}, which is a file, expected a folder: name another") from None
    except OSError as error:
        why = error.strerror or str(error)
        raise ValueError(f"{name} is {str(path)!r}, a folder that cannot be made ({why}): name another") from error


def say_invalid(name: str, row: Mapping[str, Any]) -> None:
    """Say on standard error why a printed row is not valid, if it is not."""
    if row["valid"] is False:
        print(f"{name}: not valid: {row['invalid_reason']}", file=sys.stderr)


def refuse(message: str) -> NoReturn:
    """Say on standard error why nothing was done, and end with exit code 2."""
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(2)
