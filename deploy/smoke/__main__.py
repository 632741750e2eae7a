"""`make smoke`: starts, checks and drives docker-compose.yml without containers; the exit status tells how it went."""

from __future__ import annotations

import argparse
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from deploy import compose, environment
from deploy.services.errors import ServiceError
from deploy.services.programs import tell
from deploy.smoke.drive import Drive
from deploy.smoke.machine import Machine, SmokeError

LIMIT_SECONDS = 600
_NETWORKS = range(77, 127)
_CLAIM_PORT = 47477


class _StoppedError(Exception):
    """Told to end, or over the time; no step may take it for its own failure and go on."""


class _Report:
    """Steps with their seconds, a line each as they end, and all of them in the end."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._steps: list[tuple[str, str, float]] = []

    def line(self, text: str) -> None:
        """Say something with the time since the start."""
        tell(f"[{time.monotonic() - self._begun:5.1f} s] {text}")

    @contextmanager
    def step(self, what: str) -> Iterator[list[str]]:
        """A step; what is put into the list is told of it. An exception is its failure."""
        begun = time.monotonic()
        seen: list[str] = []
        try:
            yield seen
        except BaseException as error:
            self._steps.append((what, "FAILED", time.monotonic() - begun))
            self.line(f"FAILED: {what}: {type(error).__name__ if not str(error) else error}")
            raise
        self._steps.append((what, "ok", time.monotonic() - begun))
        self.line(f"ok: {what}{f': {seen[0]}' if seen else ''}")

    def table(self) -> None:
        """All steps."""
        tell(f"\n{'step':<48} {'result':<8} {'seconds':>8}")
        for what, result, seconds in self._steps:
            tell(f"{what:<48} {result:<8} {seconds:8.1f}")
        tell(f"{'all':<48} {'':<8} {time.monotonic() - self._begun:8.1f}")


def main() -> int:
    """Do it all; whatever happens, every process that was started is ended."""
    parser = argparse.ArgumentParser(prog="deploy.smoke", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep data and logs also where all was well")
    keep = parser.parse_args().keep
    for number, why in ((signal.SIGALRM, f"more than {LIMIT_SECONDS} s"), (signal.SIGTERM, "told to end")):
        signal.signal(number, _stopping(why))
    # Below /tmp, whatever TMPDIR says: the path of a Unix socket may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="qpipe-smoke-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        with _network() as network:
            _smoke(folder, network)
    except (SmokeError, ServiceError, compose.ComposeError, _StoppedError, subprocess.TimeoutExpired) as error:
        tell(f"error: {error}\nlogs: {folder}/<service>/log")
        return 1
    if not keep:
        shutil.rmtree(folder)
    else:
        tell(f"logs: {folder}/<service>/log")
    return 0


def _smoke(folder: Path, network: int) -> None:
    report = _Report()
    machine: Machine | None = None
    try:
        with report.step("make env") as seen:
            made = environment.write(folder / ".env", environment.EXAMPLE.read_text(encoding="utf-8"))
            settings = environment.variables((folder / ".env").read_text(encoding="utf-8"))
            seen.append(f"{len(made)} secrets")
        with report.step("programs") as seen:
            services = compose.services(settings, settings["COMPOSE_PROFILES"].split(","))
            machine = Machine(folder, services, network, report.line)
            seen.append(f"{len(machine.services)} of {len(services)} services, at 127.{network}.0.*")
        # Not before: on a new machine a program may have to be built first.
        signal.alarm(LIMIT_SECONDS)
        for name, why in machine.absent.items():
            report.line(f"{name:<20} not here: {why}")
        with report.step("every service is healthy"):
            machine.up()
        for what, act in Drive(machine).steps.items():
            with report.step(what) as seen:
                seen.append(act())
    finally:
        signal.alarm(0)
        if machine is not None:
            with report.step("everything is taken down"):
                machine.down()
        report.table()


@contextmanager
def _network() -> Iterator[int]:
    """A part of the loopback network that no other smoke test of this machine has."""
    for number in _NETWORKS:
        with socket.socket() as claim:
            try:
                claim.bind((f"127.{number}.0.1", _CLAIM_PORT))
            except OSError:
                continue
            yield number
            return
    raise SmokeError(f"every network 127.{_NETWORKS.start} to 127.{_NETWORKS.stop - 1} is in use by another smoke test")


def _stopping(why: str) -> signal._HANDLER:
    def stop(_number: int, _frame: FrameType | None) -> None:
        # One is enough: taking down must not be interrupted.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.alarm(0)
        raise _StoppedError(why)

    return stop


if __name__ == "__main__":
    sys.exit(main())
