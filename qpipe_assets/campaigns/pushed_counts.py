"""How far a campaign is, pushed to a PushGateway (`qp_batch_*`) while it goes on: beside its runs, not in their way."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qpipe_assets.campaigns.lanes import lane_of
from qpipe_assets.campaigns.status import CampaignCount, CampaignStatus, State
from qpipe_resources.batch_metrics import LaneCounts, push_batch
from qpipe_resources.catalog_database import lock_across_processes

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from qpipe_assets.campaigns.campaign_file import Campaign
    from qpipe_assets.tables.installation import Installation
    from simulation.monitor_settings import MonitorSettings

EVERY_SECONDS = 5.0
"""Least pause between two pushes."""
SHARE = 20
"""A pause is at least so many times as long as the count before it took: a large campaign is counted less often."""
LAST_SECONDS = 30.0
"""How long the end of a campaign's run waits for its last push."""

_log = logging.getLogger(__name__)


def lane_counts(status: CampaignStatus) -> list[LaneCounts]:
    """The states of a campaign's runs, by lane; what took too long has failed."""
    of_lane: dict[str, list[str]] = {}
    for molecule in dict.fromkeys(one.molecule for one in status.runs):
        of_lane.setdefault(lane_of(molecule), []).append(molecule)
    return [_counts(lane, molecules, status) for lane, molecules in sorted(of_lane.items())]


def _counts(lane: str, molecules: list[str], status: CampaignStatus) -> LaneCounts:
    counts = {state: sum(status.counts(molecule)[state] for molecule in molecules) for state in State}
    return LaneCounts(
        lane,
        done=counts[State.DONE],
        failed=counts[State.FAILED] + counts[State.TIMED_OUT],
        pending=counts[State.PENDING],
        in_progress=counts[State.RUNNING],
        infeasible=counts[State.INFEASIBLE],
        last_completion=max((status.last_ends[one] for one in molecules if one in status.last_ends), default=None),
    )


@contextmanager
def counts_pushed(
    campaign: Campaign | None, installation: Installation, instance: DagsterInstance, settings: MonitorSettings
) -> Iterator[Callable[[], None]]:
    """Push the counts of a campaign: now, soon after each call of what is given, and when the block ends.

    The counts are of the whole campaign, so it does not matter which of its molecules is computed here; who counts
    later pushes later, across processes, so the last ones to lie on the gateway are the newest.

    Args:
        campaign: The whole of it; nothing is pushed without one.
        installation: Where its runs land.
        instance: Whose runs compute it.
        settings: Whether and where metrics are pushed.
    """
    if campaign is None or not settings.enabled or settings.gateway is None:
        yield lambda: None
        return
    tier = campaign.name.removeprefix("tier-")
    count = CampaignCount(campaign, installation, instance)
    engine = installation.lakehouse.engine
    lock = installation.settings.home / f"counts-{campaign.name}.lock" if engine.dialect.name == "sqlite" else None

    def push() -> None:
        with lock_across_processes(engine, f"qpipe counts of {campaign.name}", lock):
            push_batch(tier, lane_counts(count.now()), settings)

    repeated = Repeated(push, f"the counts of {campaign.name}")
    try:
        yield repeated.again
    finally:
        repeated.end()


class Repeated:
    """Something that is done in a thread of its own, at the beginning, when it is asked for, and at the end.

    Asking never waits; who asks more often than EVERY_SECONDS and SHARE allow is served once for all. An error is a
    warning, and the next time it is tried again.

    Args:
        what: What is done.
        name: What it is called in a warning.
    """

    def __init__(self, what: Callable[[], None], name: str) -> None:
        self._what = what
        self._name = name
        self._asked = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def again(self) -> None:
        """Ask for one more time."""
        self._asked.set()

    def end(self) -> None:
        """Do it a last time, and wait for that, but not for ever."""
        self._over.set()
        self._asked.set()
        self._thread.join(LAST_SECONDS)
        if self._thread.is_alive():
            _log.warning("%s are not waited for any longer: %.0f s have passed", self._name, LAST_SECONDS)

    def _work(self) -> None:
        last = False
        while not last:
            self._asked.clear()
            # After the line above, so that an end that comes in between is not slept through.
            last = self._over.is_set()
            began = time.monotonic()
            try:
                self._what()
            except Exception as error:  # whatever ails it, the runs go on
                _log.warning("%s could not be pushed: %s: %s", self._name, type(error).__name__, error)
            if not last:
                self._over.wait(max(EVERY_SECONDS, SHARE * (time.monotonic() - began)))
                self._asked.wait()
