"""Energies against Hartree-Fock and the exact energy, with the band of chemical accuracy: of one run and of many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qpipe_assets.reports.drawing import BLUE, GREEN, GREY, INK, ORANGE, RED, Draw
from qpipe_assets.reports.trajectory import Trajectory
from simulation.metrics import CHEMICAL_ACCURACY_MHA

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEADROOM = 1.0
"""Evaluations further above the references than this many times their distance are cut off: a random start is."""

_LEAST_SPAN_HARTREE = 0.006


@dataclass(frozen=True)
class References:
    """Total energies to compare with (Hartree); `method` names the exact one."""

    hartree_fock: float | None
    exact: float | None
    method: str = "FCI"


@dataclass(frozen=True)
class EnergyPoint:
    """One run among others: its error to the exact energy, that error's standard error, Hartree-Fock's (mHartree)."""

    label: str
    error_mha: float
    std_mha: float | None
    hf_error_mha: float | None
    valid: bool | None


def run_energies(run: Trajectory, references: References) -> Draw:
    """Total energy at each evaluation between its references, cut off where it lies far above them."""
    shown = run.thinned()

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        marker = "o" if len(shown.steps) < 60 else None
        axes.plot(shown.steps, shown.energies, color=BLUE, linewidth=1.2, marker=marker, markersize=3)
        if shown.sampled:
            low, high = shown.energies - shown.std, shown.energies + shown.std
            axes.fill_between(shown.steps, low, high, color=BLUE, alpha=0.2, linewidth=0)
        if references.exact is not None:
            band = CHEMICAL_ACCURACY_MHA / 1000
            axes.axhspan(references.exact - band, references.exact + band, color=GREEN, alpha=0.18, linewidth=0)
            _level(axes, references.exact, references.method, GREEN, above=False)
        if references.hartree_fock is not None:
            _level(axes, references.hartree_fock, "Hartree-Fock", ORANGE, above=True)
        limits = energy_limits(shown.energies, references)
        if limits is not None:
            axes.set_ylim(*limits)
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("energy evaluation")
        axes.set_ylabel("total energy  (Ha)")

    return draw


def energy_limits(energies: Sequence[float] | np.ndarray, references: References) -> tuple[float, float] | None:
    """The part of the energy axis that is worth seeing (Hartree); None when no evaluation lies far outside it."""
    levels = [level for level in (references.hartree_fock, references.exact) if level is not None]
    if not levels:
        return None
    lowest, highest = min([*levels, *energies]), max(levels)
    span = max(highest - lowest, _LEAST_SPAN_HARTREE)
    cut = highest + _HEADROOM * span
    top = min(cut, max(highest, max(energies)))
    margin = 0.1 * (top - lowest) or _LEAST_SPAN_HARTREE
    return (lowest - 1.6 * margin, top + margin)


def cut_off(run: Trajectory, references: References) -> int:
    """How many evaluations lie above the picture of `run_energies`."""
    limits = energy_limits(run.energies, references)
    return 0 if limits is None else int((run.energies > limits[1]).sum())


def compared_energies(points: Sequence[EnergyPoint]) -> Draw:
    """Errors of many runs one below the other, each with Hartree-Fock's, on an axis linear within the band."""

    def draw(axes: Axes) -> None:
        rows = range(len(points))
        axes.axvspan(-CHEMICAL_ACCURACY_MHA, CHEMICAL_ACCURACY_MHA, color=GREEN, alpha=0.15, linewidth=0)
        axes.axvline(0, color=GREEN, linewidth=1)
        for row, point in zip(rows, points, strict=True):
            if point.hf_error_mha is not None:
                axes.plot([point.hf_error_mha], [row], "|", color=ORANGE, markersize=9, markeredgewidth=2)
            colour = RED if point.valid is False else BLUE if point.valid else GREY
            axes.errorbar(
                [point.error_mha], [row], xerr=point.std_mha, fmt="o", color=colour, markersize=4.5, capsize=2
            )
        axes.set_yticks(rows, [point.label for point in points])
        axes.set_ylim(len(points) - 0.4, -0.6)
        axes.set_xscale("symlog", linthresh=CHEMICAL_ACCURACY_MHA)
        lowest, highest = _reach(points)
        decades = [10.0**power for power in range(1, 10)]
        ticks = [-tick for tick in reversed(decades)] + [-1.6, 0.0, 1.6, *decades]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xlim(1.7 * lowest, 1.7 * highest)
        axes.minorticks_off()
        axes.grid(visible=True, axis="x")
        axes.set_xlabel("E - E(exact)  (mHa)")

    return draw


def _reach(points: Sequence[EnergyPoint]) -> tuple[float, float]:
    """The errors that must be in sight, with their bars, and at least the band (mHartree)."""
    low = min(point.error_mha - (point.std_mha or 0.0) for point in points)
    high = max(max(point.error_mha + (point.std_mha or 0.0), point.hf_error_mha or 0.0) for point in points)
    return min(low, -CHEMICAL_ACCURACY_MHA), max(high, CHEMICAL_ACCURACY_MHA)


def _level(axes: Axes, energy: float, name: str, colour: str, *, above: bool) -> None:
    axes.axhline(energy, color=colour, linewidth=1, linestyle="-" if name != "Hartree-Fock" else (0, (5, 3)))
    axes.annotate(
        f"{name}  {energy:.8f}",
        (1, energy),
        (0, 2 if above else -2),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        ha="right",
        va="bottom" if above else "top",
        fontsize=7,
        color=INK,
    )
