"""The peers that simulation is compared with: each in a virtual environment of its own, with pinned versions.

`benchmarks/peers/NAME.txt` lists every package of environment NAME. It is installed without looking at dependencies
or at the Python versions that a package declares, so all environments run on the Python that runs the benchmark:
quantum-pipeline 2.1.0 declares 3.12 but runs on 3.11.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.timing import ONE_THREAD

SCRIPTS = Path(__file__).parent / "peers"
ENVIRONMENTS = Path(__file__).parent.parent / ".bench"


def interpreter(name: str, lists: Path = SCRIPTS) -> Path:
    """Python of a peer's environment, which is made first where it is not there or its list of packages changed."""
    folder, wanted = ENVIRONMENTS / name, lists / f"{name}.txt"
    python, installed = folder / "bin" / "python", folder / "installed.txt"
    if installed.exists() and installed.read_text() == wanted.read_text():
        return python
    print(f"installing {name} into {folder}", file=sys.stderr, flush=True)
    ENVIRONMENTS.mkdir(exist_ok=True)
    (ENVIRONMENTS / ".gitignore").write_text("*\n")
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    flags = ["--quiet", "--disable-pip-version-check", "--no-deps", "--ignore-requires-python"]
    subprocess.run([python, "-m", "pip", "install", *flags, "--requirement", wanted], check=True)
    installed.write_text(wanted.read_text())
    return python


def ask_peer(environment: str, script: str, *arguments: str) -> dict[str, Any]:
    """What a script of `benchmarks/peers` prints, run in an environment."""
    return _ask([str(interpreter(environment)), str(SCRIPTS / f"{script}.py"), *arguments])


def ask_own(*arguments: str) -> dict[str, Any]:
    """What a command of `benchmarks.simulation_own` prints."""
    return _ask([sys.executable, "-m", "benchmarks.simulation_own", *arguments])


def _ask(command: list[str]) -> dict[str, Any]:
    environment = os.environ | ONE_THREAD | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=ENVIRONMENTS.parent)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])
