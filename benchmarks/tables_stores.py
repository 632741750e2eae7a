"""The sides of benchmarks.tables, and a store that one of them works on: raw objects, tables, processes."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers.timing import ONE_THREAD
from benchmarks.process_tree import ProcessTree
from benchmarks.tables_worker import MOLECULE

_ROOT = Path(__file__).parent.parent
_PEERS = Path(__file__).parent / "peers"
_PREFIX = f"experiments/experiment.vqe/molecule={MOLECULE}/year=2026/month=11/day=21"
_SPARK_MEMORY = "2g"
"""Heap of every side's Spark."""
_END = 60.0
"""Seconds that a process has to end."""


@dataclass(frozen=True)
class Way:
    """One side: the command of its process, and whether it can stay for more than one run."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    stays: bool = False
    """Ours: it keeps its own home; else a peer on spark-defaults.conf and a Hadoop catalog."""


EMBEDDED = Way("embedded", ("-m", "benchmarks.tables_worker"), stays=True)
SPARK = Way(
    "spark",
    ("-m", "benchmarks.tables_worker"),
    {"QPIPE_ENGINE": "spark", "QPIPE_SPARK_DRIVER_MEMORY": _SPARK_MEMORY},
    stays=True,
)
BASELINE = Way("baseline", (str(_PEERS / "spark_baseline.py"), str(_ROOT / "qpipe_assets" / "tables")))


def reference(folder: Path) -> Way:
    """The reference's scripts.

    Raises:
        SystemExit: they are not in the folder.
    """
    scripts = ("quantum_incremental_processing.py", "quantum_ml_feature_processing.py")
    parts = [*(f"scripts/{name}" for name in scripts), "common/pipeline_config.py", "common/spark_factory.py"]
    missing = [part for part in parts if not (folder / part).is_file()]
    if missing:
        raise SystemExit(
            f"--reference {folder}: {', '.join(missing)} is not there; give the folder docker/airflow of a checkout of "
            "quantum-pipeline, the repository whose scripts these are"
        )
    return Way("reference", (str(_PEERS / "spark_scripts.py"), str(folder.absolute())))


@dataclass(frozen=True)
class Shape:
    """What a run is made of."""

    evaluations: int
    parameters: int
    terms: int

    @property
    def rows(self) -> int:
        """In the nine tables and the ML tables."""
        of_iterations = self.evaluations * (self.parameters + 2)
        return 4 + 2 * self.parameters + of_iterations + self.terms + 1


@dataclass(frozen=True)
class Figures:
    """What one run used. `start` is what a process needs before it can begin: imports, and a JVM where there is one."""

    start: float
    work: float
    start_cpu: float
    work_cpu: float
    peak_mb: float

    @property
    def wall(self) -> float:
        """Seconds, with the start."""
        return self.start + self.work

    @property
    def cpu(self) -> float:
        """CPU seconds, with the start."""
        return self.start_cpu + self.work_cpu


class RawRuns:
    """Runs as JSON objects, made once and linked into every store."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        self.shape = shape
        self._folder = folder
        folder.mkdir()

    def link(self, number: int, folder: Path) -> None:
        """Put a run into a folder."""
        from tests.synthetic import plain_record

        file = self._folder / f"run{number:06d}.json"
        if not file.exists():
            record = plain_record(number, MOLECULE, **asdict(self.shape))
            # The reference's scripts ask for these, and their own writer gives them.
            record["performance_start"] = record["performance_end"] = None
            record["vqe_result"]["initial_data"]["exact_estimator"] = False
            file.write_text(json.dumps(record))
        os.link(file, folder / file.name)


