"""Lines of text of a measured width, for pages that have no layout engine."""

from __future__ import annotations

import functools

POINTS_PER_INCH = 72.0
_STEP_INCHES = 0.05
_ROUNDING = 1e-9


@functools.lru_cache(maxsize=50_000)
def width_of(text: str, size: float, weight: str = "normal") -> float:
    """Width of a line (inches) at a font size (points)."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size, weight=weight), False)
    return width / POINTS_PER_INCH


def wrapped(text: str, size: float, width: float, weight: str = "normal") -> list[str]:
    """The text in lines of at most `width` inches, broken between words, and within words that are longer."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if width_of(longer, size, weight) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        *full, line = _pieces(word, size, width, weight)
        lines += full
    return [*lines, line] if line or not lines else lines


def _pieces(word: str, size: float, width: float, weight: str) -> list[str]:
    pieces, piece = [], ""
    for character in word:
        if piece and width_of(piece + character, size, weight) > width:
            pieces.append(piece)
            piece = ""
        piece += character
    return [*pieces, piece]


def column_widths(rows: list[tuple[str, ...]], size: float, width: float, gap: float) -> list[float]:
    """Widths of a table's columns (inches) that fill at most `width`.

    As wide as their texts, else the widest column is narrowed, down to its longest word; where even the words have no
    room, all columns alike.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(width_of(cell, size, "bold") for cell in column) + gap for column in columns]
    split = [[word for cell in column for word in cell.split()] or [""] for column in columns]
    words = [max(width_of(word, size, "bold") for word in column) + gap for column in split]
    if sum(words) > width:
        return [word * width / sum(words) for word in words]
    while sum(widths) > width:
        slack = [current - word for current, word in zip(widths, words, strict=True)]
        widest = max((i for i in range(len(widths)) if slack[i] > 0), key=lambda i: widths[i])
        widths[widest] -= min(slack[widest], _STEP_INCHES, sum(widths) - width + _ROUNDING)
    return widths
