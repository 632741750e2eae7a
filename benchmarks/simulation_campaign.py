"""Whole runs: every shipped molecule as recommended, and many runs at once on the warm pool."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.simulation_peers import ask_own

MINIMAL_BASIS = ("H2", "HeH+", "LiH", "BeH2", "H2O", "NH3", "N2", "CO2")
SPLIT_VALENCE = ("H2", "HeH+", "LiH")
CERTIFIED_BEYOND = {"N2": {"certify_max_qubits": 20}}
"""Larger than what is certified by default; takes minutes."""

PARALLEL_RUNS = 8


def recommended_runs() -> list[dict[str, Any]]:
    """Every shipped molecule as `simulation.recommended` says, and 6-31G; each run in a process of its own."""
    from rich.console import Console
    from rich.table import Table

    from simulation.recommended import recommended_options

    table = Table(title="Recommended runs; CPU seconds: imports, SCF, FCI and Aer's certificate too")
    left = ("molecule", "options", "against")
    numbers = ("qubits", "error mHa", "evaluations", "VQE s", "CPU s", "certified")
    for heading in (*left, *numbers):
        table.add_column(heading, justify="left" if heading in left else "right")
    asked = [(name, recommended_options(name) | CERTIFIED_BEYOND.get(name, {})) for name in MINIMAL_BASIS]
    asked += [(name, {"basis": "6-31g"}) for name in SPLIT_VALENCE]
    runs = []
    for name, options in asked:
        done = ask_own("run", name, json.dumps(options)) | {"options": options}
        runs.append(done)
        print(f"{name} {json.dumps(options)}: {done['error_mha']:.4f} mHa, {done['cpu']:.2f} s CPU", flush=True)
        table.add_row(
            name,
            " ".join(f"{key}={_short(value)}" for key, value in options.items()),
            str(done["reference"]),
            str(done["qubits"]),
            f"{done['error_mha']:.4f}",
            str(done["evaluations"]),
            f"{done['vqe_seconds']:.2f}",
            f"{done['cpu']:.2f}",
            "yes" if done["certified"] else "no",
        )
    Console(width=160).print(table)
    return runs


def parallel_runs() -> dict[str, float]:
    """Wall seconds of `PARALLEL_RUNS` runs by one worker with two threads, and by two workers with one."""
    walls = {}
    for workers, threads in ((1, 2), (2, 1)):
        name = f"{workers} worker(s) x {threads} thread(s)"
        walls[name] = ask_own("parallel", str(workers), str(threads), str(PARALLEL_RUNS))["wall"]
        print(f"{PARALLEL_RUNS} runs of LiH EfficientSU2, {name}: {walls[name]:.2f} s wall", flush=True)
    return walls


def _short(value: Any) -> str:
    return ",".join(map(str, value.values())) if isinstance(value, dict) else str(value)
