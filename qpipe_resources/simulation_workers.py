"""Warm simulation processes: a pool that survives the death of a worker and computes nothing twice that was finished.

Each worker is one spawned process with a pipe, so the death of a worker concerns exactly the task it held. Workers
import `simulation` and nothing of the orchestrator: spawning re-imports the parent's main module, which would cost
5 s of dagster for each, hence they are started while the main module is blank.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import types
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection as pipes
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from qpipe_resources.simulation_task import SimulationTask, forget_machine_of, simulate

if TYPE_CHECKING:
    from simulation.record import VQEDecoratedResult

MAX_ATTEMPTS = 2
"""A task whose worker died is tried once more: the machine may have run out of memory because of another."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
"""What numpy, Aer, numba and qiskit's Rust code read at import; Aer's OpenMP obeys the first."""

_SECONDS_TO_DIE = 5
_SIMULATION_MODULES = ("simulation.runner", "pyscf", "qiskit_aer")

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Finished(Generic[Task, Result]):
    """A task that was computed."""

    task: Task
    result: Result


@dataclass(frozen=True)
class Failed(Generic[Task]):
    """A task that could not be computed: `reason` in one line, `details` with the worker's traceback if it had one."""

    task: Task
    reason: str
    details: str
    attempts: int


@dataclass(frozen=True)
class TimedOut(Failed[Task]):
    """A task whose process was ended because it took longer than it may."""


