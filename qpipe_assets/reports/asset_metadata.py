"""Small pictures for an asset's metadata: a PNG of some ten kilobytes inside a line of Markdown."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from qpipe_assets.reports.convergence_figure import MOST_CURVES, Curve, overlaid_convergence
from qpipe_assets.reports.drawing import to_png
from qpipe_assets.reports.molecule_figure import molecule_png
from qpipe_assets.reports.scan_figure import scan_image
from qpipe_assets.reports.trajectory import magnitudes, thinned_indices, trajectory

if TYPE_CHECKING:
    from simulation.record import MoleculeData, VQEDecoratedResult

_CURVE_POINTS = 500

__all__ = ["MOST_CURVES", "convergence_markdown", "convergence_png", "errors_mha", "molecule_markdown", "scan_markdown"]


def errors_mha(record: VQEDecoratedResult) -> list[float]:
    """|E - E_exact| in mHartree after each evaluation; empty without an exact energy."""
    errors = trajectory(record).errors_mha
    return [] if errors is None else magnitudes(errors).tolist()


def convergence_markdown(molecule: str, curves: Mapping[str, list[float]]) -> str:
    """A Markdown image of labelled curves of the energy error (mHartree) at each evaluation."""
    return _image(f"convergence of {molecule}", convergence_png(curves))


def convergence_png(curves: Mapping[str, list[float]]) -> bytes:
    """Labelled curves of the energy error (mHartree) at each evaluation, the first `MOST_CURVES` of them."""
    drawn = []
    for label, errors in list(curves.items())[:MOST_CURVES]:
        values = np.array(errors)
        kept = thinned_indices(values, _CURVE_POINTS)
        drawn.append(Curve(label, kept + 1, values[kept]))
    return to_png(overlaid_convergence(drawn), 6.4, 3.4)


def molecule_markdown(name: str, molecule: MoleculeData) -> str:
    """A Markdown image of the molecule."""
    return _image(name, molecule_png(molecule))


def scan_markdown(title: str, records: Sequence[VQEDecoratedResult]) -> str:
    """A Markdown image of the curve of a scan."""
    return _image(title, scan_image(title, records, dpi=80))


def _image(alternative: str, png: bytes) -> str:
    return f"![{alternative}](data:image/png;base64,{base64.b64encode(png).decode()})"
