"""The limit of the pool in which campaigns compute, declared before the first of them waits in Dagster's queue.

The queue itself learns a pool's default limit only in the pass that lets the first runs go, so that several campaigns
would start at once on a new DAGSTER_HOME.
"""

from __future__ import annotations

import dagster as dg
from sqlalchemy.exc import DBAPIError

from qpipe_assets.vqe_runs import SIMULATION_POOL


def declare_simulation_pool(instance: dg.DagsterInstance) -> None:
    """Give the pool dagster.yaml's default limit, unless it has one of its own (`dagster instance concurrency set`)."""
    if _is_known(instance):
        return
    try:
        instance.event_log_storage.initialize_concurrency_limit_to_default(SIMULATION_POOL)
    except DBAPIError:
        if not _is_known(instance):  # else another process was first
            raise


def _is_known(instance: dg.DagsterInstance) -> bool:
    return SIMULATION_POOL in {limit.name for limit in instance.event_log_storage.get_pool_limits()}
