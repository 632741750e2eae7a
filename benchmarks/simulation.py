"""How fast the simulation is, side by side with its peers in one run, after both sides are seen to agree.

CPU seconds with one thread, medians, every measurement in a process of its own and the peers in environments of their
own (see `simulation_peers`), which the first run installs under .bench (3.5 GB, some minutes). The whole takes about
ten minutes; a section alone is quicker.

    python -m benchmarks.simulation [--only gradient,ucc,mapping,cold,recommended,parallel] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.simulation_campaign import parallel_runs, recommended_runs
from benchmarks.simulation_peers import ask_own, ask_peer

COLD = ("H2", "HeH+", "LiH", "BeH2", "H2O", "NH3")
COLD_REPEATS = 3
FINITE_DIFFERENCE_REPEATS = 3
UCC_GOALS = {"LiH": 50.0, "BeH2": 50.0, "H2O": 50.0, "NH3": 20.0}
MAPPED = ("LiH", "H2O", "NH3", "N2")

EXACT = 1e-9
DIFFERENCED = 1e-4
"""Allowed disagreement of gradients (Hartree per radian); forward differences over 1e-8 radian lose half the digits."""

DROPPED = 1e-6
"""Allowed disagreement of coefficients (Hartree): qiskit-nature leaves out integrals below 1e-8, and many add up."""


@dataclass(frozen=True)
class Comparison:
    """One line of the table: CPU seconds of one call on either side, medians of so many samples."""

    what: str
    own_cpu: float
    own_samples: int
    peer: str
    peer_cpu: float
    peer_samples: int
    goal: float | None = None

    @property
    def ratio(self) -> float:
        """How many times the peer's CPU seconds are ours."""
        return self.peer_cpu / self.own_cpu

    @property
    def verdict(self) -> str:
        """Whether the goal was reached; a dash where none was set."""
        return "-" if self.goal is None else "reached" if self.ratio >= self.goal else "missed"


class DisagreementError(RuntimeError):
    """The two sides do not compute the same thing, so their times say nothing."""


def compared(what: str, own: dict[str, Any], peer: str, other: dict[str, Any], goal: float | None = None) -> Comparison:
    """A line of the table, told as it is known."""
    line = Comparison(what, own["cpu"], own["n"], peer, other["cpu"], other["n"], goal)
    aim = "" if goal is None else f", goal {goal:g}: {line.verdict}"
    print(f"{what}: {line.own_cpu:.3g} s against {line.peer_cpu:.3g} s ({peer}), {line.ratio:,.0f}x{aim}", flush=True)
    return line


def check_agreement(what: str, own: dict[str, Any], other: dict[str, Any], tolerance: float = EXACT) -> None:
    """Energies and gradients of both sides.

    Raises:
        DisagreementError: they differ.
    """
    energy = abs(own["energy"] - other["energy"])
    slope = max(abs(a - b) for a, b in zip(own["gradient"], other["gradient"], strict=True))
    print(f"  {what} agrees: energy to {energy:.1e} Ha, gradient to {slope:.1e} Ha/rad", flush=True)
    if not (energy <= EXACT and slope <= tolerance):
        raise DisagreementError(f"{what}: energies differ by {energy} Ha, gradients by {slope} Ha/rad")


def check_terms(what: str, own: dict[str, float], other: dict[str, float]) -> None:
    """The coefficients of both Hamiltonians.

    Raises:
        DisagreementError: they differ.
    """
    difference = max(abs(own.get(label, 0.0) - other.get(label, 0.0)) for label in own.keys() | other.keys())
    print(f"  {what} agrees: {len(own)} terms, coefficients to {difference:.1e} Ha", flush=True)
    if not difference <= DROPPED:
        raise DisagreementError(f"{what}: coefficients differ by {difference} Ha")


def gradient(folder: Path) -> list[Comparison]:
    """The whole gradient of LiH's EfficientSU2 with 3 repetitions: 12 qubits, 96 parameters."""
    given = str(folder / "LiH.npz")
    ask_own("problem", "LiH", given)
    own = ask_own("circuit", "LiH", given)
    lines = []
    for peer, environment, script, goal in (
        ("PennyLane lightning.qubit adjoint", "lightning", "lightning_adjoint", 5.0),
        ("quantum-pipeline 2.5.1, exact path", "quantum_pipeline_2_5", "reverse_gradient", None),
    ):
        other = ask_peer(environment, script, given)
        check_agreement(peer, own, other)
        lines.append(compared("gradient LiH EfficientSU2 r=3", own, peer, other, goal))
    slow = finite_differences(folder)
    check_agreement("quantum-pipeline 2.1.0", own, slow, DIFFERENCED)
    peer = f"quantum-pipeline 2.1.0, {slow['energies']} energies"
    return [*lines, compared("gradient LiH EfficientSU2 r=3", own, peer, slow, 3000.0)]


