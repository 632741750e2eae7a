"""A circuit drawn gate by gate as it is written, as much of it as a page holds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpipe_assets.reports.drawing import BLUE, GREEN, INK, ORANGE, Draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulation.circuit_features import Instruction, WrittenCircuit

_COLUMNS = 14
_MOST_ROWS = 26
_ROW_INCHES = 0.27
_OWN_GATE = "#8e63ce"
_PARAMETER = re.compile(r"_*(?:theta|θ)_*0*(\d+)_*")
_LONGEST_ANGLE = 9


@dataclass(frozen=True)
class Placed:
    """An instruction and its column."""

    instruction: Instruction
    column: int


@dataclass(frozen=True)
class CircuitExcerpt:
    """The first instructions of a circuit, in columns that are wrapped into bands of `_COLUMNS`."""

    num_qubits: int
    placed: tuple[Placed, ...]
    left_out: int
    bands: int

    @property
    def height(self) -> float:
        """Height of its picture (inches)."""
        return _ROW_INCHES * (self.bands * (self.num_qubits + 1))


def excerpt(circuit: WrittenCircuit) -> CircuitExcerpt:
    """As many of the first instructions as fit, each in the first column where its qubits are free."""
    most_bands = max(1, _MOST_ROWS // (circuit.num_qubits + 1))
    free = [0] * circuit.num_qubits
    placed: list[Placed] = []
    for instruction in circuit.instructions:
        span = range(min(instruction.qubits), max(instruction.qubits) + 1)
        column = max(free[qubit] for qubit in span)
        if column >= most_bands * _COLUMNS:
            break
        for qubit in span:
            free[qubit] = column + 1
        placed.append(Placed(instruction, column))
    bands = 1 + max((item.column for item in placed), default=0) // _COLUMNS
    return CircuitExcerpt(circuit.num_qubits, tuple(placed), len(circuit.instructions) - len(placed), bands)


def circuit_drawing(shown: CircuitExcerpt) -> Draw:
    """The excerpt on its wires, qubit 0 on top."""

    def draw(axes: Axes) -> None:
        axes.set_axis_off()
        rows = shown.bands * (shown.num_qubits + 1)
        axes.set_xlim(-0.9, _COLUMNS)
        axes.set_ylim(rows - 0.5, -0.7)
        for band in range(shown.bands):
            for qubit in range(shown.num_qubits):
                row = _row(shown, band, qubit)
                axes.plot([-0.35, _COLUMNS - 0.4], [row, row], color=INK, alpha=0.45, linewidth=0.7, zorder=1)
                axes.text(-0.42, row, f"q{qubit}", ha="right", va="center", fontsize=6.5)
        for item in shown.placed:
            band, column = divmod(item.column, _COLUMNS)
            rows_of = [_row(shown, band, qubit) for qubit in item.instruction.qubits]
            _paint(axes, item.instruction, column + 0.1, rows_of)

    return draw


def short_angle(angles: str) -> str:
    """Angles as a picture has room for: `-theta_0012` is `-θ12`."""
    text = _PARAMETER.sub(r"θ\1", angles).replace("*", "").replace(" ", "")
    return text if len(text) <= _LONGEST_ANGLE else text[: _LONGEST_ANGLE - 1] + "…"


def _row(shown: CircuitExcerpt, band: int, qubit: int) -> int:
    return band * (shown.num_qubits + 1) + qubit


def _paint(axes: Axes, gate: Instruction, x: float, rows: list[int]) -> None:
    if gate.name in ("cx", "cz", "CX") or (gate.name == "swap"):
        _paint_linked(axes, gate.name.lower(), x, rows)
    elif len(rows) == 1:
        colour = GREEN if gate.name in ("x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx") else BLUE
        _box(axes, x, rows[0], rows[0], colour if gate.name not in ("measure", "reset") else INK)
        _words(axes, gate, x, rows[0])
    else:
        _box(axes, x, min(rows), max(rows), _OWN_GATE)
        _words(axes, gate, x, (min(rows) + max(rows)) / 2)
        for index, row in enumerate(rows):
            axes.text(x - 0.4, row, str(index), color="white", fontsize=4.5, ha="center", va="center", zorder=4)


def _paint_linked(axes: Axes, name: str, x: float, rows: list[int]) -> None:
    axes.plot([x, x], rows, color=ORANGE, linewidth=1.2, zorder=2)
    ends = {"cx": "o⊕", "cz": "oo", "swap": "++"}[name]
    for end, row in zip(ends, rows, strict=True):
        if end == "o":
            axes.plot([x], [row], "o", color=ORANGE, markersize=4, zorder=3)
        elif end == "+":
            axes.plot([x], [row], "x", color=ORANGE, markersize=5, markeredgewidth=1.5, zorder=3)
        else:
            axes.plot([x], [row], "o", color=ORANGE, markersize=8.5, zorder=3)
            axes.plot([x], [row], "+", color="white", markersize=6.5, markeredgewidth=1.2, zorder=4)


def _box(axes: Axes, x: float, top: int, bottom: int, colour: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = (x - 0.38, top - 0.3)
    box = "round,pad=0.04,rounding_size=0.08"
    axes.add_patch(
        FancyBboxPatch(corner, 0.76, bottom - top + 0.6, boxstyle=box, facecolor=colour, linewidth=0, zorder=3)
    )


def _words(axes: Axes, gate: Instruction, x: float, row: float) -> None:
    angle = short_angle(gate.angles)
    text = f"{gate.name}\n{angle}" if len(gate.qubits) > 1 and angle else f"{gate.name} {angle}".strip()
    size = 5.8 if len(max(text.split("\n"), key=len)) < 8 else 4.6
    axes.text(x, row, text, color="white", fontsize=size, ha="center", va="center", linespacing=1.1, zorder=4)
