"""The job vqe_batch_generation: a tier or campaign file on a molecule, from its runs to the ML tables.

Partitioned by molecule, so a backfill computes a campaign molecule by molecule. The run config says which campaign
(`ops: {vqe_runs: {config: {tier: 2}}}`); without one it is the tier of the tag `qpipe/default-tier`.

Lanes are tags, not pools: a pool belongs to an asset, and which lane a run takes depends on its molecule. dagster.yaml
limits how many runs of a lane there are at once. The lane is no part of an experiment's identity.
"""

from __future__ import annotations

import functools

import dagster as dg

from jobs.jobs import EXPERIMENT
from qpipe_assets.campaigns.selection import DEFAULT_TIER, DEFAULT_TIER_TAG
from qpipe_assets.partitions import molecule
from simulation.molecules import partition_key, shipped_molecules

LANE_TAG = "qpipe/lane"
LANES = {"cpu": "cpu.json", "gpu1": "gpu1.json", "gpu2": "gpu2.json"}
"""The molecule file of each lane."""
OTHER_LANE = "cpu"
"""Lane of the molecules that no lane's file names."""

MAX_RELAUNCHES = 3
"""How often a run whose process died is launched again by itself."""


@functools.cache
def _lane_of_each() -> dict[str, str]:
    return {partition_key(one): lane for lane, file in LANES.items() for one in shipped_molecules(file)}


def lane_of(partition: str) -> str:
    """The lane that a molecule's runs take."""
    return _lane_of_each().get(partition, OTHER_LANE)


vqe_batch_generation = dg.define_asset_job(
    "vqe_batch_generation",
    selection=EXPERIMENT,
    # No config of the partition's own, which would win over a backfill's.
    config=dg.PartitionedConfig(
        molecule,
        run_config_for_partition_key_fn=lambda _: {},
        tags_for_partition_key_fn=lambda partition: {LANE_TAG: lane_of(partition)},
    ),
    # Again after the death of its process, not after failures of its steps (dagster.yaml).
    tags={DEFAULT_TIER_TAG: str(DEFAULT_TIER), "dagster/max_retries": str(MAX_RELAUNCHES)},
    description="A tier or campaign file on a molecule: what has landed is skipped, what cannot fit is listed.",
)

BATCH_JOBS = [vqe_batch_generation]
