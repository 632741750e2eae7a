"""What Dagster's log says of a run that has ended: what it wrote, what it computed, where and why it failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster import AssetMaterialization, DagsterEventType, EventLogEntry
from dagster._utils.error import SerializableErrorInfo

from qpipe_assets.partitions import molecules_of_run
from qpipe_assets.tables import schemas

MOST_LINES = 12
"""Lines of an error that are told; the run's page has the others."""
LONGEST_LINE = 400
CAMPAIGN_COUNTS = ("asked", "computed", "skipped", "failed", "invalid", "infeasible", "waiting")
"""Those of vqe_runs' metadata that are told (campaign_outcome.py)."""


@dataclass(frozen=True)
class Written:
    """What a run wrote, by its materializations."""

    rows: dict[str, int]
    """Rows added to each table that was brought up to date."""
    campaigns: list[dict[str, int | str]]
    """Of each molecule whose VQE runs were asked for: how many, and what became of them."""
    molecules: list[str]


@dataclass(frozen=True)
class FailedStep:
    """Where a run failed, and the first lines of why; the step is empty where no step of it failed."""

    step: str
    reason: str
    after_retries: bool = False


def written_by(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Written:
    """What the run wrote."""
    rows: Counter[str] = Counter()
    campaigns: list[dict[str, int | str]] = []
    molecules = set(molecules_of_run(run, instance) or [])
    for made in _materializations(instance, run.run_id):
        metadata: dict[str, Any] = {name: value.value for name, value in made.metadata.items()}
        table = made.asset_key.path[-1]
        if made.partition:
            molecules.add(made.partition)
        if "rows_added" in metadata:
            rows[table] += int(metadata["rows_added"])
        if "computed" in metadata and "asked" in metadata:
            counts = {name: int(metadata[name]) for name in CAMPAIGN_COUNTS if name in metadata}
            campaigns.append({"molecule": made.partition or "", **counts})
    order = schemas.names(schemas.ALL)
    in_order = {name: rows[name] for name in sorted(rows, key=lambda name: order.index(name) if name in order else 99)}
    return Written(in_order, campaigns, sorted(molecules))


def failures_of(instance: dg.DagsterInstance, run_id: str) -> list[FailedStep]:
    """The steps that failed, in the order in which they did; what is said of the run itself where none did."""
    failed = []
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE):
        if (event := entry.dagster_event) is None:
            continue
        data = event.step_failure_data
        text = data.user_failure_data.description if data.user_failure_data else None
        error = data.error
        retried = error is not None and error.message.startswith("Exceeded max_retries")
        failed.append(FailedStep(event.step_key or "", _first_lines(text or _root(error)), retried))
    return failed or [FailedStep("", _first_lines(text)) for text in _run_failures(instance, run_id)]


def _materializations(instance: dg.DagsterInstance, run_id: str) -> Iterator[AssetMaterialization]:
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION):
        if entry.asset_materialization is not None:
            yield entry.asset_materialization


def _run_failures(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    entries: list[EventLogEntry] = list(instance.all_logs(run_id, of_type=DagsterEventType.RUN_FAILURE))
    messages = [entry.dagster_event.message or "" for entry in entries if entry.dagster_event is not None]
    return [message for message in messages if message][:1] or ["Dagster does not say why"]


def _root(error: SerializableErrorInfo | None) -> str:
    """The message of what came first: Dagster wraps it in its own words."""
    if error is None:
        return "Dagster does not say why"
    while error.cause is not None:
        error = error.cause
    return error.message


def _first_lines(text: str) -> str:
    lines = [line[:LONGEST_LINE] for line in text.strip().splitlines()]
    more = [f"... and {len(lines) - MOST_LINES} lines more"] if len(lines) > MOST_LINES else []
    return "\n".join([*lines[:MOST_LINES], *more])
