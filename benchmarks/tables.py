"""What the tables cost: our two engines, the reference's own Spark scripts, and a plain PySpark program, in one run.

    reference   quantum-pipeline's two scripts, unchanged; only their spark-defaults.conf is of this machine (local
                master, a folder instead of a bucket). Not part of this project: --reference names the folder
                docker/airflow of a checkout (scripts/ and common/ in it); without it `baseline` is what ratios are to
    baseline    read.json, explode, anti-join, append, the same ML SQL: no tags, no ledger, no guard against a kill
    embedded    ours, without a JVM
    spark       ours, computed by Spark (local[*]); needs `make jars`, as the two above do

Synthetic runs have 300 evaluations of 48 parameters and 600 Hamiltonian terms (15,701 rows in eleven tables), as LiH
with a hardware-efficient circuit; --shape 100,16,15 is such a run of H2 (1,852 rows). Every run of a way is a process
of its own, from its start (imports, JVM) to the last commit; "resident" is one that was started before. Wall, CPU and
memory are those of the whole tree of processes, the JVM in it. Rounds are interleaved, medians count, and the rows of
every store are counted.

    python -m benchmarks.tables --reference DIR [--rounds 3] [--only embedded,baseline] [--crossover] [--quick]

The whole takes about an hour, --crossover another; --quick (10 runs once, increments of the embedded engine) less than
three minutes.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.tables_stores import BASELINE, EMBEDDED, SPARK, Figures, RawRuns, Shape, Store, Way, reference

Samples = dict[str, list[Figures]]

RESIDENT = " resident"
MANY = 1_000_000
"""Runs that the slopes are extended to."""


@dataclass
class Bench:
    """The ways that are compared, where they work, and what became of the goals."""

    ways: list[Way]
    folder: Path
    rounds: int
    shape: Shape
    runs: RawRuns = field(init=False)
    verdicts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runs = RawRuns(self.folder / "raw", self.shape)

    @property
    def peer(self) -> str:
        """What ratios are to."""
        names = [way.name for way in self.ways]
        return next((name for name in ("reference", "baseline") if name in names), names[0])

    def store(self, way: Way, count: int) -> Store:
        """A new store with runs that are not processed yet."""
        store = Store(Path(tempfile.mkdtemp(prefix=f"{way.name}-", dir=self.folder)), way, self.runs)
        store.add(count)
        return store

    def judge(self, what: str, value: float, goal: float, *, at_least: bool) -> None:
        """Keep whether a goal is met."""
        met = value >= goal if at_least else value <= goal
        sign = ">=" if at_least else "<="
        self.verdicts.append(f"{what}: {value:.2f} (goal {sign} {goal:g}) {'met' if met else 'MISSED'}")


def fresh(bench: Bench, runs: int) -> Samples:
    """All at once into empty tables."""
    samples: Samples = {way.name: [] for way in bench.ways}
    for number in range(bench.rounds):
        for way in _turned(bench.ways, number):
            store = bench.store(way, runs)
            samples[way.name].append(store.run())
            _remove(store)
            _progress(f"{way.name}: {runs} runs fresh, round {number + 1}")
    return samples


def one_more(bench: Bench, ways: Sequence[Way], runs: int) -> Samples:
    """One new run on a store of so many, in a new process, and where a process can stay in one that did."""
    stores = [bench.store(way, runs) for way in ways]
    samples: Samples = {}
    for store in stores:
        samples[store.way.name] = []
        store.run()
        if store.way.stays:
            samples[store.way.name + RESIDENT] = []
            store.add(1)
            store.run_resident()
        _progress(f"{store.way.name}: loaded {runs} runs")
    for number in range(bench.rounds):
        for store in _turned(stores, number):
            name = store.way.name
            store.add(1)
            samples[name].append(store.run())
            if store.way.stays:
                store.add(1)
                samples[name + RESIDENT].append(store.run_resident())
            _progress(f"{name}: one more on {runs} runs, round {number + 1}")
    for store in stores:
        _remove(store)
    return samples


def appends(bench: Bench, count: int) -> list[Figures]:
    """Runs that come one at a time into empty tables, in a process that stays."""
    store, figures = bench.store(EMBEDDED, 1), []
    store.run_resident()
    for _ in range(count):
        store.add(1)
        figures.append(store.run_resident())
    _remove(store)
    return figures


def report(bench: Bench, title: str, samples: Samples) -> None:
    """Print the medians and their ratios to the peer; "work" leaves the start of both out."""
    against = bench.peer if bench.peer in samples else next(iter(samples))
    print(f"\n{title}; medians of {bench.rounds}; ratios are {against}'s figure by this one's")
    print(
        f"{'':20}{'wall [s]':>10}{'(least-most)':>16}{'start [s]':>11}{'CPU [s]':>9}{'peak [MB]':>11}"
        f"{'wall':>9}{'work':>9}{'CPU':>9}{'peak':>7}"
    )
    for name, taken in samples.items():
        walls = [figures.wall for figures in taken]
        ratios = [median(samples[against], what) / median(taken, what) for what in ("wall", "work", "cpu", "peak_mb")]
        print(
            f"{name:20}{median(taken, 'wall'):10.2f}{f'({min(walls):.2f}-{max(walls):.2f})':>16}"
            f"{median(taken, 'start'):11.2f}{median(taken, 'cpu'):9.2f}{median(taken, 'peak_mb'):11.0f}"
            f"{ratios[0]:9.1f}{ratios[1]:9.1f}{ratios[2]:9.1f}{ratios[3]:7.1f}",
            flush=True,
        )


def report_appends(bench: Bench, figures: list[Figures]) -> None:
    """Print how the cost of an append grows."""
    tenth = max(1, len(figures) // 10)
    print(f"\n{len(figures)} single appends, embedded, resident: median of the first {tenth}, of the last, their ratio")
    for what in ("wall", "cpu"):
        first, last = median(figures[:tenth], what), median(figures[-tenth:], what)
        slope = np.polyfit(range(len(figures)), [getattr(one, what) for one in figures], 1)[0]
        print(
            f"{what:5}{first:8.3f} s{last:8.3f} s{last / first:8.2f}   slope {slope * 1e6:+.0f} us an append",
            flush=True,
        )
        bench.judge(f"{len(figures)} appends, {what}, last tenth to first", last / first, 1.2, at_least=False)


def crossover(bench: Bench, sizes: Sequence[int]) -> None:
    """Our engines over growing stores: where they meet, and what their slopes say of a million runs."""
    measured: dict[str, list[dict[str, float]]] = {way.name: [] for way in (EMBEDDED, SPARK)}
    print(f"\n{'':10}{'runs':>7}{'wall [s]':>10}{'start [s]':>11}{'CPU [s]':>9}{'peak [MB]':>11}  tables")
    for size in sizes:
        for way in (EMBEDDED, SPARK):
            store = bench.store(way, size)
            one = store.run()
            parts = store.footprint()
            _remove(store)
            told = ", ".join(f"{value:.0f} {what}" for what, value in parts.items())
            print(
                f"{way.name:10}{size:7}{one.wall:10.2f}{one.start:11.2f}{one.cpu:9.2f}{one.peak_mb:11.0f}  {told}",
                flush=True,
            )
            costs = {"wall [s]": one.wall, "CPU [s]": one.cpu, "peak [MB]": one.peak_mb}
            measured[way.name].append(costs | parts)
    _meeting_point(sizes, measured)
    for name, taken in measured.items():
        print(f"\n{name}: base + slope * 1,000 runs, and so for {MANY:,} runs of one molecule, all at once")
        for what in taken[0]:
            base, slope = _line(sizes, [one[what] for one in taken])
            print(f"  {what:24}{base:12.1f} +{1000 * slope:12.2f}{base + slope * MANY:16,.0f}")


def _meeting_point(sizes: Sequence[int], measured: dict[str, list[dict[str, float]]]) -> None:
    lines = {name: _line(sizes, [one["wall [s]"] for one in taken]) for name, taken in measured.items()}
    (base, slope), (spark_base, spark_slope) = lines["embedded"], lines["spark"]
    if slope > spark_slope:
        runs = max(0.0, (spark_base - base) / (slope - spark_slope))
        print(f"\nlines of wall time meet at {runs:,.0f} runs: below it embedded is faster, above it spark")
    else:
        print("\nlines of wall time do not meet: a further run costs spark no less than embedded")


def _line(sizes: Sequence[int], values: list[float]) -> tuple[float, float]:
    """Base and slope of the least-squares line."""
    slope, base = np.polyfit(sizes, values, 1)
    return float(base), float(slope)


def median(figures: Iterable[Figures], what: str) -> float:
    """The median of one figure."""
    return statistics.median(getattr(one, what) for one in figures)


def _turned(items: Sequence, by: int) -> list:
    turn = by % len(items)
    return [*items[turn:], *items[:turn]]


def _remove(store: Store) -> None:
    store.close()
    store.check()
    shutil.rmtree(store.home)


def _progress(text: str) -> None:
    print(f"  ... {text}", file=sys.stderr, flush=True)


def judge_increments(bench: Bench, small: int, large: int, samples: dict[int, Samples]) -> None:
    """The goals of one new run."""
    resident = EMBEDDED.name + RESIDENT
    if bench.peer != EMBEDDED.name and bench.peer in samples[large]:
        ratio = median(samples[large][bench.peer], "wall") / median(samples[large][resident], "wall")
        bench.judge(f"one new run on {large}: {bench.peer} by embedded resident", ratio, 100, at_least=True)
    for what in ("wall", "cpu"):
        ratio = median(samples[large][resident], what) / median(samples[small][resident], what)
        bench.judge(f"one new run, {what}, on {large} to on {small}", ratio, 1.2, at_least=False)


def judge_fresh(bench: Bench, runs: int, samples: Samples) -> None:
    """The goals of a load."""
    for what, goal in (("wall", 15), ("cpu", 15), ("peak_mb", 4)):
        ratio = median(samples[bench.peer], what) / median(samples[EMBEDDED.name], what)
        bench.judge(f"{runs} runs fresh, {what}: {bench.peer} by embedded", ratio, goal, at_least=True)


def run_all(bench: Bench, asked: argparse.Namespace) -> None:
    """Every case."""
    for runs in [10] if asked.quick else asked.fresh:
        samples = fresh(bench, runs)
        report(bench, f"{runs} runs into empty tables", samples)
        if bench.peer != EMBEDDED.name:
            judge_fresh(bench, runs, samples)
    small, large = (10, 50) if asked.quick else asked.stores
    grown = {}
    for runs in (small, large):
        grown[runs] = one_more(bench, [EMBEDDED] if asked.quick else bench.ways, runs)
        report(bench, f"one new run on a store of {runs}", grown[runs])
    judge_increments(bench, small, large, grown)
    report_appends(bench, appends(bench, 20 if asked.quick else asked.appends))
    if asked.crossover:
        crossover(bench, asked.sizes)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--reference", type=Path, metavar="DIR", help="docker/airflow of a checkout of quantum-pipeline"
    )
    parser.add_argument("--only", help="ways, comma separated; embedded is always one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fresh", type=_numbers, default=[10, 200], help="runs of a load, comma separated")
    parser.add_argument("--stores", type=_numbers, default=[50, 1000], help="two sizes of a store that gets a run more")
    parser.add_argument("--appends", type=int, default=100, help="single appends in a row")
    parser.add_argument("--crossover", action="store_true", help="spark against embedded over --sizes as well")
    parser.add_argument("--sizes", type=_numbers, default=[200, 500, 1000, 2000, 5000])
    parser.add_argument("--quick", action="store_true", help="10 runs once, and increments of the embedded engine")
    parser.add_argument(
        "--shape", type=_numbers, default=[300, 48, 600], help="evaluations, parameters and Hamiltonian terms of a run"
    )
    parser.add_argument("--folder", type=Path, help="where the stores lie meanwhile (a temporary folder)")
    asked = parser.parse_args(arguments)
    if len(asked.stores) != 2:
        parser.error(f"--stores {asked.stores}: expected two sizes, as in 50,1000")
    if len(asked.shape) != 3:
        parser.error(f"--shape {asked.shape}: expected three numbers, as in 100,16,15")
    ways = ([reference(asked.reference)] if asked.reference else []) + [BASELINE, EMBEDDED, SPARK]
    if asked.only:
        names = {*asked.only.split(","), EMBEDDED.name}
        if unknown := names - {way.name for way in ways}:
            parser.error(f"--only {','.join(sorted(unknown))}: expected some of {','.join(way.name for way in ways)}")
        ways = [way for way in ways if way.name in names]
    if asked.crossover and SPARK not in ways:
        parser.error("--crossover compares spark with embedded: have spark in --only")
    with tempfile.TemporaryDirectory(prefix="qpipe-bench-", dir=asked.folder) as folder:
        bench = Bench(ways, Path(folder), 1 if asked.quick else asked.rounds, Shape(*asked.shape))
        run_all(bench, asked)
    print("\ngoals:", *bench.verdicts, sep="\n  ")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    main()
