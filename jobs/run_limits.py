"""How long a run may take, and which goes first where runs wait: the tags that Dagster's daemon obeys."""

from __future__ import annotations

import datetime as dt

from qpipe_assets.retries import ML_RETRIES, RETRIES, CappedRetries

MAX_RUNTIME_TAG = "dagster/max_runtime"
PRIORITY_TAG = "dagster/priority"
KIND_TAG = "qpipe/kind"
"""What a run does; dagster.yaml limits how many runs that write tables there are at once."""
TABLES = "tables"
BEFORE_CAMPAIGNS = 10
"""Priority of runs that write tables: short, and what others wait for."""
BELOW_ALL = -1
"""Priority of campaigns: they take hours, and nobody waits for their end to go on."""

TABLES_WORK = dt.timedelta(hours=2)
"""Longest work on the nine tables in one run."""
ML_WORK = dt.timedelta(hours=1)
"""Longest work on the ML tables in one run."""


def table_tags(*parts: tuple[dt.timedelta, CappedRetries]) -> dict[str, str]:
    """Tags of a job that writes tables.

    Args:
        parts: of each part of the job, how long it may work, and its retries, whose waits come on top.
    """
    seconds = sum(work.total_seconds() + retries.waits for work, retries in parts)
    return {MAX_RUNTIME_TAG: str(round(seconds)), PRIORITY_TAG: str(BEFORE_CAMPAIGNS), KIND_TAG: TABLES}


NORMALIZED_RUN = table_tags((TABLES_WORK, RETRIES))
ML_RUN = table_tags((ML_WORK, ML_RETRIES))
WHOLE_RUN = table_tags((TABLES_WORK, RETRIES), (ML_WORK, ML_RETRIES))
