"""A few attempts within a bounded time, for what may be lost: a notification."""

from __future__ import annotations

import time
from collections.abc import Callable

ATTEMPTS = 3
PAUSE_SECONDS = 1.0


class NotDeliveredError(Exception):
    """A notification that a channel did not take; names the channel, never a secret."""


class FinalError(Exception):
    """A refusal that another attempt would get as well."""


def attempt(send: Callable[[float], None], seconds: float, channel: str) -> None:
    """Try to send until it works, three times at most, and no longer than asked.

    Args:
        send: gets the seconds that are left; raises OSError where another attempt may help.
        seconds: for all attempts together.
        channel: what it is, for the error.

    Raises:
        NotDeliveredError: it did not work.
    """
    end = time.monotonic() + seconds
    for number in range(1, ATTEMPTS + 1):
        try:
            return send(max(0.1, end - time.monotonic()))
        except FinalError as error:
            raise NotDeliveredError(f"{channel}: {error}") from None
        except OSError as error:
            if number == ATTEMPTS or time.monotonic() + PAUSE_SECONDS * number >= end:
                raise NotDeliveredError(f"{channel}: {type(error).__name__}: {error}") from None
        time.sleep(PAUSE_SECONDS * number)
