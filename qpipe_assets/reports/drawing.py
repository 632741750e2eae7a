"""How every figure is drawn: one ink, a few colours, no global figures, the same bytes for the same data.

A drawing is a function that paints on given axes; here it becomes a PNG or an SVG, and `pdf` paints it on a page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Draw = Callable[["Axes"], None]
FORMATS = ("png", "svg", "pdf")
"""What a drawing becomes as a file of its own."""

INK = "#20242b"
"""Text, axes and grid; in an SVG it becomes the colour of the text around the picture, dark or light."""
BLUE = "#3d85c6"
GREEN = "#2f9e5f"
RED = "#d64545"
ORANGE = "#d58512"
GREY = "#8a919c"

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 8.5,
    "grid.alpha": 0.14,
    "grid.color": INK,
    "grid.linewidth": 0.6,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "qpipe",
    "text.color": INK,
    # Names come from records; a dollar sign in one is a dollar sign.
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": INK,
    "xtick.labelsize": 7.5,
    "ytick.color": INK,
    "ytick.labelsize": 7.5,
}
_UNDATED: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
_IDENTIFIER = re.compile(r' id="([^"]+)"')
_REFERENCE = re.compile(r'(?:href="|url\()#([^")]+)')


@contextmanager
def style() -> Iterator[None]:
    """The settings under which everything is drawn and written."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def to_png(draw: Draw, width: float, height: float, *, dpi: int = 100) -> bytes:
    """A drawing as a PNG on white, `width` x `height` inches, with at most 256 colours."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    buffer = io.BytesIO()
    with style():
        canvas = FigureCanvasAgg(_figure(draw, width, height))
        canvas.figure.set_dpi(dpi)
        canvas.draw()
    picture = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba())
    picture.convert("RGB").quantize(256).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def to_svg(draw: Draw, width: float, height: float) -> str:
    """A drawing as an SVG element on a transparent ground, to stand in an HTML page."""
    buffer = io.StringIO()
    with style():
        figure = _figure(draw, width, height)
        figure.patch.set_visible(False)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    referenced = set(_REFERENCE.findall(text))
    # Several pictures share a page, on which an identifier must not occur twice.
    return _IDENTIFIER.sub(lambda found: found[0] if found[1] in referenced else "", text)


def to_image(draw: Draw, width: float, height: float, form: str, *, dpi: int = 150) -> bytes:
    """A drawing as a file of its own on white, `width` x `height` inches.

    Args:
        draw: Paints it.
        width: Of the picture.
        height: Of the picture.
        form: One of `FORMATS`.
        dpi: Resolution of a PNG.

    Raises:
        ValueError: an unknown form.
    """
    if form not in FORMATS:
        raise ValueError(f"the form of the picture is {form!r}, expected one of {FORMATS}")
    if form == "png":
        return to_png(draw, width, height, dpi=dpi)
    buffer = io.BytesIO()
    with style():
        _figure(draw, width, height).savefig(buffer, format=form, metadata=_UNDATED[form])
    return buffer.getvalue()


def plain_decades(axis: Axis, most: int = 9) -> None:
    """Ticks of a logarithmic axis at powers of ten, written out: 0.01, 1, 100."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(numticks=most))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _figure(draw: Draw, width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    draw(figure.add_subplot())
    return figure
