"""The molecule partitions: one for each catalogue molecule from the start, one more for each molecule that turns up."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import dagster as dg

from simulation.molecules import catalogue, load_molecules, partition_key

# Backfill policies and partitioned checks are meant, and so is a job that runs one molecule at a time although its
# tables could take several: a warning at every load of the definitions would drown those that matter.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)
warnings.filterwarnings("ignore", message=".*partitions_def.*", category=dg.PreviewWarning)
warnings.filterwarnings("ignore", message=".*varying BackfillPolicies.*", category=UserWarning)

MOLECULE_PARTITIONS = "molecule"
PARTITION_TAG = "dagster/partition"
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
molecule = dg.DynamicPartitionsDefinition(name=MOLECULE_PARTITIONS)


def add_molecules(instance: dg.DagsterInstance, keys: Iterable[str]) -> list[str]:
    """Make molecules partitions; returns those that were none before."""
    present = set(instance.get_dynamic_partitions(MOLECULE_PARTITIONS))
    missing = [key for key in dict.fromkeys(keys) if key not in present]
    if missing:
        instance.add_dynamic_partitions(MOLECULE_PARTITIONS, missing)
    return missing


def molecules_of_run(run: dg.DagsterRun, instance: dg.DagsterInstance) -> list[str] | None:
    """The molecules that a run is for; None when it is for none in particular."""
    if PARTITION_TAG in run.tags:
        return [run.tags[PARTITION_TAG]]
    first, last = (run.tags.get(tag) for tag in RANGE_TAGS)
    if first is None or last is None:
        return None
    keys = list(instance.get_dynamic_partitions(MOLECULE_PARTITIONS))
    return keys[keys.index(first) : keys.index(last) + 1]


def add_molecule_file(instance: dg.DagsterInstance, path: str | Path) -> list[str]:
    """Make the molecules of a file partitions; returns those that were none before.

    Raises:
        MoleculeError: the file holds something that is no molecule.
    """
    return add_molecules(instance, (partition_key(molecule) for molecule in load_molecules(path)))


def add_catalogue(instance: dg.DagsterInstance) -> list[str]:
    """Make the catalogue's molecules partitions; returns those that were none before."""
    return add_molecules(instance, catalogue())
