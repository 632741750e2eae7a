"""Which runs to ask for, given what is pending and what was asked for before: nothing twice, nothing given up.

Everything is derived from the ledger and from Dagster's own runs; no cursor is kept that could be lost or be wrong.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable, Sequence

import dagster as dg
from dagster import DagsterRunStatus, RunRecord, RunsFilter

from jobs.pending import PendingWork
from jobs.run_limits import KIND_TAG, MAX_RUNTIME_TAG, TABLES
from qpipe_assets.partitions import molecules_of_run
from qpipe_assets.tables import schemas

FINGERPRINT_TAG = "qpipe/pending"
"""Tag of a run with the fingerprint of what it was asked to process."""
ASKED_FOR_TAG = "qpipe/asked-for"
"""Tag of a run that was asked for here, with its molecule."""

FIRST_BACK_OFF = dt.timedelta(minutes=1)
LONGEST_BACK_OFF = dt.timedelta(hours=6)
LONGEST_REST_OF_NEW_WORK = dt.timedelta(hours=1)
"""Where runs fail and new work comes all the time, it does not wait for longer than this between two of them."""
_REMEMBERED_FAILURES = 8
"""More in a row change no rest."""
IN_PROGRESS_TRUSTED_FOR = dt.timedelta(hours=1)
"""A run that died with its machine stays 'in progress'; after this time it stops nobody: two runs do no harm."""

_ANY = "*"
_LONG_AGO = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
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
    """One request for each molecule that waits, unless a run is at it or the last ones failed a short while ago.

    Asked as often as one likes, while all runs fail at once it gives 9 of a molecule on the first day and then 4 a day;
    where new work comes all the time 28, and then 24.

    Args:
        instance: whose runs count.
        pending: what waits.
        table_jobs: names of the jobs that write tables.
        now: the present, for tests.
    """
    moment = now or present()
    busy = _busy_molecules(instance, table_jobs, moment)
    requests = []
    for work in pending:
        if work.molecule in busy or _ANY in busy:
            continue
        earlier = instance.get_run_records(RunsFilter(tags={FINGERPRINT_TAG: work.fingerprint}))
        failures = failures_in_a_row(instance, RunsFilter(tags={ASKED_FOR_TAG: work.molecule}))
        if moment >= max(_rest_over(earlier, back_off(len(earlier))), rest_of_new_work_over(failures)):
            requests.append(
                dg.RunRequest(
                    run_key=f"{work.molecule}:{work.fingerprint}:{len(earlier)}",
                    partition_key=work.molecule,
                    tags={FINGERPRINT_TAG: work.fingerprint, ASKED_FOR_TAG: work.molecule},
                )
            )
    return requests


def present() -> dt.datetime:
    """Now, in UTC."""
    return dt.datetime.now(dt.UTC)


def back_off(attempts: int) -> dt.timedelta:
    """How long to wait after so many runs that left the work undone: 1, 4, 16, ... minutes, at most six hours."""
    if attempts < 1:
        return dt.timedelta(0)
    exponent = min(attempts - 1, 8)  # a larger one would only overflow on its way to the longest
    return min(FIRST_BACK_OFF * 4**exponent, LONGEST_BACK_OFF)


def failures_in_a_row(instance: dg.DagsterInstance, runs: RunsFilter) -> list[RunRecord]:
    """The failed ones of these runs, newest first, up to the first that did not fail."""
    newest = instance.get_run_records(runs, limit=_REMEMBERED_FAILURES)
    return list(itertools.takewhile(lambda record: record.dagster_run.status is DagsterRunStatus.FAILURE, newest))


def rest_of_new_work_over(failures: Sequence[RunRecord]) -> dt.datetime:
    """When work that none of these failed runs was asked for may be tried: once at once, then after growing rests.

    So what was repaired is taken soon, and what keeps coming while all fails is not tried each time it comes.
    """
    return _rest_over(failures, min(back_off(len(failures) - 1), LONGEST_REST_OF_NEW_WORK))


def _rest_over(records: Sequence[RunRecord], rest: dt.timedelta) -> dt.datetime:
    """When a rest after the last of these runs is over; long ago where there is none."""
    touched = (record.update_timestamp.replace(tzinfo=dt.UTC) for record in records)
    return max(touched, default=_LONG_AGO) + rest


def _busy_molecules(instance: dg.DagsterInstance, table_jobs: Sequence[str], now: dt.datetime) -> set[str]:
    """Molecules that a run in progress writes tables of; '*' when it cannot be told which."""
    busy: set[str] = set()
    for record in instance.get_run_records(RunsFilter(statuses=IN_PROGRESS)):
        run = record.dagster_run
        selected = run.asset_selection
        writes = bool(selected & _TABLES) if selected else run.job_name in table_jobs
        if writes and is_trusted(record, now):
            molecules = molecules_of_run(run, instance)
            busy |= {_ANY} if molecules is None else set(molecules)
    return busy


def is_trusted(record: RunRecord, now: dt.datetime) -> bool:
    """Whether a run that Dagster calls 'in progress' is taken to be.

    One that writes tables is, while it is in the queue and then for as long as it may take; another one, which may
    compute for days before it writes, for an hour.
    """
    run, created = record.dagster_run, record.create_timestamp.replace(tzinfo=dt.UTC)
    if run.tags.get(KIND_TAG) != TABLES or MAX_RUNTIME_TAG not in run.tags:
        return now - created < IN_PROGRESS_TRUSTED_FOR
    if run.status is DagsterRunStatus.QUEUED:
        return True
    begun = dt.datetime.fromtimestamp(record.start_time, dt.UTC) if record.start_time else created
    return now - begun < dt.timedelta(seconds=float(run.tags[MAX_RUNTIME_TAG]))
