"""Text on PDF pages: no character is lost, no line and no column is too wide."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from qpipe_assets.reports.text_layout import column_widths, width_of, wrapped

_TEXT = st.text(st.characters(codec="latin-1", exclude_categories=["Cc", "Zs"]) | st.just(" "), max_size=60)


@given(_TEXT, st.floats(0.5, 4))
@settings(max_examples=40)
def test_wrapping_keeps_every_character_within_the_width(text: str, width: float) -> None:
    lines = wrapped(text, 8, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(width_of(line, 8) <= width or len(line) == 1 for line in lines)


@given(st.lists(st.tuples(_TEXT, _TEXT, _TEXT), min_size=1, max_size=5), st.floats(1, 6))
@settings(max_examples=40)
def test_columns_fill_at_most_the_page(rows: list[tuple[str, ...]], width: float) -> None:
    widths = column_widths(rows, 7, width, 0.1)
    assert sum(widths) <= width + 1e-6
    assert all(value > 0 for value in widths)


def test_words_stay_whole_and_the_wordy_column_gives_way() -> None:
    rows = [("7048bf5b0ca6", "a long sentence of many small words that can be broken anywhere", "-1.13727017")]
    first, second, third = column_widths(rows, 7, 3.0, 0.1)
    assert first >= width_of("7048bf5b0ca6", 7, "bold")
    assert third >= width_of("-1.13727017", 7, "bold")
    assert second < width_of(rows[0][1], 7)
