"""A report as one HTML page that needs nothing else: no network, no other file, readable on dark and light."""

from __future__ import annotations

import json
from functools import singledispatch
from html import escape
from importlib import resources

from qpipe_assets.reports.document import Block, Document, Facts, Note, Picture, Section, Table, Verdict
from qpipe_assets.reports.drawing import to_svg
from qpipe_assets.reports.molecule_figure import symbol_ink
from qpipe_assets.reports.molecule_geometry import Scene

# What a record says cannot load anything, whatever it says.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def to_html(document: Document) -> str:
    """The page."""
    sections = "\n".join(_section(section) for section in document.sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(document.title)}</title>
<style>
{_asset("report.css")}</style>
</head>
<body>
<header>
<h1>{escape(document.title)}</h1>
<p class="subtitle">{escape(document.subtitle)}</p>
</header>
<main>
{sections}
</main>
<script>
{_asset("molecule.js")}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _section(section: Section) -> str:
    blocks = "\n".join(_block(block) for block in section.blocks)
    if section.beside is not None:
        blocks = f'<div class="beside">\n{_block(section.beside)}\n<div>\n{blocks}\n</div>\n</div>'
    return f"<section>\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>"


@singledispatch
def _block(block: Block) -> str:
    raise TypeError(f"no form for {type(block).__name__}")


@_block.register
def _(block: Verdict) -> str:
    return f'<p class="verdict {block.grade.value}">{escape(block.text)}</p>'


@_block.register
def _(block: Facts) -> str:
    title = f"<h3>{escape(block.title)}</h3>\n" if block.title else ""
    rows = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in block.rows)
    return f"{title}<dl>\n{rows}\n</dl>"


@_block.register
def _(block: Table) -> str:
    head = "".join(f"<th{_numeric(block, i)}>{escape(name)}</th>" for i, name in enumerate(block.columns))
    rows = []
    for number, row in enumerate(block.rows):
        cells = "".join(f"<td{_numeric(block, i)}>{escape(cell)}</td>" for i, cell in enumerate(row))
        marked = ' class="marked"' if number in block.marked else ""
        rows.append(f"<tr{marked}>{cells}</tr>")
    body = "\n".join(rows)
    title = f"<h3>{escape(block.title)}</h3>\n" if block.title else ""
    return (
        f'{title}<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'
    )


@_block.register
def _(block: Picture) -> str:
    caption, scene = escape(block.caption), ""
    if block.scene is not None:
        scene = f' data-scene="{escape(_scene_json(block.scene))}"'
    svg = to_svg(block.draw, block.width, block.height)
    return f"<figure{scene}>\n{svg}\n<figcaption>{caption}</figcaption>\n</figure>"


@_block.register
def _(block: Note) -> str:
    return f'<p class="note">{escape(block.text)}</p>'


def _numeric(table: Table, column: int) -> str:
    return ' class="numeric"' if column in table.numeric else ""


def _scene_json(scene: Scene) -> str:
    balls = [
        {
            "at": [ball.x, ball.y, ball.z],
            "radius": ball.radius,
            "colour": ball.colour,
            "ink": symbol_ink(ball.colour),
            "symbol": ball.symbol,
        }
        for ball in scene.balls
    ]
    smallest = min(ball.radius for ball in scene.balls)
    return json.dumps(
        {
            "balls": balls,
            "bonds": scene.bonds,
            "reach": round(scene.reach, 4),
            "stick": scene.stick,
            "smallest": smallest,
        }
    )
