"""A potential-energy scan: VQE, Hartree-Fock and exact energies over the scanned bond or angle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qpipe_assets.reports.drawing import BLUE, GREEN, ORANGE, RED, Draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from qpipe_assets.reports.comparison import RunSummary


def scan_drawing(points: Sequence[RunSummary]) -> Draw:
    """The curves of one scan.

    Args:
        points: Runs whose `scan` is of the same coordinate; of several at one value the first counts.
    """
    by_value = {point.scan[1]: point for point in reversed(points) if point.scan is not None}
    shown = [by_value[value] for value in sorted(by_value)]
    coordinate = next(point.scan[0] for point in shown if point.scan is not None)

    def draw(axes: Axes) -> None:
        values = sorted(by_value)
        exact = [(v, p.exact_energy) for v, p in zip(values, shown, strict=True) if p.exact_energy is not None]
        mean_field = [(v, p.hf_energy) for v, p in zip(values, shown, strict=True) if p.hf_energy is not None]
        if mean_field:
            axes.plot(*zip(*mean_field, strict=True), color=ORANGE, linestyle=(0, (5, 3)), label="Hartree-Fock")
        if exact:
            axes.plot(*zip(*exact, strict=True), color=GREEN, linewidth=2.4, alpha=0.6, label=shown[0].exact_method)
        for valid, colour, name in ((True, BLUE, "VQE"), (False, RED, "VQE, not valid")):
            mine = [(v, p) for v, p in zip(values, shown, strict=True) if (p.valid is not False) is valid]
            energies = [(v, p.total_energy, p.standard_error) for v, p in mine if p.total_energy is not None]
            if energies:
                places, heights, errors = zip(*energies, strict=True)
                bars = [error or 0.0 for error in errors]
                axes.errorbar(places, heights, bars, fmt="o", color=colour, markersize=4, capsize=2, label=name)
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.set_xlabel(f"{coordinate}  ({'degree' if coordinate.startswith('angle') else 'Å'})")
        axes.set_ylabel("total energy  (Ha)")
        axes.legend()

    return draw
