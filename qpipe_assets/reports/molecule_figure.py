"""The molecule as a still picture: balls shaded towards the light, sticks in the colours of their ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qpipe_assets.reports.drawing import Draw, to_png
from qpipe_assets.reports.molecule_geometry import Ball, Scene, scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from simulation.record import MoleculeData

_SHADES = 24
_MARGIN = 1.08


def molecule_drawing(shown: Scene) -> Draw:
    """The molecule in its view, to scale."""

    def draw(axes: Axes) -> None:
        axes.set_axis_off()
        axes.set_aspect("equal")
        reach = _MARGIN * shown.reach
        axes.set_xlim(-reach, reach)
        height = _MARGIN * max(abs(ball.y) + ball.radius for ball in shown.balls)
        axes.set_ylim(-height, height)
        # Painted from back to front, for matplotlib's own 3D axes do not keep radii to scale.
        for depth, paint, *what in sorted(_parts(shown), key=lambda part: part[0]):
            paint(axes, *what, depth)

    return draw


def molecule_png(molecule: MoleculeData) -> bytes:
    """The molecule as a small PNG."""
    return to_png(molecule_drawing(scene(molecule)), 3.2, 2.2)


def symbol_ink(colour: str) -> str:
    """Black or white, whichever reads on the colour."""
    red, green, blue = _channels(colour)
    return "#ffffff" if 0.3 * red + 0.59 * green + 0.11 * blue < 0.55 else "#1b1e24"


def _parts(shown: Scene) -> list[tuple]:
    parts: list[tuple] = [(ball.z, _paint_ball, ball) for ball in shown.balls]
    for i, j in shown.bonds:
        for near, far in ((shown.balls[i], shown.balls[j]), (shown.balls[j], shown.balls[i])):
            start, end = _half_stick(near, far)
            parts.append((float(start[2] + end[2]) / 2, _paint_stick, start, end, shown.stick, near.colour))
    return parts


def _half_stick(near: Ball, far: Ball) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From the surface of one ball to just past the middle of the bond, so that no seam shows."""
    here, there = np.array([near.x, near.y, near.z]), np.array([far.x, far.y, far.z])
    direction = (there - here) / np.linalg.norm(there - here)
    return here + 0.9 * near.radius * direction, here + 0.505 * (there - here)


def _paint_stick(
    axes: Axes, start: NDArray[np.float64], end: NDArray[np.float64], radius: float, colour: str, depth: float
) -> None:
    from matplotlib.patches import Polygon

    flat = end[:2] - start[:2]
    length = float(np.hypot(*flat))
    if not length:
        return
    across = radius * np.array([-flat[1], flat[0]]) / length
    for width, shade in ((1.0, 0.72), (0.62, 0.94), (0.25, 1.12)):
        corners = [start[:2] + width * across, end[:2] + width * across]
        corners += [end[:2] - width * across, start[:2] - width * across]
        axes.add_patch(Polygon(corners, closed=True, facecolor=_shaded(colour, shade), linewidth=0, zorder=depth))


def _paint_ball(axes: Axes, ball: Ball, depth: float) -> None:
    from matplotlib.patches import Circle

    for step in range(_SHADES):
        part = step / (_SHADES - 1)
        centre = (ball.x - 0.28 * part * ball.radius, ball.y + 0.32 * part * ball.radius)
        colour = _shaded(ball.colour, 0.62 + 0.58 * part)
        axes.add_patch(Circle(centre, ball.radius * (1 - 0.86 * part), facecolor=colour, linewidth=0, zorder=depth))
    axes.text(
        *(ball.x, ball.y, ball.symbol),
        color=symbol_ink(ball.colour),
        fontweight="bold",
        ha="center",
        va="center_baseline",
        zorder=depth,
    )


def _shaded(colour: str, brightness: float) -> tuple[float, float, float]:
    """The colour darker (brightness below 1), or mixed with white (above 1)."""
    red, green, blue = _channels(colour)
    if brightness <= 1:
        return (red * brightness, green * brightness, blue * brightness)
    white = min(1.0, 3 * (brightness - 1))
    return (red + white * (1 - red), green + white * (1 - green), blue + white * (1 - blue))


def _channels(colour: str) -> tuple[float, float, float]:
    return (int(colour[1:3], 16) / 255, int(colour[3:5], 16) / 255, int(colour[5:7], 16) / 255)
