"""Where log lines of a command go: to standard error, from this project's packages at the level that was asked."""

from __future__ import annotations

import logging
import sys

_OURS = ("simulation", "qpipe_resources", "qpipe_assets", "jobs", "qpipe_cli")


def log_to_standard_error(level: str) -> None:
    """Show this project's log lines from `level` on; of other packages warnings and errors, at most from `level` on."""
    threshold = logging.getLevelNamesMapping()[level]
    # Qiskit tells each of its passes at INFO, numba each of its steps at DEBUG.
    logging.basicConfig(
        stream=sys.stderr,
        level=max(threshold, logging.WARNING),
        format="%(levelname)s %(name)s: %(message)s",
        force=True,
    )
    for package in _OURS:
        logging.getLogger(package).setLevel(threshold)
