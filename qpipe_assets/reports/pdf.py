"""A report as a PDF on A4: blocks flow down the pages, pictures are vector graphics."""

from __future__ import annotations

import io
from functools import singledispatchmethod
from typing import TYPE_CHECKING

from qpipe_assets.reports.document import Block, Document, Facts, Grade, Note, Picture, Section, Table, Verdict
from qpipe_assets.reports.drawing import BLUE, GREEN, GREY, INK, ORANGE, RED, style
from qpipe_assets.reports.text_layout import column_widths, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import PdfPages

PAGE = (8.27, 11.69)
_MARGIN = 0.7
_WIDTH = PAGE[0] - 2 * _MARGIN
_BOTTOM = PAGE[1] - 0.75
_TEXT = 8.5
_SMALL = 7.0
_LEADING = 0.0185
"""Distance of two lines (inches) for each point of their font size."""
_GAP = 0.1
_HEADING = 0.52
_FACT_GAP = 0.02
_FACT_LABEL = 2.0
_COLUMN_GAP = 0.12
_GRADES = {Grade.GOOD: GREEN, Grade.FAIR: ORANGE, Grade.BAD: RED, Grade.UNKNOWN: GREY}


def to_pdf(document: Document) -> bytes:
    """The pages; the same document gives the same bytes."""
    from matplotlib.backends.backend_pdf import PdfPages

    buffer = io.BytesIO()
    # No dates: when a report was drawn is no part of it.
    metadata = {"Title": document.title, "Creator": "qpipe", "CreationDate": None, "ModDate": None}
    with style(), PdfPages(buffer, metadata=metadata) as pages:
        writer = _Writer(document.title, pages)
        writer.title(document)
        for section in document.sections:
            writer.section(section)
        writer.finish()
    return buffer.getvalue()


