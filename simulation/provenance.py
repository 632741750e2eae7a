"""Where and with what a run was made: versions, host, start."""

from __future__ import annotations

import datetime as dt
import functools
import json
import platform
import socket
from importlib import metadata

_PACKAGES = ("qpipe", "qiskit", "qiskit-aer", "pyscf", "numpy", "scipy")


@functools.cache
def versions() -> str:
    """Versions of Python and of the packages that decide the numbers, as JSON text."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a checkout that is not installed
            found[package] = None
    return json.dumps(found)


def host() -> str:
    """Name of this machine."""
    return socket.gethostname()


def now() -> str:
    """The time in UTC, ISO 8601."""
    return dt.datetime.now(dt.UTC).isoformat()
