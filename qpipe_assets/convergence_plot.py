"""The convergence of a campaign as one small PNG: energy error against evaluation, and chemical accuracy."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from simulation.metrics import CHEMICAL_ACCURACY_MHA

if TYPE_CHECKING:
    from simulation.record import VQEDecoratedResult

MOST_CURVES = 24
_FLOOR_MHA = 1e-9  # a log axis ends somewhere; below this the error is rounding
_MOST_LABELS = 8


def convergence_markdown(molecule: str, curves: Mapping[str, list[float]]) -> str:
    """A Markdown image of labelled curves of the energy error (mHartree) at each evaluation."""
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
    for label, errors in curves.items():
        axes.semilogy(range(1, len(errors) + 1), errors, linewidth=1.2, label=label)
    bottom = axes.get_ylim()[0]
    axes.axhspan(bottom, CHEMICAL_ACCURACY_MHA, color="tab:green", alpha=0.12, linewidth=0)
    axes.set_ylim(bottom=bottom)
    axes.set_xlabel("energy evaluation")
    axes.set_ylabel("|E - E_FCI| (mHartree)")
    axes.set_title(f"{molecule}, the first {MOST_CURVES} runs" if len(curves) == MOST_CURVES else molecule, fontsize=10)
    if len(curves) <= _MOST_LABELS:
        axes.legend(fontsize=7)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()
