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
    """Evaluation, energy and error to FCI of the run; nothing where the log level is above INFO.

    The energy is the lowest so far, of samples the current one with its standard error.
    """

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
        exact, method = self._reference.exact_energy, self._reference.exact_method
        text = f"{self._name}: {self._reference.num_qubits} qubits, evaluation {step.iteration}, "
        if step.std:
            # The lowest of many samples is the luckiest one, so the current one is told.
            energy = step.result + self._reference.nuclear_repulsion
            text += f"{energy:.5f} ± {step.std:.5f} Ha"
            text += "" if exact is None else f", {1000 * (energy - exact):+.2f} ± {1000 * step.std:.2f} mHa to {method}"
        else:
            energy = (step.cumulative_min_energy or step.result) + self._reference.nuclear_repulsion
            text += f"{energy:.8f} Ha"
            text += "" if exact is None else f", {1000 * (energy - exact):+.4f} mHa to {method}"
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
