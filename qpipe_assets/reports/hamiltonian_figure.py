"""The qubit Hamiltonian: its largest coefficients, and what the picture leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpipe_assets.reports.drawing import BLUE, GREY, ORANGE, Draw, plain_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulation.record import HamiltonianTerm

THRESHOLD_HARTREE = 1e-2
MOST_TERMS = 50
ROW_INCHES = 0.13


@dataclass(frozen=True)
class Spectrum:
    """A Hamiltonian by size of its coefficients (Hartree).

    `identity` is the coefficient of the identity, `largest` the terms that are drawn, the largest first, `others` the
    number of the remaining ones and `others_norm` the sum of their magnitudes.
    """

    num_terms: int
    identity: complex
    largest: tuple[tuple[str, complex], ...]
    others: int
    others_norm: float

    @property
    def height(self) -> float:
        """Height of its picture (inches)."""
        return 0.8 + ROW_INCHES * max(len(self.largest) + bool(self.others), 3)


def spectrum(terms: Sequence[HamiltonianTerm]) -> Spectrum:
    """The terms of at least `THRESHOLD_HARTREE`, at most `MOST_TERMS`; the rest together."""
    identity = 0j
    found: list[tuple[str, complex]] = []
    for term in terms:
        value = complex(term.coefficients.real, term.coefficients.imaginary)
        if set(term.label) == {"I"}:
            identity += value
        else:
            found.append((sparse_label(term.label), value))
    found.sort(key=lambda item: -abs(item[1]))
    largest = [item for item in found[:MOST_TERMS] if abs(item[1]) >= THRESHOLD_HARTREE]
    rest = found[len(largest) :]
    return Spectrum(len(terms), identity, tuple(largest), len(rest), sum(abs(value) for _, value in rest))


def sparse_label(label: str) -> str:
    """A Pauli label, which reads from the highest qubit to qubit 0, by qubit: `IXIZ` is `Z0 X2`."""
    return " ".join(f"{pauli}{qubit}" for qubit, pauli in enumerate(reversed(label)) if pauli != "I")


def hamiltonian_drawing(shown: Spectrum) -> Draw:
    """Magnitudes of the largest coefficients over a logarithmic axis, coloured by sign."""

    def draw(axes: Axes) -> None:
        from matplotlib.lines import Line2D

        rows = [(label, abs(value), BLUE if value.real >= 0 else ORANGE) for label, value in shown.largest]
        if shown.others:
            rows.append((f"Other ({shown.others})", shown.others_norm, GREY))
        if not rows:
            axes.set_axis_off()
            axes.text(0.5, 0.5, "no term besides the identity", ha="center", transform=axes.transAxes)
            return
        left = 0.7 * min(THRESHOLD_HARTREE, *(size for _, size, _ in rows if size) or (THRESHOLD_HARTREE,))
        for row, (_, size, colour) in enumerate(rows):
            axes.plot([left, max(size, left)], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
            axes.plot([max(size, left)], [row], "o", color=colour, markersize=3.5)
        axes.set_xscale("log")
        plain_decades(axes.xaxis)
        axes.set_xlim(left, 1.6 * max(size for _, size, _ in rows))
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=6.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.set_xlabel("|coefficient|  (Ha)")
        kinds = [("positive", BLUE), ("negative", ORANGE)] + [("sum of the others", GREY)] * bool(shown.others)
        handles = [Line2D([], [], color=colour, label=name, linewidth=2.5) for name, colour in kinds]
        axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0.2)

    return draw
