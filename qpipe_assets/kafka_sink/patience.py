"""Trying again, for as long as it takes, what fails because a service is down; and saying so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
"""Seconds between two attempts; a service that is back is noticed within the longest."""
TELL_EVERY = 60.0
"""Seconds between two log lines about the same service."""

Result = TypeVar("Result")


class GivenUpError(RuntimeError):
    """Something was still failing when the work was stopped; it is undone and will be tried by whoever comes next."""


class Patience:
    """Attempts that are repeated until they succeed or the work is stopped. Safe to share among threads.

    Args:
        log: Told at once that a service fails, then every minute, and when it is back.
        stopped: Set when the work shall end: a pause ends at once, and nothing is attempted any more.
        again: Whether to repeat at all.
    """

    def __init__(self, log: Callable[[str], None], stopped: threading.Event, *, again: bool = True) -> None:
        self._log = log
        self._stopped = stopped
        self._again = again
        self._lock = threading.Lock()
        self._failing: dict[str, _Failing] = {}

    def attempt(
        self, service: str, action: Callable[[], Result], transient: tuple[type[Exception], ...] = (Exception,)
    ) -> Result:
        """The result of the first attempt that succeeds.

        Args:
            service: What may fail, as the reader of the log calls it.
            action: May be done any number of times.
            transient: Errors that pass; others are raised at once.

        Raises:
            GivenUpError: the work was stopped before the action succeeded.
        """
        reason = f"{service}: not tried, the work was stopped"
        for pause in _pauses():
            if self._stopped.is_set():
                break
            try:
                result = action()
            except transient as error:
                self.failed(service, error)
                reason = _reason(service, error)
            else:
                self.succeeded(service)
                return result
            if not self._again:
                break
            # Outside the handler: an error keeps all that its action held, which is much where memory ran out.
            self._stopped.wait(pause)
        raise GivenUpError(reason)

    def is_failing(self, service: str) -> bool:
        """Whether the last attempt failed."""
        return service in self._failing

    def trouble(self) -> tuple[float, str] | None:
        """Seconds for which the service that fails longest has failed, and its last error; None when all is well."""
        with self._lock:
            longest = min(self._failing.values(), key=lambda failing: failing.since, default=None)
            return None if longest is None else (time.monotonic() - longest.since, longest.reason)

    def failed(self, service: str, error: Exception) -> None:
        """Take note of an attempt that failed."""
        now, reason = time.monotonic(), _reason(service, error)
        with self._lock:
            failing = self._failing.setdefault(service, _Failing(now, reason))
            failing.reason = reason
            due = now >= failing.told + TELL_EVERY
            if due:
                failing.told = now
        if due:
            waited = f" for {now - failing.since:.0f} s" if now - failing.since >= 1 else ""
            self._log(f"waiting{waited}, nothing is lost: {reason}")

    def succeeded(self, service: str) -> None:
        """Take note of an attempt that succeeded."""
        if service not in self._failing:
            return
        with self._lock:
            failing = self._failing.pop(service, None)
        if failing is not None:
            self._log(f"{service} is back after {time.monotonic() - failing.since:.0f} s")


class _Failing:
    """A service that fails: since when, why, and when that was last told (monotonic seconds)."""

    def __init__(self, since: float, reason: str) -> None:
        self.since = since
        self.reason = reason
        self.told = float("-inf")


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)


def _reason(service: str, error: Exception) -> str:
    # Errors of this project name service and remedy; of others the type often says more than the text.
    if type(error).__module__.startswith("qpipe_"):
        return str(error)
    return f"{service}: {type(error).__name__}: {error}; `qpipe doctor` says what to mend"
