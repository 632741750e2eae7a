"""How far a campaign is: asked of the lake (what has landed) and of Dagster's runs (what runs, what failed)."""

from __future__ import annotations

import enum
import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from dagster import RunsFilter

from qpipe_assets.campaign import IDENTITY_DIGITS, PlannedRun
from qpipe_assets.campaign_progress import CAMPAIGN_TAG, COMPUTING, Progress, ProgressLog, ToldProgress, process_lives
from qpipe_assets.feasibility import refusals
from qpipe_assets.landing import Landing
from qpipe_assets.partitions import PARTITION_TAG
from qpipe_resources.simulation_workers import default_workers

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

    from qpipe_assets.campaign_progress import ToldLine
    from qpipe_assets.campaigns.campaign_file import Campaign
    from qpipe_assets.tables.installation import Installation

LATEST_RUNS = 3
"""Dagster runs of each molecule, the latest ones, whose logs are read in any case."""
MOST_RUNS = 20
"""Dagster runs of each molecule whose logs are read at most, until there is a word on each run that has not landed."""
MEASURED = 20
"""Runs, the last ones, whose mean duration the remaining time is reckoned with."""


class State(enum.StrEnum):
    """What became of a run of a campaign; each is in exactly one."""

    DONE = "done"
    RUNNING = "running"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    PENDING = "pending"
    INFEASIBLE = "infeasible"


@dataclass(frozen=True)
class RunStatus:
    """A run, its state, and the reason where it failed, took too long or cannot fit."""

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
    computed: list[tuple[float, float]] = field(default_factory=list)
    """Of the runs whose duration is known: when they ended (seconds since 1970), and how long they took (seconds)."""
    last_ends: dict[str, float] = field(default_factory=dict)
    """By molecule, when its last run ended, in whatever way (seconds since 1970)."""

    def counts(self, molecule: str | None = None) -> dict[State, int]:
        """Runs in each state, of one molecule or all; they sum to the total."""
        found = Counter(one.state for one in self.runs if molecule in (None, one.molecule))
        return {state: found[state] for state in State}

    @property
    def mean_seconds(self) -> float | None:
        """Mean duration of the last runs that were computed (seconds), None where none was."""
        last = [seconds for _, seconds in sorted(self.computed)[-MEASURED:]]
        return sum(last) / len(last) if last else None

    def eta_seconds(self, molecule: str | None = None) -> float | None:
        """Seconds until nothing is pending: pending / parallelism * mean of the last runs; None before the first."""
        mean = self.mean_seconds
        if mean is None:
            return None
        return self.counts(molecule)[State.PENDING] / (self.workers * max(1, self.live)) * mean


def campaign_status(campaign: Campaign, installation: Installation, instance: DagsterInstance) -> CampaignStatus:
    """The state of every run of a campaign, now (see `CampaignCount`)."""
    return CampaignCount(campaign, installation, instance).now()


class CampaignCount:
    """Counts a campaign's runs as often as it is asked, and learns only once what does not change.

    A run that has landed is done, whatever else is told of it; a run that cannot fit is infeasible unless somebody has
    computed it elsewhere; one that a Dagster run has started whose process lives is running; one that failed or took
    too long in the last Dagster run that tried it has failed or timed out. The rest is pending, what was under way when
    it was killed included.
    """

    def __init__(self, campaign: Campaign, installation: Installation, instance: DagsterInstance) -> None:
        self._campaign = campaign
        self._installation = installation
        self._instance = instance
        self._log = ProgressLog(instance)
        self._refusals: dict[str, str | None] = {}

    @cached_property
    def _plan(self) -> list[tuple[str, list[PlannedRun]]]:
        return list(self._campaign.plan())

    def now(self) -> CampaignStatus:
        """The state of every run."""
        settings = self._installation.settings
        status = CampaignStatus(self._campaign.name, settings.workers or default_workers(len(os.sched_getaffinity(0))))
        for molecule, planned in self._plan:
            landed = self._landed(molecule, planned)
            lacking = [run for run in planned if run.experiment_id not in landed]
            told = self._told(molecule, {run.experiment_id[:IDENTITY_DIGITS] for run in lacking})
            refused = self._refused(lacking)
            for run in planned:
                identity = run.experiment_id
                if identity in landed:
                    one = RunStatus(molecule, run, State.DONE)
                elif (why := refused.get(identity)) is not None:
                    one = RunStatus(molecule, run, State.INFEASIBLE, why)
                else:
                    one = RunStatus(molecule, run, *told.state(identity[:IDENTITY_DIGITS]))
                status.runs.append(one)
            status.live += told.live
            status.computed += told.progress.computed
            if told.progress.last_end is not None:
                status.last_ends[molecule] = told.progress.last_end
        return status

    def _landed(self, molecule: str, planned: list[PlannedRun]) -> set[str]:
        installation = self._installation
        landing = Landing(installation.store, installation.settings, molecule, ledger=installation.ledger)
        return landing.landed([run.experiment_id for run in planned])

    def _refused(self, runs: list[PlannedRun]) -> dict[str, str | None]:
        unasked = [run for run in runs if run.experiment_id not in self._refusals]
        self._refusals |= dict.fromkeys((run.experiment_id for run in unasked), None) | refusals(unasked)
        return self._refusals

    def _told(self, molecule: str, lacking: set[str]) -> _Told:
        """What the latest Dagster runs of the campaign on the molecule that have begun tell of the runs it lacks.

        Each may have been asked for another part of the campaign, so the last one has not tried them all.
        """
        # A run gets the campaign's tag when its computation begins.
        wanted = RunsFilter(tags={CAMPAIGN_TAG: self._campaign.name, PARTITION_TAG: molecule})
        latest: list[tuple[DagsterRun, list[ToldLine]]] = []
        untold = set(lacking)
        for record in self._instance.get_run_records(wanted, limit=MOST_RUNS):
            if len(latest) >= LATEST_RUNS and not untold:
                break
            lines = self._log.of(record.dagster_run.run_id)
            latest.append((record.dagster_run, lines))
            untold.difference_update(line.identity for line in lines)
        told = _Told()
        for run, lines in reversed(latest):
            told.read(lines, lives=run.status in COMPUTING and process_lives(run))
        return told


class _Told:
    """What Dagster's runs of a campaign on a molecule tell, one after the other."""

    def __init__(self) -> None:
        self.progress = ToldProgress()
        self.live = 0
        self._running: set[str] = set()

    def read(self, lines: list[ToldLine], *, lives: bool) -> None:
        """Take in a later run."""
        self.progress.read(lines)
        begun = {one for one, progress in self.progress.latest.items() if progress is Progress.STARTED}
        if lives:
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
        if progress in _WITHOUT_RESULT:
            return _WITHOUT_RESULT[progress], self.progress.reasons.get(identity)
        return State.PENDING, None


_WITHOUT_RESULT = {Progress.FAILED: State.FAILED, Progress.TIMED_OUT: State.TIMED_OUT}
