"""What is killed again and again: processes of the test and services of the stack, at random moments of a schedule."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from deploy.services.errors import ServiceError
from deploy.services.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
START_ATTEMPTS = 5
MATURE = 0.75
"""Part of the lives in which the victim gets to work; in the others it may be killed while it starts."""
LONGEST_START = 60.0
"""Seconds that are waited for that."""


class Victim(Protocol):
    """Something that is killed and started again."""

    name: str

    def kill(self) -> bool:
        """SIGKILL; returns whether it was alive."""

    def start(self) -> None:
        """Start it, if it does not run."""

    def ready(self) -> bool:
        """Whether it has begun to work since it was started."""


class ProcessVictim:
    """One process at a time with the same command; what every life of it prints goes to one log.

    Args:
        name: For messages.
        command: Program and arguments.
        environment: All of it.
        log: File for its output.
        begins: What it prints when it begins to work.
        done: Exit codes that tell that there is no work left.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        begins: str = "",
        done: Collection[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        self.deaths: list[int] = []
        """Exit codes of lives that nobody ended, and that are not `done`: the exit codes of work that is done."""
        self._begins = begins.encode()
        self._done = done
        self._born_at = 0
        self._command = list(command)
        self._environment = environment
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """See Victim."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            with open(self.log, "ab") as output:
                self._born_at = output.tell()
                self._process = subprocess.Popen(
                    self._command, cwd=ROOT, env=self._environment, stdout=output, stderr=output, start_new_session=True
                )

    def kill(self) -> bool:
        """See Victim: the process and all that it started."""
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                return False
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._process = None
            return True

    def ready(self) -> bool:
        """See Victim."""
        with open(self.log, "rb") as log:
            log.seek(self._born_at)
            return self._begins in log.read()

    def revive(self) -> None:
        """Start it again where it ended by itself with its work not done, as a supervisor would."""
        with self._lock:
            if self._process is not None and self._process.poll() not in (None, *self._done):
                self.deaths.append(self._process.returncode)
                self._process = None
                self.start()

    def running(self) -> bool:
        """Whether it is at work."""
        with self._lock:
            return self._process is not None and self._process.poll() is None

    def finish(self, patience: float) -> None:
        """Wait until its work is done, however often it must be started for that."""

        def is_done() -> bool:
            self.revive()
            with self._lock:
                return self._process is not None and self._process.poll() in self._done

        until(is_done, patience, f"{self.name} to be done")

    def end(self, patience: float = 60.0) -> int:
        """Ask it to end (SIGTERM); its exit code."""
        with self._lock:
            assert self._process is not None, f"{self.name} does not run"
            self._process.terminate()
            try:
                return self._process.wait(patience)
            finally:
                self.kill()

    def tail(self, characters: int = 3000) -> str:
        """The end of what it printed."""
        return self.log.read_text(errors="replace")[-characters:]


@dataclass
class ServiceVictim:
    """A service of the stack."""

    stack: Stack
    name: str

    def kill(self) -> bool:
        """See Victim."""
        alive = self.stack.pid(self.name) is not None
        self.stack.kill(self.name)
        return alive

    def start(self) -> None:
        """See Victim: returns when it answers; another service that it needs can be away, so more than one attempt."""
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                self.stack.start(self.name)
                return
            except ServiceError:
                if attempt == START_ATTEMPTS:
                    raise
                time.sleep(1.0)

    def ready(self) -> bool:
        """See Victim: `start` has waited for it."""
        return True


@dataclass
class Torment:
    """Kills one victim until it is stopped, and starts it again: how long it lives and stays away is drawn each time.

    Args:
        victim: What is killed.
        kills: How often at least, before `enough`.
        life: Seconds to the kill from the moment when it began to work, or in one of four from its start.
        absence: Seconds from the kill to the next start, at most.
        seed: Of what is drawn.
    """

    victim: Victim
    kills: int
    life: tuple[float, float]
    absence: float
    seed: str
    done: int = 0
    hits: int = 0
    failure: BaseException | None = None
    _thread: threading.Thread = field(init=False)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        """Start killing."""
        self._thread = threading.Thread(target=self._guarded, name=self.victim.name, daemon=True)
        self._thread.start()

    @property
    def enough(self) -> float:
        """Part of the kills that have been made, at most 1."""
        return min(1.0, self.done / self.kills)

    def stop(self) -> None:
        """Kill no more."""
        self._stopped.set()
        self._thread.join()

    def check(self) -> None:
        """Raise what went wrong in the thread."""
        if self.failure is not None:
            raise RuntimeError(f"{self.victim.name} cannot be killed and started") from self.failure

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as failure:
            self.failure = failure

    def _run(self) -> None:
        chance = random.Random(self.seed)
        while not self._stopped.is_set():
            if chance.random() < MATURE:
                self._let_it_begin()
            if self._stopped.wait(chance.uniform(*self.life)):
                return
            self.hits += self.victim.kill()
            time.sleep(chance.uniform(0, self.absence))
            self.victim.start()
            self.done += 1

    def _let_it_begin(self) -> None:
        end = time.monotonic() + LONGEST_START
        while not self.victim.ready() and time.monotonic() < end:
            if self._stopped.wait(0.1):
                return


def until(probe: Callable[[], bool], seconds: float, what: str, every: float = 0.5) -> None:
    """Wait until `probe` is true.

    Raises:
        AssertionError: it never was in so many seconds.
    """
    end = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(every)
