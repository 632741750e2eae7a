"""What is tried again and when, and what is final, for the assets that depend on storage being reachable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from qpipe_assets.campaign_progress import process_tag

LONGEST_WAIT = 3600.0
"""Seconds between two attempts, at most."""


class CappedRetries(dg.RetryPolicy):
    """Each wait is twice the one before, an hour at most; Dagster's own grow by 1, 3, 7 and know no limit."""

    def calculate_delay(self, attempt_num: int) -> float:
        """Seconds to wait after the attempt of this number, from 1."""
        return min((self.delay or 0.0) * 2.0 ** (attempt_num - 1), LONGEST_WAIT)

    @property
    def waits(self) -> float:
        """Seconds that all waits of a step take together."""
        return sum(self.calculate_delay(number) for number in range(1, self.max_retries + 1))


RETRIES = CappedRetries(max_retries=3, delay=1200, backoff=dg.Backoff.EXPONENTIAL)
"""Of the nine tables and what goes with them: after 20, 40 and 60 minutes, for a store or a database to come back."""

ML_RETRIES = CappedRetries(max_retries=2, delay=900, backoff=dg.Backoff.EXPONENTIAL)
"""Of the ML tables: after 15 and 30 minutes."""

EXPORT_RETRIES = CappedRetries(max_retries=1, delay=600, backoff=dg.Backoff.EXPONENTIAL)
"""Of exports: after 10 minutes."""

NO_RETRIES_TAG = "qpipe/no_retries"
"""Tag of a run that somebody waits for (the demo): every error ends it at once."""

_WRONG = (ValueError, LookupError, TypeError)
"""Errors of input, configuration or code: none is a service's."""

_OVER = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE)


@contextmanager
def storage_step(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Around all that a step does with storage: what is final ends it at once, other errors are left to its retries.

    A run that was cancelled or given up does not go on: Dagster takes the interruption for one more error to try again
    after, and does not wake who waits for the next attempt. The process is noted, so that `lost_runs` sees its death.
    """
    from qpipe_assets.tables.ml_features import FanOutError
    from qpipe_assets.tables.staging import StagingLostError

    instance, run_id = context.instance, context.run.run_id
    instance.add_run_tags(run_id, process_tag(run_id))
    run = instance.get_run_by_id(run_id)
    if run is not None and run.status in _OVER:
        raise dg.Failure(f"the run was ended ({run.status.value}) while this step waited", allow_retries=False)
    try:
        yield
    except dg.Failure:
        raise
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as interruption:
        raise dg.Failure("the run was ended while this step worked", allow_retries=False) from interruption
    except Exception as error:
        if isinstance(error, (*_WRONG, StagingLostError, FanOutError)) or NO_RETRIES_TAG in context.run.tags:
            raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from error
        raise
