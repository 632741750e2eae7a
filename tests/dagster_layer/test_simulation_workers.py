"""The pool of simulation processes: light, warm, and robust against the death of a worker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from qpipe_resources.simulation_workers import Failed, Finished, TimedOut, WorkerPool, default_workers
from tests.dagster_layer import fake_simulation as tasks


def test_workers_import_neither_the_orchestrator_nor_the_parents_main_module() -> None:
    main = sys.modules["__main__"]
    pool = WorkerPool(tasks.imported_modules, workers=1, threads=1)
    [outcome] = pool.run([None])
    pool.close()
    assert isinstance(outcome, Finished)
    assert not {"dagster", "pyiceberg", "duckdb", "pytest"} & set(outcome.result)
    assert sys.modules["__main__"] is main


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"])
def test_threads_are_set_in_the_workers_environment_only(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "7")
    pool = WorkerPool(tasks.environment, workers=1, threads=3)
    [outcome] = pool.run([variable])
    pool.close()
    assert isinstance(outcome, Finished)
    assert outcome.result == "3"
    assert tasks.environment(variable) == "7"


def test_a_worker_stays_warm_from_one_campaign_to_the_next() -> None:
    pool = WorkerPool(tasks.process_id, workers=1, threads=1)
    first = [outcome.result for outcome in pool.run([1, 2]) if isinstance(outcome, Finished)]
    second = [outcome.result for outcome in pool.run([3]) if isinstance(outcome, Finished)]
    pool.close()
    assert len({*first, *second}) == 1


def test_outcomes_come_as_they_finish() -> None:
    pool = WorkerPool(tasks.nap, workers=2, threads=1)
    list(pool.run([0.0, 0.0]))
    naps = [outcome.result for outcome in pool.run([1.5, 0.0, 0.1]) if isinstance(outcome, Finished)]
    pool.close()
    assert naps == [0.0, 0.1, 1.5]


def test_a_killed_worker_costs_nothing_but_a_second_attempt(tmp_path: Path) -> None:
    pool = WorkerPool(tasks.die_once, workers=2, threads=1)
    survivor = tmp_path / "there already"
    survivor.touch()
    lost: list[tuple[str, str]] = []
    marker = str(tmp_path / "marker")
    outcomes = list(pool.run([marker, str(survivor)], on_loss=lambda task, reason: lost.append((task, reason))))
    pool.close()
    assert lost == [(marker, "its process died (SIGKILL, perhaps out of memory)")]
    assert [type(outcome) for outcome in outcomes] == [Finished, Finished]


def test_a_task_that_kills_its_worker_twice_is_reported_and_the_others_finish() -> None:
    pool = WorkerPool(tasks.die_or_double, workers=2, threads=1)
    outcomes = {outcome.task: outcome for outcome in pool.run([1, -1, 2, 0, 3])}
    pool.close()
    assert {task: outcomes[task].result for task in (1, 2, 3)} == {1: 2, 2: 4, 3: 6}
    killed, refused = outcomes[-1], outcomes[0]
    assert isinstance(killed, Failed) and isinstance(refused, Failed)
    assert killed.attempts == 2
    assert "SIGKILL" in killed.reason
    assert (refused.reason, refused.attempts) == ("ValueError: zero is refused", 1)
    assert "die_or_double" in refused.details


def test_a_worker_that_dies_in_the_middle_of_its_answer_costs_nothing_but_a_second_attempt(tmp_path: Path) -> None:
    pool = WorkerPool(tasks.die_answering_once, workers=1, threads=1)
    lost: list[str] = []
    outcomes = list(pool.run([str(tmp_path / "marker")], on_loss=lambda task, reason: lost.append(reason)))
    pool.close()
    assert lost == ["its process died (SIGKILL, perhaps out of memory)"]
    assert [type(outcome) for outcome in outcomes] == [Finished]


def test_a_worker_that_died_while_idle_is_replaced() -> None:
    pool = WorkerPool(tasks.nap, workers=1, threads=1)
    list(pool.run([0.0]))
    pool._idle[0].process.kill()
    pool._idle[0].process.join()
    [outcome] = pool.run([0.0])
    pool.close()
    assert isinstance(outcome, Finished)


def test_leaving_a_campaign_early_ends_what_is_running() -> None:
    pool = WorkerPool(tasks.nap, workers=2, threads=1)
    campaign = pool.run([0.0, 600.0])
    next(campaign)
    started = time.monotonic()
    campaign.close()
    assert time.monotonic() - started < 10


def test_a_task_that_takes_longer_than_it_may_loses_its_process_and_the_others_go_on() -> None:
    # A function for which a process that takes the place of a lost one has next to nothing to import.
    pool = WorkerPool(time.sleep, workers=2, threads=1)
    list(pool.run([0.0, 0.0]))
    first, second = (worker.process.pid for worker in pool._idle)
    began = time.monotonic()
    outcomes = {outcome.task: outcome for outcome in pool.run([600.0, 0.0, 0.1, 500.0, 0.2], seconds=4.0)}
    assert time.monotonic() - began < 60
    pool.close()
    assert {task for task, outcome in outcomes.items() if isinstance(outcome, Finished)} == {0.0, 0.1, 0.2}
    late = [outcomes[600.0], outcomes[500.0]]
    assert all(isinstance(outcome, TimedOut) for outcome in late)
    assert isinstance(late[0], Failed) and late[0].reason == "it took longer than 4 s and was ended"
    assert not all(psutil.pid_exists(process) for process in (first, second))


def test_who_asked_is_told_of_each_process_that_has_ended_however_it_did(tmp_path: Path) -> None:
    ended: list[int] = []

    def note(process: int) -> None:
        assert not psutil.pid_exists(process)
        ended.append(process)

    pool = WorkerPool(tasks.die_once, workers=1, threads=1, on_end=note)
    list(pool.run([str(tmp_path / "marker")]))
    (died,) = ended
    survivor = pool._idle[0].process.pid
    pool._function = tasks.nap
    list(pool.run([600.0], seconds=0.5))
    assert ended == [died, survivor]
    pool.start()
    idle = pool._idle[0].process.pid
    pool.close()
    assert ended == [died, survivor, idle]


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (4, 2), (64, 8)])
def test_half_the_cores_compute_but_at_most_eight(cores: int, workers: int) -> None:
    assert default_workers(cores) == workers


def test_a_worker_ends_with_its_parent_in_the_middle_of_a_task() -> None:
    program = (
        "import sys; from qpipe_resources.simulation_workers import WorkerPool\n"
        "from tests.dagster_layer.fake_simulation import nap\n"
        "pool = WorkerPool(nap, 1, 1)\n"
        "list(pool.run([0.0]))\n"
        "list(pool.run([600.0], lambda task: print(pool._idle[0].process.pid, flush=True)))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    time.sleep(0.5)
    assert worker.is_running()
    parent.kill()
    parent.communicate()
    worker.wait(20)


def test_a_worker_that_dies_while_it_starts_costs_its_task_only_however_large_that_is(tmp_path: Path) -> None:
    (tmp_path / "dies_at_import.py").write_text("import os\nos._exit(3)\n")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from qpipe_resources.simulation_workers import WorkerPool\n"
        "pool = WorkerPool(len, 1, 1, preload=('dies_at_import',))\n"
        "print([outcome.reason for outcome in pool.run(['x' * 5_000_000])])\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "its process died 2 times (exit code 3)" in done.stdout
