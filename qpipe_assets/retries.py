"""What is tried again and what is final, for the assets that depend on storage being reachable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

RETRIES = dg.RetryPolicy(max_retries=3, delay=1200, backoff=dg.Backoff.EXPONENTIAL)
"""After 20, 40 and 80 minutes: long enough for a store or a database to come back."""

NO_RETRIES_TAG = "qpipe/no_retries"
"""Tag of a run that somebody waits for (the demo): every error ends it at once."""


@contextmanager
def refused_input_is_final(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Inside, an error that no retry can mend ends the run at once; others are left to RETRIES."""
    from qpipe_assets.tables.ml_features import FanOutError
    from qpipe_assets.tables.staging import StagingLostError

    try:
        yield
    except dg.Failure:
        raise
    except Exception as error:
        if isinstance(error, ValueError | StagingLostError | FanOutError) or NO_RETRIES_TAG in context.run.tags:
            raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from error
        raise
