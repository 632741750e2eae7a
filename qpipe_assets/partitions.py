"""The molecule partitions: one for each catalogue molecule from the start, one more for each molecule that turns up."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import dagster as dg

from simulation.molecules import catalogue

# One molecule a partition needs a backfill policy and partitioned checks; both are settled enough for us, and a
# warning at every load of the definitions would drown those that matter.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)
warnings.filterwarnings("ignore", message=".*partitions_def.*", category=dg.PreviewWarning)

MOLECULE_PARTITIONS = "molecule"
molecule = dg.DynamicPartitionsDefinition(name=MOLECULE_PARTITIONS)


def add_molecules(instance: dg.DagsterInstance, keys: Iterable[str]) -> list[str]:
    """Make molecules partitions; returns those that were none before."""
    present = set(instance.get_dynamic_partitions(MOLECULE_PARTITIONS))
    missing = [key for key in keys if key not in present]
    if missing:
        instance.add_dynamic_partitions(MOLECULE_PARTITIONS, missing)
    return missing


def add_catalogue(instance: dg.DagsterInstance) -> list[str]:
    """Make the catalogue's molecules partitions; returns those that were none before."""
    return add_molecules(instance, catalogue())
