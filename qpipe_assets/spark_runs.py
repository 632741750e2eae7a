"""VQE runs on Spark's executors: one run a task, which lands its own record in the raw object store.

What has landed stays when the driver or an executor is lost; Spark repeats the runs that an executor had not landed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace

from qpipe_assets.tables.decode import records_of
from qpipe_resources.delivery import DeliveryError, StoreDelivery
from qpipe_resources.object_layout import JSON, molecule_folder
from qpipe_resources.object_store import ObjectStore
from qpipe_resources.simulation_task import SimulationTask
from qpipe_resources.simulation_workers import Failed, Finished, WorkerPool, watched_pool
from qpipe_resources.spark.source import SparkSource
from qpipe_resources.spark.spread import attempt, spread
from simulation.identity import experiment_id
from simulation.record import VQEDecoratedResult


@dataclass(frozen=True)
class Landed(Finished[SimulationTask, VQEDecoratedResult]):
    """A run that was computed and has landed already; `where` tells so in words for a log line."""

    where: str


Outcome = Landed | Finished[SimulationTask, VQEDecoratedResult] | Failed[SimulationTask]


class SparkRuns:
    """Computes tasks as a WorkerPool does, but that the outcomes come together when the last one is there.

    Args:
        source: Who opens the session.
        store: The raw object store; executors open it anew.
        topic: Whose folder the records land in.
        molecule: Partition key.
        force: Compute in a repeated task what has landed.
    """

    def __init__(self, source: SparkSource, store: ObjectStore, topic: str, molecule: str, *, force: bool) -> None:
        source.require()
        self._source = source
        self._run = _RunAndLand(store, topic, molecule, force)

    def run(
        self,
        tasks: Iterable[SimulationTask],
        on_start: Callable[[SimulationTask], None] = lambda task: None,
        seconds: float | None = None,
        on_loss: Callable[[SimulationTask, str], None] = lambda task, reason: None,
    ) -> Generator[Outcome, None, None]:
        """Compute and land tasks, each in `seconds`; one that could not land comes back as merely finished.

        What an executor loses is repeated by Spark, which tells nobody: `on_loss` is not called.
        """
        asked = list(tasks)
        for task in asked:
            on_start(task)
        # Checkpoints are of the driver's machine.
        work = replace(self._run, tasks=[replace(task, checkpoints=None) for task in asked], seconds=seconds)
        outcomes = spread(self._source.open().session, work, len(asked)) if asked else []
        for task, outcome in zip(asked, outcomes, strict=True):
            yield replace(outcome, task=task)


@dataclass(frozen=True)
class _RunAndLand:
    """What a task does."""

    store: ObjectStore
    topic: str
    molecule: str
    force: bool
    tasks: Sequence[SimulationTask] = ()
    seconds: float | None = None

    def __call__(self, number: int) -> Outcome:
        task = self.tasks[number]
        if attempt() and not self.force and (landed := self._landed(task)):
            return landed
        (outcome,) = _process().run([task], seconds=self.seconds)
        if isinstance(outcome, Failed):
            return outcome
        try:
            where = StoreDelivery(self.store, self.topic).deliver(self.molecule, outcome.result)
        except DeliveryError:
            return outcome  # the driver tries it once more, and has an outbox
        return Landed(task, outcome.result, where)

    def _landed(self, task: SimulationTask) -> Landed | None:
        """What an earlier attempt has landed before it was lost."""
        experiment = experiment_id(task.molecule, task.options)
        folder = molecule_folder(self.topic, self.molecule)
        for info in self.store.list_objects(folder):
            if info.key.endswith(f"/{experiment}{JSON}"):
                record = records_of(self.store.get(info.key).data)[experiment]
                return Landed(task, record, info.key)
        return None


@functools.cache
def _process() -> WorkerPool[SimulationTask, VQEDecoratedResult]:
    """The simulation's process of this executor's worker: what numpy reads at import is set there, one thread each."""
    return watched_pool(workers=1, threads=1)
