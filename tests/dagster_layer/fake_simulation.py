"""Simulation workers that answer at once with synthetic records; workers import this module and nothing of dagster."""

from __future__ import annotations

import functools
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe_resources.simulation_task import SimulationTask
from qpipe_resources.simulation_workers import Finished, WorkerPool
from simulation.identity import experiment_id
from simulation.record import VQEDecoratedResult
from tests.synthetic import plain_record

if TYPE_CHECKING:
    import dagster

FAILING_SEED = 13
KILLING_SEED = 666
HANGING_SEED = 999


def fake_simulate(task: SimulationTask) -> VQEDecoratedResult:
    """A record for the task; FAILING_SEED raises, KILLING_SEED takes the process down, HANGING_SEED takes an hour."""
    seed = task.options.seed
    if seed == FAILING_SEED:
        raise ArithmeticError("the energy of evaluation 3 is not finite")
    if seed == KILLING_SEED:
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == HANGING_SEED:
        if task.checkpoints is not None:
            from simulation.runner import checkpoint_path

            log = checkpoint_path(task.checkpoints, experiment_id(task.molecule, task.options))
            log.parent.mkdir(parents=True, exist_ok=True)
            log.touch()
        time.sleep(3600)
    entry = plain_record(seed or 0)
    record = VQEDecoratedResult.model_validate_json(VQEDecoratedResult.model_validate(entry).to_json())
    total = record.vqe_result.minimum + (record.vqe_result.nuclear_repulsion_energy or 0.0)
    return record.model_copy(
        update={
            "molecule": record.molecule.model_copy(update={"molecule_data": task.molecule.to_record()}),
            "experiment_id": experiment_id(task.molecule, task.options),
            "started_at": "2026-11-21T12:00:00+00:00",
            "total_energy": total,
            "fci_energy": total - 1e-4,
            "energy_error_mha": 0.1,
            "valid": True,
            "engine": "fake",
            "wall_time": 0.5,
            "dagster_run_id": task.dagster_run_id,
            "campaign": task.campaign,
        }
    )


def slow_simulate(task: SimulationTask) -> VQEDecoratedResult:
    """The same, in time to be killed."""
    time.sleep(0.4)
    return fake_simulate(task)


@functools.cache
def fake_pool(
    simulate: Callable[[SimulationTask], VQEDecoratedResult] = fake_simulate,
) -> WorkerPool[SimulationTask, VQEDecoratedResult]:
    return WorkerPool(simulate, workers=2, threads=1)


def warm_up() -> None:
    """Start all processes of the fake pool, so that time limits are of the work alone."""
    from simulation.molecules import catalogue
    from simulation.options import VQEOptions

    pool = fake_pool(fake_simulate)
    task = SimulationTask(catalogue()["H2"], VQEOptions(seed=1))
    outcomes = list(pool.run([task] * pool.workers))
    assert all(isinstance(outcome, Finished) for outcome in outcomes), outcomes


def fake_workers_class(
    simulate: Callable[[SimulationTask], VQEDecoratedResult] = fake_simulate,
) -> type[dagster.ConfigurableResource]:
    """The resource around the fake pool; made on demand so that workers do not import dagster."""
    from qpipe_resources.deployment import SimulationWorkers

    class FakeWorkers(SimulationWorkers):
        def pool(self) -> WorkerPool[SimulationTask, VQEDecoratedResult]:
            return fake_pool(simulate)

    return FakeWorkers


# Functions for the tests of the pool itself


def imported_modules(_task: Any) -> list[str]:
    return sorted(sys.modules)


def environment(name: str) -> str | None:
    return os.environ.get(name)


def process_id(_task: Any) -> int:
    return os.getpid()


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def die_answering_once(marker: str) -> str:
    """Die in the middle of the answer, at the first attempt."""

    def send_half(self: Connection, answer: bytes) -> None:
        # A length and a part of what it announces, as a pipe has it when its writer is killed.
        os.write(self.fileno(), struct.pack("!i", len(answer)) + answer[:1])
        os.kill(os.getpid(), signal.SIGKILL)

    if not Path(marker).exists():
        Path(marker).touch()
        Connection.send_bytes = send_half  # type: ignore[method-assign,assignment]
    return marker


def die_once(marker: str) -> str:
    """Kill the own process unless an earlier attempt left the marker."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "second attempt"


def die_or_double(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 0:
        raise ValueError("zero is refused")
    return 2 * number
