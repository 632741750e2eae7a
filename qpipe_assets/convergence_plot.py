"""The convergence of a campaign as one small PNG: energy error against evaluation, and chemical accuracy."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from simulation.metrics import CHEMICAL_ACCURACY_MHA

if TYPE_CHECKING:
    from simulation.record import VQEDecoratedResult

_FLOOR_MHA = 1e-9  # a log axis ends somewhere; below this the error is rounding
_MOST_CURVES = 24
_MOST_LABELS = 8


def convergence_markdown(molecule: str, records: Mapping[str, VQEDecoratedResult]) -> str | None:
    """A Markdown image of the labelled records' convergence to the exact energy; None when no exact energy is known."""
    curves = {label: errors for label, record in records.items() if (errors := errors_mha(record))}
    if not curves:
        return None
    encoded = base64.b64encode(_png(molecule, curves)).decode()
    return f"![convergence of {molecule}](data:image/png;base64,{encoded})"


def errors_mha(record: VQEDecoratedResult) -> list[float]:
    """|E - E_FCI| in mHartree after each evaluation; empty without an exact energy."""
    if record.fci_energy is None or record.total_energy is None:
        return []
    to_total = record.total_energy - record.vqe_result.minimum
    return [
        max(1000 * abs(step.result + to_total - record.fci_energy), _FLOOR_MHA)
        for step in record.vqe_result.iteration_list
    ]


def _png(molecule: str, curves: Mapping[str, list[float]]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for label, errors in list(curves.items())[:_MOST_CURVES]:
        axes.semilogy(range(1, len(errors) + 1), errors, linewidth=1.2, label=label)
    axes.axhspan(axes.get_ylim()[0], CHEMICAL_ACCURACY_MHA, color="tab:green", alpha=0.12, linewidth=0)
    axes.set_xlabel("energy evaluation")
    axes.set_ylabel("|E - E_FCI| (mHartree)")
    hidden = len(curves) - _MOST_CURVES
    axes.set_title(molecule + (f" (the first {_MOST_CURVES} of {len(curves)} runs)" if hidden > 0 else ""), fontsize=10)
    if len(curves) <= _MOST_LABELS:
        axes.legend(fontsize=7)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()
