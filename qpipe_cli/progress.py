"""One line on standard error that follows a run."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING

from simulation.record import VQEProcess

if TYPE_CHECKING:
    from simulation.runner import RunReference

_REDRAW_SECONDS = 0.1

_log = logging.getLogger(__name__)


class Progress:
    """Evaluation, energy and error to FCI of the run; nothing where the log level is above INFO."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._silent = not _log.isEnabledFor(logging.INFO)
        self._reference: RunReference | None = None
        self._drawn = 0.0
        self._width = 0
        self._last = ""
        self._live = sys.stderr.isatty()
        self._show(f"{name}: Hartree-Fock, integrals and reference energy ...")

    def prepared(self, reference: RunReference) -> None:
        """The problem stands: its size and its reference energies are known."""
        self._reference = reference

    def evaluated(self, step: VQEProcess) -> None:
        """One energy evaluation was made."""
        assert self._reference is not None
        lowest = (step.cumulative_min_energy or step.result) + self._reference.nuclear_repulsion
        text = f"{self._name}: {self._reference.num_qubits} qubits, evaluation {step.iteration}, {lowest:.8f} Ha"
        if self._reference.exact_energy is not None:
            text += f", {1000 * (lowest - self._reference.exact_energy):+.4f} mHa to {self._reference.exact_method}"
        self._last = text
        if time.monotonic() - self._drawn > _REDRAW_SECONDS:
            self._show(text)

    def _show(self, text: str) -> None:
        self._drawn = time.monotonic()
        if self._silent:
            return
        if self._live:
            sys.stderr.write("\r" + text.ljust(self._width))
            sys.stderr.flush()
            self._width = len(text)
        elif not self._last:
            print(text, file=sys.stderr)

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._silent:
            return
        if self._live:
            sys.stderr.write("\r" + self._last.ljust(self._width) + "\n")
        elif self._last:
            print(self._last, file=sys.stderr)
