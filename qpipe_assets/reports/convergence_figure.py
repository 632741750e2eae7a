"""Convergence: the distance to the exact energy at each evaluation, of one run or of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qpipe_assets.reports.drawing import BLUE, GREEN, GREY, INK, ORANGE, RED, Draw, plain_decades
from qpipe_assets.reports.trajectory import Trajectory, magnitudes
from simulation.metrics import CHEMICAL_ACCURACY_MHA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

MOST_CURVES = 24
MOST_ERROR_BARS = 100
_MOST_LABELS = 8
_NARROW_LABEL = 34
"""Characters of a label of which two stand side by side."""
_COLOURS = (BLUE, ORANGE, "#8e63ce", "#1f9ea3", "#c2568f", "#7d8c1f", "#a3683a", GREY)
_LOG_STEPS_FROM = 300
"""Longer runs are drawn over a logarithmic axis of evaluations, or their beginning could not be seen."""


@dataclass(frozen=True)
class Curve:
    """One run among others: |error| (mHartree) at the evaluations with the numbers `steps`."""

    label: str
    steps: NDArray[np.int64]
    errors_mha: NDArray[np.float64]


def run_convergence(run: Trajectory, method: str) -> Draw:
    """|E - E_exact| of one run with exact energy; evaluations below the exact energy are marked.

    Args:
        run: The run; `errors_mha` must be there.
        method: Name of the exact energy, FCI or CASCI.
    """
    shown = run.thinned()
    assert shown.errors_mha is not None
    errors = shown.errors_mha

    def draw(axes: Axes) -> None:
        size = magnitudes(errors)
        alone = len(size) == 1
        axes.semilogy(shown.steps, size, color=BLUE, linewidth=1.2, marker="o" if alone or len(size) < 60 else None)
        axes.lines[-1].set_markersize(3)
        if shown.sampled:
            _error_bars(axes, shown, size)
        else:
            _mark_below(axes, shown, errors, size)
            if (np.diff(errors) > 0).any():
                lowest = magnitudes(np.minimum.accumulate(errors))
                axes.step(shown.steps, lowest, where="post", color=INK, alpha=0.55, linewidth=1, label="lowest so far")
        _finish(axes, method)
        if axes.get_legend_handles_labels()[0]:
            _legend_above(axes)

    return draw


def overlaid_convergence(curves: Sequence[Curve], best: int | None = None) -> Draw:
    """|E - E_exact| of several runs, that with the index `best` drawn heavier."""

    def draw(axes: Axes) -> None:
        named = len(curves) <= _MOST_LABELS
        for number, curve in enumerate(curves):
            colour = _COLOURS[number % len(_COLOURS)]
            # A run of one evaluation has no line.
            marker = "o" if len(curve.steps) == 1 else None
            width = 2.2 if number == best else 1.2
            axes.semilogy(curve.steps, curve.errors_mha, color=colour, linewidth=width, marker=marker, markersize=3)
            axes.lines[-1].set(label=curve.label if named else None, zorder=3 if number == best else 2)
        _finish(axes, "exact")
        if named:
            _legend_above(axes)

    return draw


def _error_bars(axes: Axes, shown: Trajectory, size: NDArray[np.float64]) -> None:
    every = -(-len(size) // MOST_ERROR_BARS)
    kept = np.unique(np.append(np.arange(0, len(size), every), len(size) - 1))
    bars = 1000 * shown.std[kept]
    axes.errorbar(shown.steps[kept], size[kept], bars, fmt="none", ecolor=BLUE, alpha=0.55, elinewidth=0.9, capsize=1.5)
    axes.plot(shown.steps[-1:], size[-1:], "o", color=ORANGE, markersize=5, label="measured again at the optimum")


def _mark_below(axes: Axes, shown: Trajectory, errors: NDArray[np.float64], size: NDArray[np.float64]) -> None:
    below = errors < -1e-3
    if below.any():
        axes.plot(shown.steps[below], size[below], ".", color=RED, markersize=4, label="below the exact energy")


def _legend_above(axes: Axes) -> None:
    # Curves may run anywhere inside. Two columns of long labels would take the width from the curves.
    narrow = all(len(label) <= _NARROW_LABEL for label in axes.get_legend_handles_labels()[1])
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2 if narrow else 1, borderaxespad=0.2)


def _finish(axes: Axes, method: str) -> None:
    from matplotlib.ticker import MaxNLocator

    if axes.get_xlim()[1] > _LOG_STEPS_FROM:
        axes.set_xscale("log")
    bottom, top = axes.get_ylim()
    bottom, top = min(bottom, CHEMICAL_ACCURACY_MHA / 4), max(top, 4 * CHEMICAL_ACCURACY_MHA)
    axes.axhspan(bottom, CHEMICAL_ACCURACY_MHA, color=GREEN, alpha=0.13, linewidth=0)
    label = axes.text(0.995, CHEMICAL_ACCURACY_MHA, "1.6 mHa", color=GREEN, fontsize=7, ha="right", va="bottom")
    label.set_transform(axes.get_yaxis_transform())
    axes.set_ylim(bottom, top)
    plain_decades(axes.yaxis)
    if axes.get_xscale() == "log":
        plain_decades(axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("energy evaluation")
    axes.set_ylabel(f"|E - E({method})|  (mHa)")
