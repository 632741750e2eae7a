"""What an ingest costs, and that one more run costs the same on a small and on a large store.

Synthetic runs have 300 evaluations of 48 parameters and 600 Hamiltonian terms. Every figure is taken in a process of
its own: wall and CPU seconds of the ingest (imports apart), peak resident memory of the whole process.

    python -m benchmarks.ingest [--stores 50,1000] [--repeat 5]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SHAPE = {"evaluations": 300, "parameters": 48, "terms": 600}
PREFIX = "experiments/experiment.vqe/molecule=H2/year=2026/month=11/day=21"
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}

CHILD = """
import json, resource, sys, time
from qpipe_assets.tables.installation import open_installation
import duckdb, pyarrow.compute, pyarrow.dataset, pyiceberg.io.pyarrow, pyiceberg.catalog.sql
installation = open_installation()
ingest, ml = installation.ingest(), installation.ml_features()
def usage():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
for line in sys.stdin:
    wall, cpu = time.perf_counter(), usage()
    rows = ingest.run("H2").rows
    nine = time.perf_counter() - wall
    if line.strip() == "ml":
        rows |= ml.run("H2").rows
    print(json.dumps({
        "wall": time.perf_counter() - wall, "nine": nine, "cpu": usage() - cpu, "rows": sum(rows.values()),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }), flush=True)
"""


class Store:
    """A home of its own, and a warm process that ingests it on demand."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self._written = 0
        environment = os.environ | ONE_THREAD | {"QPIPE_HOME": str(home)} | settings
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def add(self, count: int) -> None:
        """Write `count` new runs as raw objects."""
        from tests.synthetic import plain_record

        folder = self.home / "raw-results" / PREFIX
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            text = json.dumps(plain_record(self._written, **SHAPE))  # type: ignore[arg-type]
            (folder / f"run{self._written:05d}.json").write_text(text)
            self._written += 1

    def ingest(self, *, ml: bool = True) -> dict[str, float]:
        """Ingest what is new; seconds, CPU seconds, rows, peak memory so far."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("ml\n" if ml else "nine\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the ingest process ended with code {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End the process and remove the data."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
        shutil.rmtree(self.home, ignore_errors=True)


def load(home: Path, runs: int) -> None:
    """Seconds, CPU and memory of loading `runs` runs at once."""
    store = Store(home)
    store.add(runs)
    figures = store.ingest()
    print(
        f"load {runs:5d} runs: {figures['wall']:7.2f} s wall, {figures['cpu']:7.2f} s CPU, "
        f"{figures['peak_mb']:6.0f} MB peak, {figures['rows']:.0f} rows",
        flush=True,
    )
    store.close()


def one_more(home: Path, runs: int, repeat: int, *, single: bool) -> dict[str, float]:
    """Median cost of one more run on a store of `runs`, loaded in bulk or as single-run batches."""
    store = Store(home)
    if single:
        for number in range(runs):
            store.add(1)
            store.ingest()
            if (number + 1) % 100 == 0:
                print(f"  ... {number + 1} single-run batches", file=sys.stderr, flush=True)
    else:
        store.add(runs)
        store.ingest()
    samples = []
    for _ in range(repeat):
        store.add(1)
        samples.append(store.ingest())
    medians = {key: statistics.median(sample[key] for sample in samples) for key in ("wall", "nine", "cpu")}
    how = "single-run batches" if single else "bulk"
    print(
        f"one more run on {runs:5d} ({how}): {medians['wall']:.3f} s wall, {medians['cpu']:.3f} s CPU "
        f"(nine tables alone {medians['nine']:.3f} s; median of {repeat})",
        flush=True,
    )
    store.close()
    return medians


def main() -> None:
    """Run the whole benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stores", default="50,1000", help="sizes to compare, comma separated")
    parser.add_argument("--repeat", type=int, default=7, help="runs added to each store, one at a time")
    parser.add_argument("--no-single", action="store_true", help="leave out loading by single-run batches")
    arguments = parser.parse_args()
    small, large = (int(size) for size in arguments.stores.split(","))
    with tempfile.TemporaryDirectory(prefix="qpipe-bench-") as folder:
        root = Path(folder)
        for runs in (10, 200):
            load(root / f"load{runs}", runs)
        base = one_more(root / "small", small, arguments.repeat, single=False)
        ways = [("bulk", False)] if arguments.no_single else [("bulk", False), ("single-run batches", True)]
        for name, single in ways:
            grown = one_more(root / f"large-{single}", large, arguments.repeat, single=single)
            ratios = ", ".join(f"{key} {grown[key] / base[key]:.2f}" for key in ("wall", "cpu", "nine"))
            print(f"ratio {large} ({name}) to {small}: {ratios}", flush=True)


if __name__ == "__main__":
    main()
