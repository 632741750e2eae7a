"""Whether a service is still asked: one that failed several times in a row costs everybody its timeouts."""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURES = 3
"""So many failures in a row are the service's, and the next record would only wait for it, too."""
PROBE_SECONDS = 60.0
"""How long a service is left alone then, before one record tries it again."""


class Breaker:
    """The failures in a row of one way out; open while it is not to be asked.

    Args:
        clock: Seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._asked_again_at = 0.0
        self.error: Exception | None = None
        """The last failure of the service."""

    @property
    def open(self) -> bool:
        """Whether the service is to be left alone now."""
        return self._failures >= FAILURES and self._clock() < self._asked_again_at

    def succeeded(self) -> None:
        """The service took a record."""
        self._failures, self.error = 0, None

    def failed(self, error: Exception) -> None:
        """A record did not leave; its cause says `transient = False` where that tells nothing of the next one."""
        if getattr(error.__cause__, "transient", True):
            self._failures += 1
            self._asked_again_at = self._clock() + PROBE_SECONDS
            self.error = error

    def try_once(self) -> None:
        """Let the next record try the service, whatever it did before."""
        self._asked_again_at = self._clock()
