"""Lanes: which part of the hardware a molecule's runs of a campaign take, as the molecule files of these names say."""

from __future__ import annotations

import functools

from simulation.molecules import partition_key, shipped_molecules

LANES = {"cpu": "cpu.json", "gpu1": "gpu1.json", "gpu2": "gpu2.json"}
"""The molecule file of each lane."""
OTHER_LANE = "cpu"
"""Lane of the molecules that no lane's file names."""


@functools.cache
def _lane_of_each() -> dict[str, str]:
    return {partition_key(one): lane for lane, file in LANES.items() for one in shipped_molecules(file)}


def lane_of(partition: str) -> str:
    """The lane that a molecule's runs take."""
    return _lane_of_each().get(partition, OTHER_LANE)
