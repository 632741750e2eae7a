"""The performance monitor: looks at the machine in the background while something runs, and never disturbs it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from simulation.gpu_readings import Gpu
    from simulation.system_snapshot import SystemSnapshot, Usage

STOP_SECONDS = 0.4
"""How long stop() waits for what the background thread still has to do; what takes longer ends without it."""

CPU_SECONDS = 1.0
"""Least time that a percentage of the processors covers: over less, the kernel's clock of 10 ms makes noise of it."""

Exporter = Callable[["SystemSnapshot"], None]
"""Takes a snapshot somewhere; called with each one, in the monitor's own thread."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


def file_exporter(folder: Path) -> Exporter:
    """Each snapshot as a file `system_metrics_{container type}_{time}.json` in a folder, which is made at once.

    Raises:
        OSError: the folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def write(snapshot: SystemSnapshot) -> None:
        moment = snapshot.timestamp.strftime("%Y%m%dT%H%M%S.%fZ")
        path = folder / f"system_metrics_{snapshot.container.type}_{moment}.json"
        with path.open("x", encoding="utf-8") as file:
            file.write(snapshot.model_dump_json(indent=2))

    return write


@dataclass(frozen=True)
class Summary:
    """What a watched run took.

    Args:
        usage: Differences of the counters between its start and its end; exact, however few snapshots there are.
        peak_rss_bytes: Largest resident memory of the process: exact where the run raised the process's high-water
            mark, else the largest that was seen.
        peak_gpu_memory_bytes: Largest memory in use that was seen on one GPU, None where there is none.
        snapshots: How many were taken in the background.
    """

    usage: Usage
    peak_rss_bytes: int
    peak_gpu_memory_bytes: int | None
    snapshots: int


class PerformanceMonitor:
    """Takes a snapshot at the start, one every `interval` seconds in a thread of its own, and one at the end.

    For each run: `with monitor: ...`, then `performance_start`, `performance_end` and `summary` of that run. Whatever
    fails in it is logged once and goes no further. An engine that holds Python's global lock delays the snapshots in
    between; start, end and the differences of their counters stay exact. The percentage of the processors goes back to
    a snapshot that is CPU_SECONDS old, an earlier run's if need be, and is None as long as there is none.

    Args:
        interval: Seconds between two snapshots in the background.
        exporters: Where snapshots go.
        container_type: The deployment's name for what this process runs in.
    """

    def __init__(
        self, interval: float = 30.0, exporters: Sequence[Exporter] = (), container_type: str = "unknown"
    ) -> None:
        self._interval = interval
        self._exporters = tuple(exporters)
        self._container_type = container_type
        self._run: _Run | None = None
        self._earlier = _Earlier()
        self._failed: set[str] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Take the first snapshot of a run and start watching.

        Raises:
            RuntimeError: it watches another run.
        """
        if self._run is not None and not self._run.stopping.is_set():
            raise RuntimeError("this PerformanceMonitor watches a run already: stop() it first, or make another one")
        run = self._run = _Run()
        run.first = self._attempt("the first snapshot", self._snapshot)
        thread = threading.Thread(target=self._watch, args=(run,), name="performance-monitor", daemon=True)
        self._attempt("snapshots in the background", thread.start)
        run.thread = thread

    def stop(self) -> None:
        """Take the last snapshot and stop watching, within `STOP_SECONDS` whatever the interval."""
        run = self._run
        if run is None or run.stopping.is_set():
            return
        run.last = self._attempt("the last snapshot", self._snapshot)
        run.stopping.set()
        if run.thread is not None and run.thread.is_alive():
            run.thread.join(STOP_SECONDS)

    @property
    def performance_start(self) -> str | None:
        """The first snapshot as JSON text, with the first reading of the GPUs; None where it failed."""
        return _json(self._run.first, self._run.first_gpu) if self._run else None

    @property
    def performance_end(self) -> str | None:
        """The last snapshot as JSON text, with the last reading of the GPUs; None where it failed, or before stop()."""
        return _json(self._run.last, self._run.newest_gpu) if self._run else None

    @property
    def summary(self) -> Summary | None:
        """What the run took; None where a snapshot failed, or before stop()."""
        return self._run.summary() if self._run else None

    def _watch(self, run: _Run) -> None:
        self._look(run)
        while not run.stopping.wait(self._interval):
            self._look(run)
        self._look(run)

    def _look(self, run: _Run) -> None:
        gpu = self._attempt("a reading of the GPUs", _read_gpus) or []
        snapshot = self._attempt("a snapshot", partial(self._snapshot, gpu))
        if snapshot is None:
            return
        run.add(snapshot)
        for number, exporter in enumerate(self._exporters):
            self._attempt(f"export {number}", partial(exporter, snapshot))

    def _snapshot(self, gpu: Sequence[Gpu] = ()) -> SystemSnapshot:
        from simulation.system_snapshot import system_snapshot

        snapshot = system_snapshot(gpu=list(gpu), container_type=self._container_type)
        earlier = self._earlier
        self._earlier = earlier.followed_by(snapshot)
        return snapshot.since(earlier.old_enough_for(snapshot))

    def _attempt(self, what: str, function: Callable[[], T]) -> T | None:
        """The function's value, or None where it failed, which is logged the first time."""
        try:
            return function()
        except Exception as error:  # watching must not end what is watched
            if what not in self._failed:
                self._failed.add(what)
                _log.warning("the performance monitor goes on without %s: %s: %s", what, type(error).__name__, error)
            return None


