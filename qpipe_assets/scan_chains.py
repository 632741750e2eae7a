"""The order of runs that start from one another, and the curves of a campaign's scans."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from qpipe_assets.campaign import PlannedRun
from qpipe_assets.reports.asset_metadata import scan_markdown
from simulation.scans import afresh, better, needs_comparison

if TYPE_CHECKING:
    from simulation.record import VQEDecoratedResult

MOST_PICTURES = 4


class NothingToStartFromError(LookupError):
    """The experiment whose optimum a run starts from has not landed; names it."""


class ScanChains:
    """What is known of a campaign's runs while they are computed: which can start now, from what, and the curves.

    Args:
        planned: All runs of the campaign.
        landed: Gives the record of an experiment that has landed, None where it has not.
    """

    def __init__(self, planned: Sequence[PlannedRun], landed: Callable[[str], VQEDecoratedResult | None]) -> None:
        self._planned = planned
        self._landed = landed
        self._records: dict[str, VQEDecoratedResult] = {}
        self._curves: dict[str, dict[float, VQEDecoratedResult]] = defaultdict(dict)
        self._again: list[PlannedRun] = []

    def rounds(self, wanted: Sequence[PlannedRun]) -> Iterator[list[PlannedRun]]:
        """Runs that can be computed side by side, after those of the round before have been noted."""
        by_depth = defaultdict(list)
        for run in wanted:
            by_depth[run.point.depth if run.point else 0].append(run)
        self._note_landed(wanted)
        for depth in sorted(by_depth):
            again, self._again = self._again, []
            yield again + by_depth[depth]
        again, self._again = self._again, []
        if again:
            yield again

    def previous(self, run: PlannedRun) -> VQEDecoratedResult | None:
        """The record that a run starts from, None where it starts from nothing.

        Raises:
            NothingToStartFromError: there is no such record, because it failed or was never computed.
        """
        identity = run.options.previous
        if identity is None:
            return None
        record = self._records.get(identity) or self._landed(identity)
        if record is None:
            raise NothingToStartFromError(
                f"not started: experiment {identity[:12]}, from which it starts, is not there"
            )
        return record

    def note(self, run: PlannedRun, record: VQEDecoratedResult) -> None:
        """A run of the campaign was computed."""
        if run.point is None or run.first is None:
            return
        self._records[run.experiment_id] = record
        curve, value = self._curves[run.first.experiment_id], run.point.position.value
        curve[value] = better(curve[value], record) if value in curve else record
        if needs_comparison(run.point, record):
            point = afresh(run.point, run.first)
            there = self._landed(point.experiment_id)
            if there is not None:
                curve[value] = better(curve[value], there)
            else:
                self._again.append(PlannedRun(point.experiment_id, run.molecule, point.options, point, run.first))

    def pictures(self, molecule: str) -> str:
        """The curves as Markdown images, the first few of them; empty without a scan."""
        drawn = []
        for curve in list(self._curves.values())[:MOST_PICTURES]:
            records = list(curve.values())
            initial = records[0].vqe_result.initial_data
            title = f"{molecule}, {records[0].basis_set}, {initial.ansatz_name} x{initial.ansatz_reps}"
            drawn.append(scan_markdown(f"{title}, {initial.optimizer}", records))
        return "\n\n".join(drawn)

    def _note_landed(self, wanted: Sequence[PlannedRun]) -> None:
        """Points of scans that are there already stand on their curves, too."""
        computed = {run.experiment_id for run in wanted}
        for run in self._planned:
            if run.point is not None and run.experiment_id not in computed:
                record = self._landed(run.experiment_id)
                if record is not None:
                    self.note(run, record)
