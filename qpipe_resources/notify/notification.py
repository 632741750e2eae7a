"""What is told of a run, as plain data, and how it reads: a subject, plain text, simple HTML, and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

Cell = str | int | float | None


@dataclass(frozen=True)
class Listing:
    """A small table with a title; all rows have the same columns."""

    title: str
    rows: Sequence[Mapping[str, Cell]]


@dataclass(frozen=True)
class Notification:
    """What became of one run.

    `kind` is success, failure or test; `lines` are sentences, `details` is text that keeps its line breaks.
    """

    kind: str
    subject: str
    lines: Sequence[str]
    listings: Sequence[Listing] = ()
    details: str = ""
    link: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What programs that read the JSON go by: job, run and molecules."""

    def text(self) -> str:
        """As plain text."""
        parts = ["\n".join(self.lines)]
        parts += [f"{listing.title}\n{_columns(listing.rows)}" for listing in self.listings]
        parts += [self.details] if self.details else []
        parts += [self.link] if self.link else []
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """As HTML without styles, scripts or anything that a reader would have to fetch."""
        parts = [f"<p>{escape(line)}</p>" for line in self.lines]
        for listing in self.listings:
            parts.append(f"<h3>{escape(listing.title)}</h3>\n{_html_table(listing.rows)}")
        parts += [f"<pre>{escape(self.details)}</pre>"] if self.details else []
        parts += [f'<p><a href="{escape(self.link)}">{escape(self.link)}</a></p>'] if self.link else []
        body = "\n".join(parts)
        return (
            f"<!DOCTYPE html>\n<html><head><title>{escape(self.subject)}</title></head><body>\n{body}\n</body></html>\n"
        )

    def json(self) -> dict[str, Any]:
        """As data; `text` is what chat programs show of it."""
        return {
            "text": f"{self.subject}\n{self.text()}",
            "kind": self.kind,
            "subject": self.subject,
            **self.facts,
            "link": self.link,
            "lines": list(self.lines),
            "listings": [asdict(listing) | {"rows": [dict(row) for row in listing.rows]} for listing in self.listings],
            "details": self.details,
        }


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:.8g}" if isinstance(cell, float) else str(cell)


def _columns(rows: Sequence[Mapping[str, Cell]]) -> str:
    if not rows:
        return "  none"
    names = list(rows[0])
    cells = [names, *([_shown(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join(_padded(line, widths) for line in cells)


def _padded(line: Sequence[str], widths: Sequence[int]) -> str:
    return "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _html_table(rows: Sequence[Mapping[str, Cell]]) -> str:
    if not rows:
        return "<p>none</p>"

    def line(tag: str, cells: Iterator[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    head = line("th", iter(rows[0]))
    return "<table>\n" + "\n".join([head, *(line("td", map(_shown, row.values())) for row in rows)]) + "\n</table>"
