"""Environments of their own for versions of quantum-pipeline, made at first use below .bench (a quarter of a minute).

What the package's producer imports is installed once (quantum_pipeline_producer.txt); its versions lie side by side,
each in a folder of its own that is named to one run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from benchmarks.simulation_peers import interpreter

HERE = Path(__file__).parent


def install(version: str) -> None:
    """Make the environment of quantum-pipeline `version` where it is missing."""
    _package(_python(), version)


def run_in(version: str, script: str, *arguments: str) -> None:
    """Run a script of this folder where quantum-pipeline `version` is what `import quantum_pipeline` finds.

    Raises:
        AssertionError: it failed; carries the end of what it said.
    """
    python = _python()
    environment = os.environ | {"PYTHONPATH": str(_package(python, version)), "PYTHONWARNINGS": "ignore"}
    command = [str(python), str(HERE / script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{script} under quantum-pipeline {version}: {done.stderr[-2000:]}"


def _python() -> Path:
    return interpreter("quantum_pipeline_producer", HERE)


def _package(python: Path, version: str) -> Path:
    folder = python.parents[1] / "versions" / version
    if not folder.exists():
        made = folder.with_suffix(".part")
        shutil.rmtree(made, ignore_errors=True)
        flags = ["--quiet", "--disable-pip-version-check", "--no-deps", "--ignore-requires-python"]
        package = f"quantum-pipeline=={version}"
        subprocess.run([python, "-m", "pip", "install", *flags, "--target", made, package], check=True)
        made.rename(folder)
    return folder
