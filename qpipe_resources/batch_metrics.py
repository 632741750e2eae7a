"""How far a campaign is, as metrics (`qp_batch_*`): one group a tier, replaced by each push."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qpipe_resources.push_gateway import Group, Sample, offer
from simulation.monitor_settings import MonitorSettings

BATCH_JOB = "qp-batch"
"""Name of the job."""


@dataclass(frozen=True)
class LaneCounts:
    """The runs of a tier that go through one lane, by their state.

    Attributes:
        lane: Name of the lane (`cpu`, `gpu1`).
        done: Runs that have landed.
        failed: Runs that ended without a result, those over their time limit included.
        pending: Runs that wait.
        in_progress: Runs that compute.
        infeasible: Runs that cannot fit and are not attempted.
        last_completion: When the last run ended (seconds since the epoch), None before the first.
    """

    lane: str
    done: int
    failed: int
    pending: int
    in_progress: int
    infeasible: int = 0
    last_completion: float | None = None

    def __post_init__(self) -> None:
        for name in _STATES:
            if (count := getattr(self, name)) < 0:
                raise ValueError(f"{name} of lane {self.lane!r} is {count}, expected a number of runs: 0 or more")

    @property
    def total(self) -> int:
        """All runs of the lane."""
        return sum(getattr(self, name) for name in _STATES)


_STATES = {
    "done": "Runs that have landed",
    "failed": "Runs that ended without a result",
    "pending": "Runs that wait",
    "in_progress": "Runs that compute",
    "infeasible": "Runs that cannot fit and are not attempted",
}


def batch_samples(lanes: Sequence[LaneCounts]) -> Iterable[Sample]:
    """The metrics of a tier, without their label `tier`, which is the group's key."""
    yield "qp_batch_total", "Runs of the tier", {}, float(sum(lane.total for lane in lanes))
    for lane in lanes:
        label = {"lane": lane.lane}
        for state, text in _STATES.items():
            yield f"qp_batch_{state}", text, label, float(getattr(lane, state))
        yield "qp_batch_last_completion_ts", "When the last run ended (s since the epoch)", label, lane.last_completion


def push_batch(tier: str, lanes: Sequence[LaneCounts], settings: MonitorSettings) -> bool:
    """Push how far a tier is; False where nothing was sent, with a warning where that failed.

    Args:
        tier: Number of the tier, or name of the campaign.
        lanes: Its runs, by lane.
        settings: Whether and where metrics are pushed.
    """
    if not settings.enabled or settings.gateway is None:
        return False
    group = Group(settings.gateway, BATCH_JOB, {"tier": tier})
    return offer(settings.gateway, group, batch_samples(lanes), f"the counts of tier {tier}")