class _Worker:
    """A process that runs once whenever it is asked."""

    def __init__(self, way: Way, environment: dict[str, str], log: Path) -> None:
        self._way = way
        self._log = log
        began = time.perf_counter()
        with log.open("a") as errors:
            self._process = subprocess.Popen(
                [sys.executable, *way.command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
                cwd=_ROOT,
            )
        self._tree = ProcessTree(self._process.pid)
        self._answer()
        self._start = time.perf_counter() - began
        self._start_cpu = self._tree.cpu_seconds()

    def run(self) -> tuple[Figures, dict[str, Any]]:
        assert self._process.stdin
        began, used = time.perf_counter(), self._tree.cpu_seconds()
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        answer = self._answer()
        wall, cpu = time.perf_counter() - began, self._tree.cpu_seconds() - used
        figures = Figures(self._start, wall, self._start_cpu, cpu, self._tree.peak_mb())
        self._start = self._start_cpu = 0.0
        return figures, answer

    def close(self) -> None:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._tree.close(_END)
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            told = "\n".join(self._log.read_text().splitlines()[-30:])
            raise RuntimeError(f"{self._way.name} ended with code {code}:\n{told}")
        return json.loads(line)


class Store:
    """A home of its own for one way."""

    def __init__(self, home: Path, way: Way, runs: RawRuns) -> None:
        self.way = way
        self.home = home
        self._runs = runs
        self._count = 0
        self._rows = 0
        self._stayed: _Worker | None = None
        self._raw = home / "raw-results"
        (self._raw / _PREFIX).mkdir(parents=True)
        self._environment = _plain_environment() | ONE_THREAD | way.environment
        self._environment |= {"QPIPE_HOME": str(home)} if way.stays else self._peer_settings()

    def add(self, count: int) -> None:
        """Give it new runs as raw objects."""
        for number in range(self._count, self._count + count):
            self._runs.link(number, self._raw / _PREFIX)
        self._count += count

    def run(self) -> Figures:
        """Process what is new in a process of its own."""
        worker = self._worker()
        try:
            return self._told(*worker.run())
        finally:
            worker.close()

    def run_resident(self) -> Figures:
        """Process what is new in a process that stays; the first time starts it."""
        if self._stayed is None:
            self._stayed = self._worker()
        return self._told(*self._stayed.run())

    def check(self) -> None:
        """See that the tables have every row of every run once.

        Raises:
            RuntimeError: they do not.
        """
        found = self._rows if self.way.stays else _rows_of_hadoop_tables(self.home / "warehouse")
        expected = self._count * self._runs.shape.rows
        if found != expected:
            raise RuntimeError(f"{self.way.name}: {found} rows of {self._count} runs, expected {expected}")

    def close(self) -> None:
        """End the process that stays."""
        if self._stayed is not None:
            self._stayed.close()
            self._stayed = None

    def footprint(self) -> dict[str, float]:
        """What the tables of one of our ways are made of."""
        warehouse = self.home / "features" / "warehouse"
        data = [file.stat().st_size for file in warehouse.rglob("*.parquet")]
        metadata = [file.stat().st_size for file in warehouse.rglob("metadata/*")]
        with contextlib.closing(sqlite3.connect(self.home / "catalog.db")) as connection:
            batches, commits = connection.execute(
                "select (select count(*) from qpipe_batches), (select count(*) from qpipe_commits)"
            ).fetchone()
        return {
            **{"batches": batches, "commits": commits, "data files": len(data), "data MiB": sum(data) / 2**20},
            **{"metadata files": len(metadata), "metadata MiB": sum(metadata) / 2**20},
            "catalog and ledger MiB": (self.home / "catalog.db").stat().st_size / 2**20,
        }

    def _worker(self) -> _Worker:
        return _Worker(self.way, self._environment, self.home / "log.txt")

    def _told(self, figures: Figures, answer: dict[str, Any]) -> Figures:
        self._rows += answer.get("rows", 0)
        return figures

    def _peer_settings(self) -> dict[str, str]:
        (self.home / "spark-defaults.conf").write_text(_spark_defaults(self.home / "warehouse"))
        return {
            **{"SPARK_CONF_DIR": str(self.home), "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable},
            "S3_BUCKET_URL": f"{(self._raw / 'experiments').as_uri()}/",
        }


def _plain_environment() -> dict[str, str]:
    """This process's, without the settings of an installation."""
    kept = ("QPIPE_SPARK_JARS", "SPARK_HOME")
    return {
        name: value for name, value in os.environ.items() if name in kept or not name.startswith(("QPIPE_", "SPARK_"))
    }


def _spark_defaults(warehouse: Path) -> str:
    """The reference's own options, on this machine: a local master and a folder instead of a cluster and a bucket."""
    from qpipe_resources.spark.jars import require
    from qpipe_resources.spark.settings import load_spark_settings

    catalog = "spark.sql.catalog.quantum_catalog"
    options = {
        "spark.master": "local[*]",
        "spark.driver.memory": _SPARK_MEMORY,
        "spark.driver.extraClassPath": ":".join(map(str, require(load_spark_settings()))),
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
        "spark.sql.adaptive.enabled": "true",
        "spark.sql.shuffle.partitions": "8",
        "spark.sql.session.timeZone": "UTC",
        # Their anti-join puts the key first, and one version of the scripts does not tell Iceberg that it may.
        "spark.sql.iceberg.check-ordering": "false",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        catalog: "org.apache.iceberg.spark.SparkCatalog",
        f"{catalog}.type": "hadoop",
        f"{catalog}.warehouse": warehouse.as_uri(),
    }
    return "".join(f"{name} {value}\n" for name, value in options.items())


def _rows_of_hadoop_tables(warehouse: Path) -> int:
    """Rows of all tables but the audit's, from their metadata."""
    rows = 0
    for hint in warehouse.glob("*/*/metadata/version-hint.text"):
        if hint.parent.parent.name != "processing_metadata":
            metadata = json.loads((hint.parent / f"v{hint.read_text().strip()}.metadata.json").read_text())
            current = metadata["current-snapshot-id"]
            summary = next(one["summary"] for one in metadata["snapshots"] if one["snapshot-id"] == current)
            rows += int(summary["total-records"])
    return rows
