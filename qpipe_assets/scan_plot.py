"""A potential-energy curve as one picture: VQE, Hartree-Fock and exact energies, and below them the error."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from simulation.metrics import CHEMICAL_ACCURACY_MHA

if TYPE_CHECKING:
    from simulation.record import VQEDecoratedResult

FORMATS = ("png", "svg", "pdf")

_LINEAR_MHA = 2 * CHEMICAL_ACCURACY_MHA  # the error's axis is linear up to here, logarithmic beyond
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def scan_markdown(title: str, records: Sequence[VQEDecoratedResult]) -> str:
    """A Markdown image of a scan, for the metadata of an asset."""
    encoded = base64.b64encode(scan_image(title, records, dpi=80)).decode()
    return f"![{title}](data:image/png;base64,{encoded})"


def scan_image(title: str, records: Sequence[VQEDecoratedResult], form: str = "png", *, dpi: int = 150) -> bytes:
    """The picture of one scan; the same records give the same bytes.

    Args:
        title: Above the picture.
        records: The points of the curve, in any order; every one has a place on the scan.
        form: One of `FORMATS`.
        dpi: Resolution of a PNG.

    Raises:
        ValueError: no records, or an unknown form.
    """
    if form not in FORMATS:
        raise ValueError(f"the form of the picture is {form!r}, expected one of {FORMATS}")
    if not records:
        raise ValueError(f"{title}: no point to draw")
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "qpipe"}):
        figure = Figure(figsize=(6.4, 5.6), layout="constrained")
        FigureCanvasAgg(figure)
        energies, errors = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        ordered = sorted(records, key=lambda record: record.scan_value or 0.0)
        _draw_energies(energies, ordered)
        _draw_errors(errors, ordered)
        energies.set_title(title, fontsize=10)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=form, dpi=dpi, metadata=_METADATA[form])
    return buffer.getvalue()


def _draw_energies(axes: Any, records: list[VQEDecoratedResult]) -> None:
    method = next((record.reference_method for record in records if record.reference_method), "FCI")
    _line(axes, records, "hf_energy", label="Hartree-Fock", color="tab:gray", linestyle="--")
    _line(axes, records, "fci_energy", label=method, color="black")
    valid = [record for record in records if record.valid is not False]
    invalid = [record for record in records if record.valid is False]
    _line(axes, valid, "total_energy", label="VQE", color="C0", marker="o", markersize=4, linestyle="none")
    _line(axes, invalid, "total_energy", label="VQE, not valid", color="C3", marker="x", linestyle="none")
    axes.set_ylabel("energy (hartree)")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.25)


def _draw_errors(axes: Any, records: list[VQEDecoratedResult]) -> None:
    axes.axhspan(-CHEMICAL_ACCURACY_MHA, CHEMICAL_ACCURACY_MHA, color="tab:green", alpha=0.12, linewidth=0)
    axes.axhline(0, color="black", linewidth=0.6)
    _line(axes, records, "energy_error_mha", color="C0", marker="o", markersize=4, linewidth=1)
    largest = max((abs(r.energy_error_mha) for r in records if r.energy_error_mha is not None), default=0.0)
    if largest > 5 * _LINEAR_MHA:
        axes.set_yscale("symlog", linthresh=_LINEAR_MHA)
    else:
        # The band of chemical accuracy is always in view.
        reach = 1.15 * max(CHEMICAL_ACCURACY_MHA, largest)
        axes.set_ylim(-reach, reach)
    coordinate = records[0].scan_coordinate or "coordinate"
    axes.set_xlabel(f"{coordinate} ({'degree' if coordinate.startswith('angle') else 'angstrom'})")
    axes.set_ylabel("error (millihartree)")
    axes.grid(alpha=0.25)


def _line(axes: Any, records: Sequence[VQEDecoratedResult], field: str, **style: Any) -> None:
    """One field of the records against the coordinate, where it is known."""
    points = [(r.scan_value, getattr(r, field)) for r in records if getattr(r, field) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), **style)
