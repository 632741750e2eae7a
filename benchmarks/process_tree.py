"""What a process and everything that it has started use: CPU seconds, and the most memory that they held at once.

Memory is the proportional set size (shared pages are counted once), looked at ten times a second; a process's own peak
resident size, which the system keeps, is the least that is told.
"""

from __future__ import annotations

import threading
from pathlib import Path

import psutil

_EVERY = 0.1
"""Seconds between two looks; one costs some milliseconds."""
_MEBIBYTE = 2**20


class ProcessTree:
    """Watches a process and its descendants until it is closed."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._most = 0.0
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def cpu_seconds(self) -> float:
        """User and system time so far, of processes that have ended as well."""
        return sum(_cpu_seconds(process) for process in self._processes())

    def peak_mb(self) -> float:
        """The most memory so far, in MiB."""
        return max([self._most, *(_own_peak_mb(process.pid) for process in self._processes())])

    def close(self, timeout: float) -> None:
        """Wait until all of them have ended, which somebody else has asked them to.

        Raises:
            TimeoutExpired: one goes on.
        """
        self._ended.set()
        self._watcher.join()
        _, alive = psutil.wait_procs(self._processes(), timeout)
        if alive:
            raise psutil.TimeoutExpired(timeout, alive[0].pid)

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY):
            self._most = max(self._most, sum(_pss_mb(process) for process in self._processes()))

    def _processes(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


# Each process may end between two looks: its time is then its parent's, and it has no memory.


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        used = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return used.user + used.system + used.children_user + used.children_system


def _pss_mb(process: psutil.Process) -> float:
    try:
        return process.memory_full_info().pss / _MEBIBYTE
    except psutil.NoSuchProcess:
        return 0.0


def _own_peak_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    kilobytes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(kilobytes[0]) / 1024 if kilobytes else 0.0