def default_workers(cores: int) -> int:
    """Processes for a machine with `cores`: half of them, at least one and at most eight.

    Aer uses threads above 14 qubits only, so a single run still gets the whole machine when there are two cores, and a
    campaign leaves half of the processes' memory to large state vectors.
    """
    return max(1, min(8, cores // 2))


@functools.cache
def simulation_pool(workers: int | None) -> WorkerPool[SimulationTask, VQEDecoratedResult]:
    """The process-wide pool for VQE runs; it stays warm from one campaign to the next."""
    cores = len(os.sched_getaffinity(0))
    size = workers or default_workers(cores)
    return watched_pool(size, max(1, cores // size), preload=_SIMULATION_MODULES)


def watched_pool(
    workers: int, threads: int, preload: Sequence[str] = ()
) -> WorkerPool[SimulationTask, VQEDecoratedResult]:
    """A pool for VQE runs (see WorkerPool) that leaves nothing of its processes on a PushGateway at their end."""
    pool = WorkerPool(simulate, workers, threads, preload, on_end=forget_machine_of)
    atexit.register(pool.close)
    return pool


class WorkerPool(Generic[Task, Result]):
    """A pool of processes that apply one importable function to tasks."""

    def __init__(
        self,
        function: Callable[[Task], Result],
        workers: int,
        threads: int,
        preload: Sequence[str] = (),
        on_end: Callable[[int], None] = lambda process: None,
    ) -> None:
        """Prepare a pool; processes start when they are needed.

        Args:
            function: defined at the top of an importable module.
            workers: processes at the same time, for one call of `run`.
            threads: what each may use for linear algebra and simulation.
            preload: modules that a worker imports as soon as it lives.
            on_end: called when a process has ended, however it did, with its id.
        """
        self.workers = workers
        self.threads = threads
        self._function = function
        self._preload = tuple(preload)
        self._on_end = on_end
        self._idle: deque[_Worker] = deque()

    def start(self) -> None:
        """Start one worker ahead of its first task, so that it imports while the caller does something else."""
        if not self._idle:
            self._idle.append(self._new_worker())

    def close(self) -> None:
        """End the idle workers."""
        while self._idle:
            self._idle.pop().kill()

    def run(
        self,
        tasks: Iterable[Task],
        on_start: Callable[[Task], None] = lambda task: None,
        seconds: float | None = None,
        on_loss: Callable[[Task, str], None] = lambda task, reason: None,
    ) -> Generator[Finished[Task, Result] | Failed[Task], None, None]:
        """Compute tasks, each outcome as soon as it is there; closing the generator early kills what is running.

        Args:
            tasks: what to compute, in this order as workers become free.
            on_start: called when a task goes to a worker.
            seconds: time limit of each, from when it goes to a worker (which may have to start first); its process is
                killed then.
            on_loss: called when the process of a task died and it will be tried once more, with the reason.
        """
        waiting = deque((task, 1) for task in tasks)
        busy: dict[Any, _Held[Task]] = {}
        try:
            while waiting or busy:
                while waiting and len(busy) < self.workers:
                    task, attempt = waiting.popleft()
                    on_start(task)
                    worker = self._assign(task)
                    busy[worker.pipe] = _Held(worker, task, attempt, time.monotonic() + (seconds or math.inf))
                for pipe in pipes.wait(list(busy), _until_the_first(busy.values())):
                    held = busy.pop(pipe)
                    answer = held.worker.answer()
                    if answer is not None:
                        self._idle.append(held.worker)
                        yield _outcome(held.task, answer, held.attempt)
                    elif held.attempt < MAX_ATTEMPTS:
                        on_loss(held.task, f"its process died ({held.worker.death()})")
                        waiting.append((held.task, held.attempt + 1))
                    else:
                        reason = f"its process died {held.attempt} times ({held.worker.death()})"
                        yield Failed(held.task, reason, "", held.attempt)
                for held in [held for held in busy.values() if held.is_late]:
                    del busy[held.worker.pipe]
                    held.worker.kill()
                    yield TimedOut(held.task, f"it took longer than {seconds:g} s and was ended", "", held.attempt)
        finally:
            for held in busy.values():
                held.worker.kill()

    def _assign(self, task: Task) -> _Worker:
        """Give the task to an idle worker, or to a new one; an idle one may have died meanwhile."""
        while True:
            try:
                worker = self._idle.popleft()
            except IndexError:
                worker = self._new_worker()
                with suppress(BrokenPipeError):  # it died while it started: its answer, which never comes, tells
                    worker.send(self._function, task)
                return worker
            if worker.send_if_alive(self._function, task):
                return worker

    def _new_worker(self) -> _Worker:
        return _Worker(self.threads, self._preload, self._on_end)


class _Worker:
    """One process and the parent's end of its pipe."""

    def __init__(self, threads: int, preload: tuple[str, ...], on_end: Callable[[int], None]) -> None:
        self._on_end = on_end
        context = multiprocessing.get_context("spawn")
        self.pipe, child_end = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(child_end, threads, preload), name="qpipe-simulation", daemon=True
        )
        with _blank_main_module():
            self.process.start()
        # Only the child holds its end now, so that its death ends the pipe.
        child_end.close()

    def send(self, function: Callable[[Any], Any], task: Any) -> None:
        self.pipe.send_bytes(pickle.dumps((function, task)))

    def send_if_alive(self, function: Callable[[Any], Any], task: Any) -> bool:
        try:
            self.send(function, task)
        except BrokenPipeError:
            self.kill()
            return False
        return True

    def answer(self) -> tuple[bool, Any] | None:
        """Whether the task succeeded and its result or error; None when the process died."""
        try:
            return pickle.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):  # a death in the middle of an answer is an OSError without a type of its own
            self.process.join(_SECONDS_TO_DIE)  # so that its own exit code is seen, not our kill's
            self.kill()
            return None

    def death(self) -> str:
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name
        return f"{name}, perhaps out of memory" if name == "SIGKILL" else name

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()
        assert self.process.pid is not None
        self._on_end(self.process.pid)


@dataclass(frozen=True)
class _Held(Generic[Task]):
    """A task that a worker holds, and until when it may (monotonic seconds)."""

    worker: _Worker
    task: Task
    attempt: int
    until: float

    @property
    def is_late(self) -> bool:
        # What has answered in time is not late, whenever the answer is read.
        return time.monotonic() >= self.until and not self.worker.pipe.poll()


def _until_the_first(held: Iterable[_Held[Any]]) -> float | None:
    """Seconds until the first limit; None without any."""
    first = min(one.until for one in held)
    return None if first == math.inf else max(0.0, first - time.monotonic())


def _outcome(task: Any, answer: tuple[bool, Any], attempt: int) -> Finished[Any, Any] | Failed[Any]:
    succeeded, value = answer
    if succeeded:
        return Finished(task, value)
    reason, details = value
    return Failed(task, reason, details, attempt)


def _serve(pipe: pipes.Connection, threads: int, preload: tuple[str, ...]) -> None:
    """A worker's life: import, then answer tasks until the parent is gone."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which decides
    # Threads of OpenMP that spin while they wait take the cores from the other workers.
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"OMP_WAIT_POLICY": "PASSIVE"})
    for module in preload:
        importlib.import_module(module)
    while True:
        try:
            request = pipe.recv_bytes()
        except EOFError:
            return
        try:
            function, task = pickle.loads(request)
            answer = pickle.dumps((True, function(task)))
        except Exception as error:  # whatever a task raises is that task's result
            reason = traceback.format_exception_only(error)[-1].strip()
            answer = pickle.dumps((False, (reason, "".join(traceback.format_exception(error)))))
        try:
            pipe.send_bytes(answer)
        except BrokenPipeError:
            return


def _end_with_the_parent() -> None:
    """End this process when the parent dies, whatever it computes: it would only be in the next one's way."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


_main_module_lock = threading.Lock()


@contextmanager
def _blank_main_module() -> Iterator[None]:
    """While active, spawned children find no main module to import."""
    with _main_module_lock:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
