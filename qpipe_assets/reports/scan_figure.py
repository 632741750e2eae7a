"""A potential-energy scan: VQE, Hartree-Fock and exact energies over the scanned bond or angle, the errors below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qpipe_assets.reports.comparison import RunSummary, summarise
from qpipe_assets.reports.drawing import BLUE, GREEN, ORANGE, RED, Draw, to_image
from simulation.metrics import CHEMICAL_ACCURACY_MHA

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulation.record import VQEDecoratedResult

WIDTH, HEIGHT = 6.4, 4.8
"""Size of the picture (inches)."""

_ERRORS_SHARE, _GAP = 0.3, 0.05
"""Of the height: what the panel of errors takes, and what separates it from the energies."""

_FAR = 6.0
"""An error this many times the band away needs a logarithmic axis."""


def scan_image(title: str, records: Sequence[VQEDecoratedResult], form: str = "png", *, dpi: int = 150) -> bytes:
    """The picture of one scan as a file; the same records give the same bytes.

    Args:
        title: Above the picture.
        records: The points of the curve, in any order; every one has a place on the scan.
        form: One of `drawing.FORMATS`.
        dpi: Resolution of a PNG.

    Raises:
        ValueError: no records, or an unknown form.
    """
    if not records:
        raise ValueError(f"{title}: no point to draw")
    return to_image(scan_drawing([summarise(record) for record in records], title), WIDTH, HEIGHT, form, dpi=dpi)


def scan_drawing(points: Sequence[RunSummary], title: str = "") -> Draw:
    """The curves of one scan.

    Args:
        points: Runs whose `scan` is of the same coordinate; of several at one value the first counts.
        title: Above the picture.
    """
    by_value = {point.scan[1]: point for point in reversed(points) if point.scan is not None}
    curve = [by_value[value] for value in sorted(by_value)]

    def draw(axes: Axes) -> None:
        # A drawing has one place; its two panels share it, and the place itself shows nothing.
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
        energies = axes.inset_axes((0, _ERRORS_SHARE + _GAP, 1, 1 - _ERRORS_SHARE - _GAP))
        errors = axes.inset_axes((0, 0, 1, _ERRORS_SHARE), sharex=energies)
        _draw_energies(energies, curve)
        _draw_errors(errors, curve)
        axes.set_title(title)

    return draw


def _draw_energies(axes: Axes, curve: Sequence[RunSummary]) -> None:
    hartree_fock = [(_value(point), point.hf_energy) for point in curve if point.hf_energy is not None]
    if hartree_fock:
        axes.plot(*zip(*hartree_fock, strict=True), color=ORANGE, linestyle=(0, (5, 3)), label="Hartree-Fock")
    exact = [(_value(point), point.exact_energy) for point in curve if point.exact_energy is not None]
    if exact:
        method = next(point.exact_method for point in curve if point.exact_energy is not None)
        axes.plot(*zip(*exact, strict=True), color=GREEN, linewidth=2.4, alpha=0.6, label=method)
    for points, colour, marker, name in _by_verdict(curve):
        found = [(_value(p), p.total_energy, p.standard_error or 0.0) for p in points if p.total_energy is not None]
        _bars(axes, found, colour, marker, label=name)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.tick_params(labelbottom=False)
    axes.set_ylabel("total energy  (Ha)")
    axes.legend()


def _draw_errors(axes: Axes, curve: Sequence[RunSummary]) -> None:
    axes.axhspan(-CHEMICAL_ACCURACY_MHA, CHEMICAL_ACCURACY_MHA, color=GREEN, alpha=0.15, linewidth=0)
    axes.axhline(0, color=GREEN, linewidth=1)
    for points, colour, marker, _ in _by_verdict(curve):
        found = [(_value(p), p.error_mha, 1000 * (p.standard_error or 0.0)) for p in points if p.error_mha is not None]
        _bars(axes, found, colour, marker)
    low, high = _reach(curve)
    if max(-low, high) > _FAR * CHEMICAL_ACCURACY_MHA:
        axes.set_yscale("symlog", linthresh=CHEMICAL_ACCURACY_MHA)
        decades = [10.0**power for power in range(1, 10)]
        ticks = [*(-tick for tick in reversed(decades)), 0.0, *decades]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_ylim(2 * low, 2 * high)
    else:
        axes.set_ylim(1.2 * low, 1.2 * high)
    coordinate = curve[0].scan[0] if curve[0].scan else ""
    axes.set_xlabel(f"{coordinate}  ({'degree' if coordinate.startswith('angle') else 'Å'})")
    axes.set_ylabel("error  (mHa)")


def _reach(curve: Sequence[RunSummary]) -> tuple[float, float]:
    """The errors that must be in sight, with their bars, and at least the band (mHartree)."""
    found = [(p.error_mha, 1000 * (p.standard_error or 0.0)) for p in curve if p.error_mha is not None]
    low = min((error - std for error, std in found), default=0.0)
    high = max((error + std for error, std in found), default=0.0)
    return min(low, -CHEMICAL_ACCURACY_MHA), max(high, CHEMICAL_ACCURACY_MHA)


def _by_verdict(curve: Sequence[RunSummary]) -> list[tuple[list[RunSummary], str, str, str]]:
    """The points with their colour, marker and name: those that count, and those that are not valid."""
    return [
        ([point for point in curve if point.valid is not False], BLUE, "o", "VQE"),
        ([point for point in curve if point.valid is False], RED, "x", "VQE, not valid"),
    ]


def _bars(
    axes: Axes, points: Sequence[tuple[float, float, float]], colour: str, marker: str, label: str | None = None
) -> None:
    """Points with their standard errors."""
    if points:
        values, heights, errors = zip(*points, strict=True)
        axes.errorbar(values, heights, errors, fmt=marker, color=colour, markersize=4.5, capsize=2, label=label)


def _value(point: RunSummary) -> float:
    assert point.scan is not None  # scan_drawing takes no others
    return point.scan[1]
