"""VQE runs on a cluster that loses an executor: all land, each once, and what had landed is not computed again."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest

from qpipe_assets.spark_runs import Landed, SparkRuns
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import open_installation
from qpipe_resources.simulation_task import SimulationTask
from qpipe_resources.simulation_workers import Failed
from qpipe_resources.spark.session import open_spark
from qpipe_resources.spark.settings import SparkSettings
from simulation.molecules import catalogue
from simulation.options import VQEOptions
from tests.spark.engines import OpenSession
from tests.spark.standalone import standalone
from tests.tables.protocol import settings_in

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]


def task(seed: int) -> SimulationTask:
    options = VQEOptions(ansatz="EfficientSU2", init_strategy="random", seed=seed, max_iterations=5)
    return SimulationTask(catalogue()["H2"], options.resolved())


def test_a_lost_executor_s_runs_are_repeated_and_landed_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = open_installation(settings_in(tmp_path))
    folder = installation.settings.raw_results / "experiments"
    with standalone(tmp_path) as cluster, contextlib.ExitStack() as stack:
        spark = SparkSettings(master=cluster.master, driver_memory="600m", executor_memory="512m", executor_cores=1)
        stack.enter_context(contextlib.chdir(tmp_path))
        driver = stack.enter_context(open_spark(installation.settings, spark, schemas.NAMESPACE))
        runs = SparkRuns(OpenSession(driver), installation.store, "experiment.vqe", "H2", force=False)
        stop = threading.Event()

        def kill_once_something_has_landed() -> None:
            while not stop.wait(0.05):
                if any(folder.rglob("*.json")):
                    cluster.kill_executors(0)
                    return

        killer = threading.Thread(target=kill_once_something_has_landed)
        killer.start()
        outcomes = list(runs.run([task(seed) for seed in range(6)]))
        stop.set()
        killer.join()
        assert all(isinstance(outcome, Landed) for outcome in outcomes)
        keys = sorted(info.key for info in installation.store.list_objects("experiments/"))
        assert keys == sorted(outcome.where for outcome in outcomes if isinstance(outcome, Landed))
        assert len(set(keys)) == 6

        # A repeated task finds what the lost one has landed, and the object is left as it is.
        before = {info.key: info.etag for info in installation.store.list_objects("experiments/")}
        monkeypatch.setattr("qpipe_assets.spark_runs.attempt", lambda: 1)
        again = runs._run.__class__(installation.store, "experiment.vqe", "H2", False, [task(3)])(0)
        (first,) = (outcome for outcome in outcomes if outcome.task.options.seed == 3)
        assert isinstance(first, Landed) and isinstance(again, Landed)
        assert (again.result, again.where) == (first.result, first.where)
        assert {info.key: info.etag for info in installation.store.list_objects("experiments/")} == before


def test_a_run_that_fails_is_told_and_the_others_land(tmp_path: Path) -> None:
    installation = open_installation(settings_in(tmp_path))
    spark = SparkSettings(master="local[2]", driver_memory="600m")
    with contextlib.chdir(tmp_path), open_spark(installation.settings, spark, schemas.NAMESPACE) as driver:
        runs = SparkRuns(OpenSession(driver), installation.store, "experiment.vqe", "H2", force=False)
        needs_a_record = SimulationTask(catalogue()["H2"], VQEOptions(init_strategy="previous", previous="a" * 64))
        outcomes = list(runs.run([task(0), needs_a_record]))
    assert isinstance(outcomes[0], Landed)
    assert isinstance(outcomes[1], Failed) and "was not given" in outcomes[1].reason