def finite_differences(folder: Path) -> dict[str, Any]:
    """One LiH gradient as quantum-pipeline 2.1.0 gets it; measured once a run of the benchmark."""
    result, given = folder / "finite_differences.json", folder / "LiH.npz"
    if not result.exists():
        if not given.exists():
            ask_own("problem", "LiH", str(given))
        answer = ask_peer("quantum_pipeline_2_1", "finite_differences", str(given), str(FINITE_DIFFERENCE_REPEATS))
        result.write_text(json.dumps(answer))
    return json.loads(result.read_text())


def ucc(folder: Path) -> list[Comparison]:
    """Energy and gradient of UCCSD, the same excitations in the same order, against both backends of TenCirChem."""
    lines = []
    for name, goal in UCC_GOALS.items():
        given = str(folder / f"{name}.npz")
        size = ask_own("problem", name, given)
        own = ask_own("ucc", name, given)
        what = f"UCCSD E+gradient {name}, {size['excitations']} exc., {size['parameters']} par."
        for backend in ("numpy", "jax"):
            other = ask_peer("tencirchem", "civector", given, backend)
            check_agreement(f"TenCirChem {name} ({backend})", own, other)
            lines.append(compared(what, own, f"TenCirChem-ng civector, {backend}", other, goal))
    return lines


def mapping(folder: Path) -> list[Comparison]:
    """Jordan-Wigner: ours from integrals, qiskit-nature's from the fermionic operator."""
    lines = []
    for name in MAPPED:
        given = str(folder / f"{name}.npz")
        ask_own("problem", name, given)
        own = ask_own("mapping", name, given)
        other = ask_peer("quantum_pipeline_2_1", "nature_mapping", given)
        check_terms(f"mapping of {name}", own["terms"], other["terms"])
        lines.append(compared(f"Jordan-Wigner {name}", own, "qiskit-nature JordanWignerMapper", other, 100.0))
    return lines


def cold(folder: Path) -> list[Comparison]:
    """Six molecules from a cold process to certified energies, against one gradient of quantum-pipeline's.

    Cold but for what a first run leaves behind: Python's byte code and numba's compiled kernels.
    """
    ask_own("cold", COLD[0])
    samples = []
    for _ in range(COLD_REPEATS):
        before = _children_cpu()
        runs = ask_own("cold", ",".join(COLD))["runs"]
        samples.append(_children_cpu() - before)
    for run in runs:
        if not (run["certified"] and run["valid"] and abs(run["error_mha"]) <= 1.6):
            raise DisagreementError(f"{run['molecule']} is not certified within 1.6 mHa: {run}")
    worst = max(abs(run["error_mha"]) for run in runs)
    print(f"  {len(runs)} molecules certified by Aer, worst error {worst:.3f} mHa", flush=True)
    own = {"cpu": statistics.median(samples), "n": COLD_REPEATS}
    peer = "quantum-pipeline 2.1.0, ONE LiH gradient"
    return [compared(f"cold process, {', '.join(COLD)}", own, peer, finite_differences(folder), 1.0)]


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


COMPARISONS = {"gradient": gradient, "ucc": ucc, "mapping": mapping, "cold": cold}
CAMPAIGNS = {"recommended": recommended_runs, "parallel": parallel_runs}


def print_comparisons(lines: list[Comparison]) -> None:
    """The table of all lines."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="CPU seconds with one thread, medians (number of samples)")
    for heading in ("what", "qpipe", "peer", "peer's", "ratio", "goal", ""):
        table.add_column(heading, justify="left" if heading in ("what", "peer", "") else "right")
    for line in lines:
        table.add_row(
            line.what,
            f"{line.own_cpu:.3g} ({line.own_samples})",
            line.peer,
            f"{line.peer_cpu:.3g} ({line.peer_samples})",
            f"{line.ratio:,.1f}",
            "" if line.goal is None else f"{line.goal:,.0f}",
            line.verdict,
        )
    Console(width=160).print(table)


def main() -> None:
    """Run the sections asked for and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sections = [*COMPARISONS, *CAMPAIGNS]
    parser.add_argument("--only", default=",".join(sections), help="sections, comma separated")
    parser.add_argument("--json", type=Path, help="write every figure into this file")
    arguments = parser.parse_args()
    asked = arguments.only.split(",")
    if unknown := [name for name in asked if name not in sections]:
        parser.error(f"unknown sections {unknown}, expected some of {sections}")
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    lines: list[Comparison] = []
    campaigns: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="qpipe-bench-") as folder:
        for name in asked:
            if name in COMPARISONS:
                lines += COMPARISONS[name](Path(folder))
            else:
                campaigns[name] = CAMPAIGNS[name]()
    if lines:
        print_comparisons(lines)
    if arguments.json:
        figures = [asdict(line) | {"ratio": line.ratio, "verdict": line.verdict} for line in lines]
        arguments.json.write_text(json.dumps({"comparisons": figures, **campaigns}, indent=1))


if __name__ == "__main__":
    main()
