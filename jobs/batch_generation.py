"""The job vqe_batch_generation: a tier or campaign file on a molecule, from its runs to the ML tables.

Partitioned by molecule, so a backfill computes a campaign molecule by molecule. The run config says which campaign
(`ops: {vqe_runs: {config: {tier: 2}}}`); without one it is the tier of the tag `qpipe/default-tier`.

Lanes are tags, not pools: a pool belongs to an asset, and which lane a run takes depends on its molecule. dagster.yaml
limits how many runs of a lane there are at once. The lane is no part of an experiment's identity.
"""

from __future__ import annotations

import dagster as dg

from jobs.jobs import EXPERIMENT
from jobs.run_limits import BELOW_ALL, MAX_RUNTIME_TAG, PRIORITY_TAG
from qpipe_assets.campaigns.lanes import lane_of
from qpipe_assets.campaigns.selection import DEFAULT_TIER, DEFAULT_TIER_TAG
from qpipe_assets.partitions import molecule

LANE_TAG = "qpipe/lane"

RUN_HOURS = 30
"""What one molecule of a campaign may take; what has landed by then stays, the rest waits for the next launch."""

vqe_batch_generation = dg.define_asset_job(
    "vqe_batch_generation",
    selection=EXPERIMENT,
    # No config of the partition's own, which would win over a backfill's.
    config=dg.PartitionedConfig(
        molecule,
        run_config_for_partition_key_fn=lambda _: {},
        tags_for_partition_key_fn=lambda partition: {LANE_TAG: lane_of(partition)},
    ),
    tags={
        DEFAULT_TIER_TAG: str(DEFAULT_TIER),
        MAX_RUNTIME_TAG: str(RUN_HOURS * 3600),
        PRIORITY_TAG: str(BELOW_ALL),
    },
    description="A tier or campaign file on a molecule: what has landed is skipped, what cannot fit is listed.",
)

BATCH_JOBS = [vqe_batch_generation]