class _Writer:
    """Puts blocks below each other within a column, and begins a new page where one does not fit."""

    def __init__(self, title: str, pages: PdfPages) -> None:
        self._title = title
        self._pages = pages
        self._number = 0
        self._left = _MARGIN
        self._width = _WIDTH
        self._y = _MARGIN
        self._new_page()

    def title(self, document: Document) -> None:
        """The report's head."""
        self._lines([document.title], 20, weight="bold")
        self._lines(wrapped(document.subtitle, _TEXT + 1, self._width), _TEXT + 1, colour=GREY)

    def section(self, section: Section) -> None:
        """One section; a heading is never left alone at the foot of a page."""
        self._room(_HEADING + self._kept_together(section))
        if self._y > _MARGIN:
            self._y += 0.22
        self._lines([section.title], 12, weight="bold")
        self._rule(self._y, INK, 0.6)
        self._y += _GAP
        if section.beside is None:
            for block in section.blocks:
                self._paint(block)
            return
        self._beside(section.beside, section)

    def finish(self) -> None:
        """Write the last page."""
        self._write_page()

    def _beside(self, picture: Picture, section: Section) -> None:
        top, width = self._y, min(picture.width, 0.42 * _WIDTH)
        self._width = width
        self._paint(picture)
        low, self._y = self._y, top
        self._left, self._width = _MARGIN + width + 0.25, _WIDTH - width - 0.25
        for block in section.blocks:
            self._paint(block)
        self._left, self._width, self._y = _MARGIN, _WIDTH, max(self._y, low)

    def _kept_together(self, section: Section) -> float:
        """Height of what must follow the section's heading on the same page (inches)."""
        if section.beside is not None:
            whole, self._width = self._width, 0.5 * _WIDTH
            height = max(self._height(section.beside), sum(self._height(block) for block in section.blocks))
            self._width = whole
            return height
        heights = [self._height(block) for block in section.blocks]
        pictured = any(isinstance(block, Picture) for block in section.blocks)
        return sum(heights) if pictured and _HEADING + sum(heights) <= _BOTTOM - _MARGIN else heights[0]

    def _new_page(self) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        # The canvas only measures, finely; the pages are written as vector graphics.
        self._canvas = FigureCanvasAgg(Figure(figsize=PAGE, facecolor="white", dpi=300))
        self._page = self._canvas.figure
        self._number += 1
        self._y = _MARGIN

    def _write_page(self) -> None:
        self._text(_MARGIN, PAGE[1] - 0.45, self._title, _SMALL, colour=GREY)
        self._text(PAGE[0] - _MARGIN, PAGE[1] - 0.45, str(self._number), _SMALL, colour=GREY, ha="right")
        self._pages.savefig(self._page)

    def _room(self, height: float) -> None:
        if self._y + min(height, _BOTTOM - _MARGIN) > _BOTTOM:
            self._write_page()
            self._new_page()

    @singledispatchmethod
    def _height(self, block: Block) -> float:
        """Height of a block that is kept together (inches); of a table that of its head and first rows."""
        raise TypeError(f"no form for {type(block).__name__}")

    @_height.register
    def _(self, block: Verdict) -> float:
        return len(wrapped(block.text, _TEXT, self._width - 0.3, "bold")) * _LEADING * _TEXT + 2.5 * _GAP

    @_height.register
    def _(self, block: Note) -> float:
        return len(wrapped(block.text, _SMALL + 0.5, self._width)) * _LEADING * (_SMALL + 0.5) + _GAP

    @_height.register
    def _(self, block: Facts) -> float:
        lines = sum(len(self._fact_lines(value)) for _, value in block.rows)
        return (lines + 2 * bool(block.title)) * _LEADING * _TEXT + _FACT_GAP * len(block.rows) + _GAP

    @_height.register
    def _(self, block: Table) -> float:
        return (2 * bool(block.title) + 1 + min(len(block.rows), 3)) * _LEADING * _TEXT + 2 * _GAP

    @_height.register
    def _(self, block: Picture) -> float:
        caption = len(wrapped(block.caption, _SMALL, self._width)) * _LEADING * _SMALL
        return min(1.0, self._width / block.width) * block.height + caption + 2 * _GAP

    @singledispatchmethod
    def _paint(self, block: Block) -> None:
        """Put a block at the cursor and move the cursor below it."""
        raise TypeError(f"no form for {type(block).__name__}")

    @_paint.register
    def _(self, block: Verdict) -> None:
        height = self._height(block)
        self._room(height)
        colour = _GRADES[block.grade]
        self._bar(self._y, height - _GAP, colour)
        self._y += 0.75 * _GAP
        lines = wrapped(block.text, _TEXT, self._width - 0.3, "bold")
        self._lines(lines, _TEXT, weight="bold", colour=colour, indent=0.15)
        self._y += 1.75 * _GAP

    @_paint.register
    def _(self, block: Note) -> None:
        self._room(self._height(block))
        self._lines(wrapped(block.text, _SMALL + 0.5, self._width), _SMALL + 0.5, colour=GREY)
        self._y += _GAP

    @_paint.register
    def _(self, block: Facts) -> None:
        self._room(self._height(block))
        self._heading(block.title)
        for name, value in block.rows:
            lines = self._fact_lines(value)
            self._room(len(lines) * _LEADING * _TEXT)
            self._text(self._left, self._y, name, _TEXT, colour=GREY)
            self._lines(lines, _TEXT, indent=self._label_width())
            self._y += _FACT_GAP
        self._y += _GAP

    @_paint.register
    def _(self, block: Table) -> None:
        self._room(self._height(block))
        self._heading(block.title)
        widths = column_widths([block.columns, *block.rows], _SMALL, self._width, _COLUMN_GAP)
        self._row(block, block.columns, widths, colour=GREY)
        for number, row in enumerate(block.rows):
            marked = number in block.marked
            self._row(block, row, widths, colour=BLUE if marked else INK, weight="bold" if marked else "normal")
        self._y += 1.5 * _GAP

    @_paint.register
    def _(self, block: Picture) -> None:
        self._room(self._height(block))
        scale = min(1.0, self._width / block.width)
        width, height = scale * block.width, scale * block.height
        left, bottom = self._left / PAGE[0], 1 - (self._y + height) / PAGE[1]
        axes = self._page.add_axes((left, bottom, width / PAGE[0], height / PAGE[1]))
        block.draw(axes)
        _fit(self._canvas, axes)
        self._y += height + _GAP / 2
        self._lines(wrapped(block.caption, _SMALL, self._width), _SMALL, colour=GREY)
        self._y += 1.5 * _GAP

    def _row(
        self, table: Table, row: tuple[str, ...], widths: list[float], *, colour: str, weight: str = "normal"
    ) -> None:
        cells = [wrapped(cell, _SMALL, w - _COLUMN_GAP, weight) for cell, w in zip(row, widths, strict=True)]
        height = max(len(lines) for lines in cells) * _LEADING * _SMALL
        self._room(height)
        place = self._left
        for column, (lines, width) in enumerate(zip(cells, widths, strict=True)):
            for number, line in enumerate(lines):
                y = self._y + number * _LEADING * _SMALL
                if column in table.numeric:
                    self._text(place + width - _COLUMN_GAP, y, line, _SMALL, colour=colour, weight=weight, ha="right")
                else:
                    self._text(place, y, line, _SMALL, colour=colour, weight=weight)
            place += width
        self._y += height + 0.02
        self._rule(self._y, GREY, 0.25)
        self._y += 0.045

    def _heading(self, title: str) -> None:
        if title:
            self._lines(wrapped(title, _TEXT, self._width, "bold"), _TEXT, weight="bold")
            self._y += 0.05

    def _fact_lines(self, value: str) -> list[str]:
        return wrapped(value, _TEXT, self._width - self._label_width())

    def _label_width(self) -> float:
        return min(_FACT_LABEL, 0.48 * self._width)

    def _lines(
        self, lines: list[str], size: float, *, weight: str = "normal", colour: str = INK, indent: float = 0.0
    ) -> None:
        for line in lines:
            self._text(self._left + indent, self._y, line, size, weight=weight, colour=colour)
            self._y += _LEADING * size

    def _text(
        self, x: float, y: float, text: str, size: float, *, colour: str = INK, weight: str = "normal", ha: str = "left"
    ) -> None:
        """A line whose top is `y` inches below the page's."""
        place = (x / PAGE[0], 1 - y / PAGE[1])
        self._page.text(*place, text, fontsize=size, color=colour, fontweight=weight, ha=ha, va="top")

    def _rule(self, y: float, colour: str, width: float) -> None:
        from matplotlib.lines import Line2D

        ends = [self._left / PAGE[0], (self._left + self._width) / PAGE[0]]
        self._page.add_artist(Line2D(ends, [1 - y / PAGE[1]] * 2, color=colour, linewidth=width))

    def _bar(self, y: float, height: float, colour: str) -> None:
        from matplotlib.patches import Rectangle

        corner = (self._left / PAGE[0], 1 - (y + height) / PAGE[1])
        self._page.add_artist(Rectangle(corner, 0.05 / PAGE[0], height / PAGE[1], facecolor=colour, linewidth=0))


def _fit(canvas: FigureCanvasAgg, axes: Axes) -> None:
    """Shrink axes until their labels too lie within the place that the axes were given."""
    if not axes.axison:
        return
    place = axes.get_position(original=True)
    for _ in range(2):
        box = axes.get_tightbbox(canvas.get_renderer())
        assert box is not None
        drawn = box.transformed(canvas.figure.transFigure.inverted())
        now = axes.get_position(original=True)
        x0, y0 = now.x0 + place.x0 - drawn.x0, now.y0 + place.y0 - drawn.y0
        x1, y1 = now.x1 + place.x1 - drawn.x1, now.y1 + place.y1 - drawn.y1
        axes.set_position((x0, y0, x1 - x0, y1 - y0))