@dataclass(frozen=True)
class _Earlier:
    """Two earlier snapshots, CPU_SECONDS apart at least, so that one is old enough however often there is another."""

    older: SystemSnapshot | None = None
    newer: SystemSnapshot | None = None

    def old_enough_for(self, snapshot: SystemSnapshot) -> SystemSnapshot | None:
        return self.newer if self._is_apart(snapshot) else self.older

    def followed_by(self, snapshot: SystemSnapshot) -> _Earlier:
        return _Earlier(self.newer, snapshot) if self._is_apart(snapshot) else self

    def _is_apart(self, snapshot: SystemSnapshot) -> bool:
        return self.newer is None or snapshot.monotonic_seconds - self.newer.monotonic_seconds >= CPU_SECONDS


@dataclass
class _Run:
    """One watched run, and what is kept of its snapshots in the background, of which there may be any number."""

    first: SystemSnapshot | None = None
    last: SystemSnapshot | None = None
    first_gpu: list[Gpu] = field(default_factory=list)
    newest_gpu: list[Gpu] = field(default_factory=list)
    snapshots: int = 0
    peak_rss_bytes: int = 0
    peak_gpu_memory_bytes: int | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def add(self, snapshot: SystemSnapshot) -> None:
        used = [gpu.memory_used_bytes for gpu in snapshot.gpu if gpu.memory_used_bytes is not None]
        self.snapshots += 1
        self.first_gpu = self.first_gpu or snapshot.gpu
        self.newest_gpu = snapshot.gpu or self.newest_gpu
        self.peak_rss_bytes = max(self.peak_rss_bytes, snapshot.process.rss_bytes)
        if used:
            self.peak_gpu_memory_bytes = max(*used, self.peak_gpu_memory_bytes or 0)

    def summary(self) -> Summary | None:
        if self.first is None or self.last is None:
            return None
        from simulation.system_snapshot import Usage

        before, after = self.first.process, self.last.process
        peak = after.peak_rss_bytes
        if peak is None or peak == before.peak_rss_bytes:
            peak = max(before.rss_bytes, self.peak_rss_bytes, after.rss_bytes)
        return Summary(Usage.between(self.first, self.last), peak, self.peak_gpu_memory_bytes, self.snapshots)


def _read_gpus() -> list[Gpu]:
    from simulation.gpu_readings import read_gpus

    return read_gpus()


def _json(snapshot: SystemSnapshot | None, gpu: list[Gpu]) -> str | None:
    return None if snapshot is None else snapshot.model_copy(update={"gpu": gpu}).model_dump_json()
