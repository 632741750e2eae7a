"""Whole runs: every shipped molecule as recommended, and many runs at once on the warm pool."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.simulation_peers import ask_own

N2 = {"ansatz_reps": 2, "certify_max_qubits": 20}
CO2 = {"active_space": {"electrons": 8, "orbitals": 8}}

RECOMMENDED: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ("H2", "HeH+", "LiH", "BeH2", "H2O", "NH3")),
    ("N2", N2),
    ("CO2", CO2),
    *((name, {"basis": "6-31g"}) for name in ("H2", "HeH+", "LiH")),
]
"""Molecule and options; UCCSD from Hartree-Fock by L-BFGS-B where nothing else is said."""

PARALLEL_RUNS = 8


def recommended_runs() -> list[dict[str, Any]]:
    """Each run in a process of its own; printed as they end."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Recommended runs; CPU seconds of the run, imports included")
    for heading in ("molecule", "options", "qubits", "error mHa", "against", "evaluations", "CPU s", "certified"):
        table.add_column(heading, justify="left" if heading in ("molecule", "options", "against") else "right")
    runs = []
    for name, options in RECOMMENDED:
        done = ask_own("run", name, json.dumps(options)) | {"options": options}
        runs.append(done)
        print(f"{name} {json.dumps(options)}: {done['error_mha']:.4f} mHa, {done['cpu']:.2f} s CPU", flush=True)
        table.add_row(
            name,
            " ".join(f"{key}={_short(value)}" for key, value in options.items()),
            str(done["qubits"]),
            f"{done['error_mha']:.4f}",
            str(done["reference"]),
            str(done["evaluations"]),
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
