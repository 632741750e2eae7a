"""What is common to all services: install, configure, start, wait until ready, prepare, stop."""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from deploy.services.errors import ServiceError
from deploy.services.process import ServerProcess, base_environment
from deploy.services.programs import tell
from deploy.services.state import State, is_free


class Service(ABC):
    """One server. Every step may be repeated: what is there already is left as it is."""

    name: ClassVar[str]
    title: ClassVar[str]
    ports: ClassVar[Mapping[str, int]]
    """Names of the listeners and the ports they prefer."""
    start_timeout: ClassVar[float] = 120.0
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, state: State) -> None:
        self.state = state
        self.folder = state.folder / self.name
        self.process = ServerProcess(self.folder)

    @abstractmethod
    def install(self) -> None:
        """Fetch or build the program where it is missing."""

    @abstractmethod
    def configure(self) -> None:
        """Write the configuration and make the empty storage where there is none."""

    @abstractmethod
    def command(self) -> list[str]:
        """Program and arguments; no secrets, for everybody may read them."""

    def environment(self) -> dict[str, str]:
        """Environment of the process."""
        return base_environment()

    @property
    def user(self) -> str | None:
        """Who the process runs as; None: the caller."""
        return None

    @abstractmethod
    def ready(self) -> bool:
        """Whether it answers requests."""

    @abstractmethod
    def prepare(self) -> None:
        """Create users, buckets, databases or topics that clients expect."""

    def launch(self) -> bool:
        """Start the process unless it runs; returns whether it was started.

        Raises:
            ServiceError: another program has its port.
        """
        if self.process.pid is not None:
            return False
        for port in self.ports:
            if not is_free(self.state.ports[port]):
                raise ServiceError(
                    f"{self.title}: another program has port {self.state.ports[port]} ({port}); "
                    "stop it, or run `make services` again to get another port"
                )
        tell(f"starting {self.title}")
        self.configure()
        self.process.start(self.command(), self.environment(), self.user)
        return True

    def wait(self) -> None:
        """Wait until the service answers.

        Raises:
            ServiceError: its process ended, or does not answer in time; carries the end of its log.
        """
        deadline = time.monotonic() + self.start_timeout
        while True:
            alive = self.process.pid is not None
            if alive and self.ready():
                return
            if not alive or time.monotonic() > deadline:
                what = f"does not answer after {self.start_timeout:.0f} s" if alive else "ended while it started"
                raise ServiceError(f"{self.title} {what}; {self.process.log} ends:\n{self.process.last_words()}")
            time.sleep(0.1)

    def stop(self, timeout: float = 60.0) -> None:
        """Stop the process in the way that lets it finish its work."""
        self.process.stop(self.stop_signal, timeout)
