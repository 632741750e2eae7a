"""SIGKILL at random moments, of the driver and of a standalone cluster's workers: no row is lost, none is there twice.

QPIPE_SPARK_TRIALS is how many moments each test tries; one by default, thirty and more for a thorough run.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.settings import Settings
from qpipe_resources.spark.session import SparkDriver, open_spark
from qpipe_resources.spark.settings import SparkSettings
from tests.spark.engines import assert_close, on_spark
from tests.spark.standalone import PATIENCE, Cluster, standalone
from tests.tables.protocol import assert_at_rest, content, h2, land, settings_in, undisturbed

pytestmark = pytest.mark.spark

TRIALS = int(os.environ.get("QPIPE_SPARK_TRIALS", "1"))
FIRST_SEED = int(os.environ.get("QPIPE_SPARK_FIRST_SEED", "100"))
LIMIT = 600 + 120 * TRIALS
"""Seconds for a test, with what it waits for at the start."""
ROOT = Path(__file__).parents[2]
SPAN = 14.0
"""Seconds after the opening of a session within which a driver is killed: about as long as a first batch takes."""


@pytest.mark.timeout(LIMIT)
def test_what_a_killed_driver_left_is_finished_by_the_embedded_engine(tmp_path: Path) -> None:
    hits = 0
    for seed in range(FIRST_SEED, FIRST_SEED + TRIALS):
        chance, folder = random.Random(seed), tmp_path / str(seed)
        folder.mkdir()
        settings = settings_in(folder, batch_bytes=chance.choice([1, 4000, 10**7]))
        installation = open_installation(settings)
        land(installation, range(6))
        hits += _killed_driver(settings, chance, folder / "log")
        land(installation, [chance.randrange(6)], name="redelivered")
        land(installation, [6])
        installation.ingest().run("H2")
        installation.ml_features().run("H2")
        expected = undisturbed(h2(*range(7)), ml=True)
        assert_close(content(installation, expected), expected, f"seed {seed}")
        assert_at_rest(installation)
    assert hits >= TRIALS // 2, f"only {hits} of {TRIALS} kills hit a driver at work"


def _killed_driver(settings: Settings, chance: random.Random, log: Path) -> bool:
    """Let a driver work and kill it; returns whether it was still at work."""
    environment = {
        "QPIPE_HOME": str(settings.home),
        "DAGSTER_HOME": str(settings.dagster_home),
        "QPIPE_ENGINE": "spark",
        "QPIPE_BATCH_BYTES": str(settings.batch_bytes),
        "QPIPE_SPARK_BATCH_BYTES": str(chance.choice([1, 10**9, 10**9])),
        "QPIPE_SPARK_MASTER": "local[2]",
        "QPIPE_SPARK_DRIVER_MEMORY": "700m",
        "QPIPE_SPARK_SHUFFLE_PARTITIONS": "2",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "tests.spark.engine_worker", "H2"]
    with log.open("w") as errors:
        driver = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **environment}
        )
    with driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "open\n", log.read_text()
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(chance.uniform(0, SPAN))
        at_work = driver.poll() is None
        driver.kill()
    return at_work


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with standalone(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return open_installation(settings_in(tmp_path_factory.mktemp("on a cluster"), batch_bytes=1))


@pytest.fixture(scope="module")
def driver(cluster: Cluster, home: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkDriver]:
    spark = SparkSettings(
        master=cluster.master, driver_memory="700m", executor_memory="512m", executor_cores=1, shuffle_partitions=4
    )
    with contextlib.chdir(tmp_path_factory.mktemp("driver")):
        driver = open_spark(home.settings, spark, schemas.NAMESPACE)
    yield driver
    driver.close()


@pytest.mark.timeout(LIMIT)
def test_a_cluster_that_loses_workers_at_random_moments_makes_the_same_tables(
    cluster: Cluster, home: Installation, driver: SparkDriver
) -> None:
    installation = on_spark(home, driver)
    span, hits = _batch(installation, range(6)), 0
    for trial in range(1, TRIALS + 1):
        chance, numbers = random.Random(FIRST_SEED + trial), range(6 * trial, 6 * trial + 6)
        _until_executors(driver, 2)
        kill = chance.choice([cluster.kill_worker, cluster.kill_executors])
        # A batch is faster from time to time, as the JVM compiles itself.
        moment, number = chance.uniform(0, min(span, 8.0)), chance.randrange(2)
        killer = threading.Timer(moment, kill, [number])
        killer.start()
        hits += _batch(installation, numbers) > moment
        killer.join()
        if cluster.workers < 2:
            cluster.start_worker()
        seen = {row["seed"] for row in home.lakehouse.arrow("vqe_results").to_pylist()}
        assert seen == set(range(numbers.stop)), f"seed {FIRST_SEED + trial}"
        assert_at_rest(home)
    expected = undisturbed(h2(*range(6 * TRIALS + 6)), ml=True)
    assert_close(content(home, expected), expected)
    assert hits >= TRIALS // 2, f"only {hits} of {TRIALS} kills hit a cluster at work"


def _batch(installation: Installation, numbers: range) -> float:
    """Bring these records into all tables; returns the seconds it took."""
    land(installation, numbers)
    started = time.monotonic()
    installation.ingest().run("H2")
    installation.ml_features().run("H2")
    return time.monotonic() - started


def _until_executors(driver: SparkDriver, count: int) -> None:
    """Wait until so many executors have registered; the driver is in the list too."""
    context = driver.session.sparkContext._jsc.sc()
    deadline = time.monotonic() + PATIENCE
    while context.getExecutorMemoryStatus().size() < count + 1:
        assert time.monotonic() < deadline, "executors do not come back"
        time.sleep(0.2)
