"""A day that does not end while a test runs: the ledger's clock begins at noon, however late it is."""

from __future__ import annotations

import datetime as dt

import pytest

from qpipe_assets.tables import ledger

_STARTED = dt.datetime.now(dt.UTC)
NOON = _STARTED.replace(hour=12, minute=0, second=0, microsecond=0)
"""Noon of the day (UTC) on which the tests were started."""
TOMORROW = NOON + dt.timedelta(hours=14)
"""When that day is over, for compaction, too."""


def begin_at_noon(patch: pytest.MonkeyPatch) -> None:
    """Let the batches that this process claims from now on be of the day of NOON; one later than the other, as ever."""
    shift = NOON - dt.datetime.now(dt.UTC)
    patch.setattr(ledger, "_now", lambda: (dt.datetime.now(dt.UTC) + shift).isoformat(timespec="microseconds"))
