"""Redpanda Connect as a program of this machine, built once from its Go module.

It is distributed as an image; this is the same code with the components that deploy/redpanda-connect.yaml names.
`python -m deploy.connectors.redpanda_connect` builds it and prints its path.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from deploy.services.errors import ServiceError
from deploy.services.programs import cache, filled_at_once, run, tell

CONFIGURATION = Path(__file__).resolve().parents[1] / "redpanda-connect.yaml"
SOURCE = Path(__file__).parent / "redpanda-connect"
_FILES = ("go.mod", "go.sum", "main.go")


def program() -> Path:
    """Path of the program, which is built where it is missing: about two minutes on two cores, and 59 MB.

    Raises:
        ServiceError: Go is missing, or the module cannot be fetched, or its checksum is wrong.
    """
    text = b"".join((SOURCE / name).read_bytes() for name in _FILES)
    folder = cache() / f"redpanda-connect-{hashlib.sha256(text).hexdigest()[:12]}"
    built = folder / "redpanda-connect"
    if not built.exists():
        tell("building Redpanda Connect (about two minutes, once)")
        with filled_at_once(folder) as part:
            _build(part / built.name)
    return built


def _build(target: Path) -> None:
    go = shutil.which("go")
    if go is None:  # Debian's package is too old
        raise ServiceError("Go is missing; install 1.24 or newer to build Redpanda Connect, or run its image")
    # One package at a time, behind whatever else this machine does.
    command = ["nice", "-n", "10", go, "build", "-p", "1", "-mod=readonly", "-buildvcs=false"]
    flags = ["-trimpath", "-ldflags", "-s -w", "-o", str(target), "."]
    run(
        [*command, *flags], "Redpanda Connect cannot be built", folder=SOURCE, environment={**os.environ, "GOFLAGS": ""}
    )


if __name__ == "__main__":
    print(program())
