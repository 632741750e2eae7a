"""Which runs to ask for, given what is pending and what was asked for before: nothing twice, nothing given up.

Everything is derived from the ledger and from Dagster's own runs; no cursor is kept that could be lost or be wrong.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

import dagster as dg
from dagster import DagsterRunStatus, RunRecord, RunsFilter

from jobs.pending import PendingWork
from qpipe_assets.partitions import molecules_of_run
from qpipe_assets.tables import schemas

FINGERPRINT_TAG = "qpipe/pending"
"""Tag of a run with the fingerprint of what it was asked to process."""

FIRST_BACK_OFF = dt.timedelta(minutes=1)
LONGEST_BACK_OFF = dt.timedelta(hours=6)
IN_PROGRESS_TRUSTED_FOR = dt.timedelta(hours=1)
"""A run that died with its machine stays 'in progress'; after this time it stops nobody: two runs do no harm."""

_ANY = "*"
IN_PROGRESS = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
_TABLES = {dg.AssetKey(name) for name in (*schemas.NORMALIZED_NAMES, *schemas.ML_NAMES)}


def run_requests(
    instance: dg.DagsterInstance,
    pending: Iterable[PendingWork],
    table_jobs: Sequence[str],
    now: dt.datetime | None = None,
) -> list[dg.RunRequest]:
    """One request for each molecule that waits, unless a run is at it or the last one failed a short while ago.

    Args:
        instance: whose runs count.
        pending: what waits.
        table_jobs: names of the jobs that write tables.
        now: the present, for tests.
    """
    moment = now or dt.datetime.now(dt.UTC)
    busy = _busy_molecules(instance, table_jobs, moment)
    requests = []
    for work in pending:
        if work.molecule in busy or _ANY in busy:
            continue
        earlier = instance.get_run_records(RunsFilter(tags={FINGERPRINT_TAG: work.fingerprint}))
        if not earlier or moment >= _last_touched(earlier) + back_off(len(earlier)):
            requests.append(
                dg.RunRequest(
                    run_key=f"{work.molecule}:{work.fingerprint}:{len(earlier)}",
                    partition_key=work.molecule,
                    tags={FINGERPRINT_TAG: work.fingerprint},
                )
            )
    return requests


def back_off(attempts: int) -> dt.timedelta:
    """How long to wait after so many runs that left the work undone: 1, 4, 16, ... minutes, at most six hours."""
    exponent = min(attempts - 1, 8)  # a larger one would only overflow on its way to the longest
    return min(FIRST_BACK_OFF * 4**exponent, LONGEST_BACK_OFF)


def _last_touched(records: Sequence[RunRecord]) -> dt.datetime:
    return max(record.update_timestamp.replace(tzinfo=dt.UTC) for record in records)


def _busy_molecules(instance: dg.DagsterInstance, table_jobs: Sequence[str], now: dt.datetime) -> set[str]:
    """Molecules that a run in progress writes tables of; '*' when it cannot be told which."""
    busy: set[str] = set()
    for record in instance.get_run_records(RunsFilter(statuses=IN_PROGRESS)):
        run = record.dagster_run
        selected = run.asset_selection
        writes = bool(selected & _TABLES) if selected else run.job_name in table_jobs
        if writes and now - record.create_timestamp.replace(tzinfo=dt.UTC) < IN_PROGRESS_TRUSTED_FOR:
            molecules = molecules_of_run(run, instance)
            busy |= {_ANY} if molecules is None else set(molecules)
    return busy
