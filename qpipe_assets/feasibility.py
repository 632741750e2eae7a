"""Which planned runs cannot fit, and why: asked of the estimate once for all that differ in nothing that matters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qpipe_assets.campaign import PlannedRun

_WITHOUT_INFLUENCE = {
    "seed",
    "optimizer",
    "init_strategy",
    "previous",
    "threshold",
    "max_iterations",
    "adapt_threshold",
    "replicate",
}
"""Options that change neither the size of a run nor what computes it."""


def refusals(runs: Iterable[PlannedRun]) -> dict[str, str]:
    """Why each run that would not start on this machine cannot, with the active space that could, by experiment."""
    from simulation.engines.base import EngineError
    from simulation.estimate import estimate
    from simulation.problem import ProblemError

    known: dict[tuple[str, str], str | None] = {}
    refused = {}
    for run in runs:
        kind = (
            run.molecule.to_record().model_dump_json(),
            run.options.model_dump_json(exclude=_WITHOUT_INFLUENCE),
        )
        if kind not in known:
            try:
                known[kind] = estimate(run.molecule, run.options).refusal
            except (EngineError, ProblemError) as error:
                known[kind] = str(error)
        if (why := known[kind]) is not None:
            refused[run.experiment_id] = why
    return refused
