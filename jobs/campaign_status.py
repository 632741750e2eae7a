"""How far a campaign is: asked of the lake (what has landed) and of Dagster's runs (what runs, what failed)."""

from __future__ import annotations

import enum
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dagster import DagsterRunStatus, RunRecord, RunsFilter

from qpipe_assets.campaign import IDENTITY_DIGITS, PlannedRun
from qpipe_assets.campaign_progress import CAMPAIGN_TAG, Progress, ToldProgress, process_lives
from qpipe_assets.feasibility import refusals
from qpipe_assets.landing import Landing
from qpipe_assets.partitions import PARTITION_TAG
from qpipe_resources.simulation_workers import default_workers

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from qpipe_assets.campaigns.campaign_file import Campaign
    from qpipe_assets.tables.installation import Installation

_COMPUTING = (DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING)
LATEST_RUNS = 3
"""Dagster runs of each molecule whose logs are read: the last one has tried what the ones before have not done."""
MEASURED = 20
"""Runs, the last ones, whose mean duration the remaining time is reckoned with."""


class State(enum.StrEnum):
    """What became of a run of a campaign; each is in exactly one."""

    DONE = "done"
    RUNNING = "running"
    FAILED = "failed"
    PENDING = "pending"
    INFEASIBLE = "infeasible"


@dataclass(frozen=True)
class RunStatus:
    """A run, its state, and the reason where it failed or cannot fit."""

    molecule: str
    run: PlannedRun
    state: State
    reason: str | None = None


@dataclass
class CampaignStatus:
    """The states of all runs of a campaign, in their order."""

    campaign: str
    workers: int
    """Runs that one Dagster run computes at once."""
    runs: list[RunStatus] = field(default_factory=list)
    live: int = 0
    """Dagster runs that compute now."""
    ended: list[tuple[float, float]] = field(default_factory=list)

    def counts(self, molecule: str | None = None) -> dict[State, int]:
        """Runs in each state, of one molecule or all; they sum to the total."""
        found = Counter(one.state for one in self.runs if molecule in (None, one.molecule))
        return {state: found[state] for state in State}

    @property
    def mean_seconds(self) -> float | None:
        """Mean duration of the last runs that were computed (seconds), None where none was."""
        last = [seconds for _, seconds in sorted(self.ended)[-MEASURED:]]
        return sum(last) / len(last) if last else None

    def eta_seconds(self, molecule: str | None = None) -> float | None:
        """Seconds until nothing is pending: pending / parallelism * mean of the last runs; None before the first."""
        mean = self.mean_seconds
        if mean is None:
            return None
        return self.counts(molecule)[State.PENDING] / (self.workers * max(1, self.live)) * mean


def campaign_status(campaign: Campaign, installation: Installation, instance: DagsterInstance) -> CampaignStatus:
    """The state of every run of a campaign, now.

    A run that has landed is done, whatever else is told of it; a run that cannot fit is infeasible unless somebody has
    computed it elsewhere; one that a Dagster run has started whose process lives is running; one that failed in the
    last Dagster run that tried it has failed. The rest is pending, what was under way when it was killed included.
    """
    workers = installation.settings.workers or default_workers(len(os.sched_getaffinity(0)))
    status = CampaignStatus(campaign.name, workers)
    for molecule, planned in campaign.plan():
        landing = Landing(installation.store, installation.settings, molecule, ledger=installation.ledger)
        landed = landing.landed([run.experiment_id for run in planned])
        refused = refusals(run for run in planned if run.experiment_id not in landed)
        told = _Told(instance, campaign.name, molecule)
        for run in planned:
            identity = run.experiment_id
            if identity in landed:
                one = RunStatus(molecule, run, State.DONE)
            elif identity in refused:
                one = RunStatus(molecule, run, State.INFEASIBLE, refused[identity])
            else:
                one = RunStatus(molecule, run, *told.state(identity[:IDENTITY_DIGITS]))
            status.runs.append(one)
        status.live += told.live
        status.ended += told.progress.ended
    return status


class _Told:
    """What Dagster's latest runs of a campaign on a molecule tell."""

    def __init__(self, instance: DagsterInstance, campaign: str, molecule: str) -> None:
        self.progress = ToldProgress()
        self.live = 0
        self._running: set[str] = set()
        for record in reversed(list(_latest(instance, campaign, molecule))):
            run = record.dagster_run
            self.progress.read(instance.all_logs(run.run_id))
            begun = {one for one, progress in self.progress.latest.items() if progress is Progress.STARTED}
            if run.status in _COMPUTING and process_lives(run):
                self.live += 1
                self._running |= begun
            else:
                # It was killed: nobody is at what it had begun.
                for one in begun - self._running:
                    del self.progress.latest[one]

    def state(self, identity: str) -> tuple[State, str | None]:
        progress = self.progress.latest.get(identity)
        if progress is Progress.STARTED:
            return State.RUNNING, None
        if progress is Progress.FAILED:
            return State.FAILED, self.progress.reasons.get(identity)
        return State.PENDING, None


def _latest(instance: DagsterInstance, campaign: str, molecule: str) -> Iterator[RunRecord]:
    """The latest Dagster runs of the campaign on the molecule that have begun, newest first."""
    # A run gets the campaign's tag when its computation begins.
    wanted = RunsFilter(tags={CAMPAIGN_TAG: campaign, PARTITION_TAG: molecule})
    yield from instance.get_run_records(wanted, limit=LATEST_RUNS)
