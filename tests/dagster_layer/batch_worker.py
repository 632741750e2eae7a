"""A process that computes a tier on a molecule, slowly, until it is done or killed; arguments: TIER MOLECULE SEEDS."""

import sys

import dagster as dg

from jobs.definitions import build_defs
from qpipe_assets.partitions import add_catalogue
from tests.dagster_layer.fake_simulation import fake_workers_class, slow_simulate


def main() -> None:
    tier, molecule, seeds = sys.argv[1:]
    with dg.DagsterInstance.get() as instance:
        add_catalogue(instance)
        job = build_defs({"simulation_workers": fake_workers_class(slow_simulate)()}).resolve_job_def(
            "vqe_batch_generation"
        )
        job.execute_in_process(
            instance=instance,
            partition_key=molecule,
            run_config={"ops": {"vqe_runs": {"config": {"tier": int(tier), "seeds": seeds}}}},
        )


if __name__ == "__main__":
    main()
