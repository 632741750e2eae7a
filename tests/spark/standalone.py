"""A standalone Spark cluster on the loopback interface, whose workers can be killed with all that they started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil

PATIENCE = 120.0
_DEPLOY = "org.apache.spark.deploy"


class Cluster:
    """A master and its workers, each with one core."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder = folder
        self._port = _free_port()
        self.master = f"spark://127.0.0.1:{self._port}"
        self._running: list[subprocess.Popen[bytes]] = []
        master = ["master.Master", "--host", "127.0.0.1", "--port", str(self._port), "--webui-port", "0"]
        self._master = self._start("master", master)
        _until(lambda: _listens(self._port))
        for _ in range(workers):
            self.start_worker()

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self._running)

    def start_worker(self) -> None:
        """Start one more."""
        name = f"worker-{time.monotonic_ns()}"
        resources = ["--cores", "1", "--memory", "1g", "--webui-port", "0", "--work-dir", str(self._folder / name)]
        worker = ["worker.Worker", "--host", "127.0.0.1", *resources, self.master]
        self._running.append(self._start(name, worker))

    def kill_worker(self, number: int) -> None:
        """SIGKILL to a worker and to all that it started."""
        killed = self._running.pop(number)
        _kill(_family(killed))
        killed.wait()

    def kill_executors(self, number: int) -> bool:
        """SIGKILL to the executors of a worker, which starts others; False when it has none."""
        found = _family(self._running[number])[1:]
        _kill(found)
        return bool(found)

    def close(self) -> None:
        """End everything."""
        for process in [*self._running, self._master]:
            _kill(_family(process))
            process.wait()

    def _start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        spec = find_spec("pyspark")
        assert spec is not None and spec.origin is not None
        program = Path(spec.origin).parent / "bin" / "spark-class"
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [str(program), "-Xmx256m", f"{_DEPLOY}.{command[0]}", *command[1:]],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env={**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_NO_DAEMONIZE": "1", "OMP_NUM_THREADS": "1"},
            )


@contextmanager
def standalone(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """A cluster that is gone afterwards."""
    cluster = Cluster(folder, workers)
    try:
        yield cluster
    finally:
        cluster.close()


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill(family: list[psutil.Process]) -> None:
    for member in family:
        try:
            member.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as there:
        return there.connect_ex(("127.0.0.1", port)) == 0


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "Spark's master does not start"
        time.sleep(0.1)
