"""Processes that work on an installation and can be killed: real ones, forked from a clean single-threaded server.

The server is started by exec, imports once what a worker needs, and runs no thread of its own, so that a worker costs
milliseconds instead of a second of imports and inherits no lock of the test process. Nothing is opened before the
fork: each worker opens its own installation.
"""

from __future__ import annotations

import datetime as dt
import functools
import importlib
import multiprocessing
import os
import resource
import signal
import time
import traceback
from collections.abc import Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from unittest import mock

from qpipe_assets.adoption.adoption import Adoption
from qpipe_assets.tables.installation import open_installation
from qpipe_resources.hadoop_warehouse import HadoopWarehouse
from qpipe_resources.settings import Settings

_IMPORTED_LAZILY = (
    "duckdb",
    "pyarrow.acero",
    "pyiceberg.avro.decoder_fast",
    "pyiceberg.catalog.sql",
    "pyiceberg.io.pyarrow",
    "qpipe_assets.adoption.reconstruction",
    "qpipe_assets.tables.ingest",
    "qpipe_assets.tables.maintenance_pass",
    "qpipe_assets.tables.ml_features",
    "qpipe_resources.file_rewrites",
    "qpipe_resources.iceberg_transaction",
    "qpipe_resources.stored_files",
    "rich.console",
    "rich.table",
    "sqlalchemy.dialects.sqlite",
)
for _name in _IMPORTED_LAZILY:
    importlib.import_module(_name)

IMPORTED_BY = os.getpid()
Step = tuple[str, str]
"""What to do and for which molecule: 'ingest', 'rebuild', 'ml'; 'maintain' a table (all: ''); 'adopt' or 'rewrite' a
warehouse; or 'open' alone."""
LATER = dt.timedelta(days=5)
"""How far ahead the clock of 'maintain' is: today is over then, and files of today are old."""


def perform(settings: Settings, steps: Sequence[Step]) -> None:
    """Open the installation and do the steps in order."""
    installation = open_installation(settings)
    for action, molecule in steps:
        if action == "ml":
            installation.ml_features().run(molecule)
        elif action in ("ingest", "rebuild"):
            installation.ingest().run(molecule, rebuild=action == "rebuild")
        elif action == "maintain":
            installation.maintenance().run([molecule] if molecule else None, now=dt.datetime.now(dt.UTC) + LATER)
        elif action in ("adopt", "rewrite"):
            adoption = Adoption(installation, HadoopWarehouse.at(molecule, settings))
            adoption.rewrite() if action == "rewrite" else adoption.register()


def _main(settings: Settings, steps: Sequence[Step], channel: Connection) -> None:
    if os.getppid() != IMPORTED_BY or len(os.listdir(f"/proc/{os.getppid()}/task")) != 1:
        raise RuntimeError("the server has not imported this module, or runs threads: forks of it are not clean")
    channel.send(None)
    channel.recv()
    try:
        perform(settings, steps)
    except BaseException:
        channel.send(traceback.format_exc())
    else:
        channel.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    # Alive until it is told to go: the number of a process that ended could already belong to another.
    channel.recv()


class Worker:
    """One process that waits for `go`, then does its steps; `kill` sends SIGKILL."""

    def __init__(self, settings: Settings, steps: Sequence[Step]) -> None:
        self._channel, theirs = _context().Pipe()
        self._process = _context().Process(target=_main, args=(settings, list(steps), theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._receive("did not start")

    def go(self) -> None:
        """Let it begin."""
        self._channel.send(None)

    def kill(self) -> bool:
        """Kill it for good; returns whether it was still at work."""
        at_work = not self._channel.poll()
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()
        # 255 is what multiprocessing says when its server did not get round to telling the real status.
        assert self._process.exitcode in (-signal.SIGKILL, 255)
        return at_work

    def finish(self) -> int:
        """Wait until its steps are done; its failure is this process's failure. Returns its peak memory in bytes."""
        outcome = self._receive("died")
        self._channel.send(None)
        self._process.join()
        if not isinstance(outcome, int):
            raise RuntimeError(f"a worker failed:\n{outcome}")
        return outcome

    @property
    def ended(self) -> bool:
        """Whether it was killed or has finished."""
        return self._process.exitcode is not None

    def _receive(self, problem: str) -> str | int | None:
        try:
            return self._channel.recv()
        except EOFError as error:
            self._process.join()
            raise RuntimeError(f"a worker {problem}, exit code {self._process.exitcode}") from error


def run(settings: Settings, *steps: Step) -> float:
    """Do the steps in a process of their own; returns the seconds they took."""
    worker = Worker(settings, steps)
    started = time.perf_counter()
    worker.go()
    worker.finish()
    return time.perf_counter() - started


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # Workers import the main module of their parent again: here that is pytest.
    context.set_forkserver_preload(["pytest", "tests.crash_worker"])
    # The server does not get sys.path; Arrow's allocator and OpenBLAS would start threads in it.
    environment = {
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    with mock.patch.dict(os.environ, environment):
        forkserver.ensure_running()
    return context
