"""`qpipe demo`: the main job on five molecules, through the same Dagster job that the UI shows."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from qpipe_cli.home import prepare_home
from qpipe_cli.output import Format, print_rows

if TYPE_CHECKING:
    from dagster import DagsterInstance, Definitions, JobDefinition

MOLECULES = ("H2", "HeH+", "LiH", "BeH2", "H2O")
JOB = "vqe_experiment"

_NEXT = """
Next:
  make ui                                             the UI, with these runs and their tables
  .venv/bin/qpipe sql "select molecule, optimizer, total_energy, energy_error_mha from vqe_results"
  eval "$(.venv/bin/qpipe home)" && \\
    .venv/bin/dagster job backfill -w workspace.yaml -j quantum_feature_processing --partitions LiH,BeH2,H2O --noprompt
"""


def demo() -> None:
    """VQE on H2, HeH+, LiH, BeH2 and H2O in STO-3G, into the nine tables and the two ML tables."""
    settings = prepare_home()
    os.environ["QPIPE_HOME"], os.environ["DAGSTER_HOME"] = str(settings.home), str(settings.dagster_home)
    began = time.perf_counter()
    _say(f"data in {settings.home}; starting Dagster ...")
    from qpipe_resources.simulation_workers import simulation_pool

    # The worker imports the simulation while this process imports Dagster.
    simulation_pool(settings.workers).start()
    from dagster import DagsterInstance

    from jobs.definitions import build_defs
    from qpipe_assets.partitions import add_molecules

    definitions = build_defs()
    with DagsterInstance.get() as instance:
        add_molecules(instance, MOLECULES)
        failed = [name for stage in _stages(settings.env) for name in stage.run(definitions, instance)]
    _report()
    _say(f"\n{time.perf_counter() - began:.1f} s in all")
    if failed:
        _say(f"error: {', '.join(dict.fromkeys(failed))} failed; the messages are above, and in the UI (make ui)")
        raise typer.Exit(1)
    print(_NEXT)


@dataclass(frozen=True)
class _Stage:
    """A job that the demo runs: once for each molecule, or once."""

    job: str
    does: str
    once: bool = False
    assets: tuple[str, ...] = ()

    def run(self, definitions: Definitions, instance: DagsterInstance) -> list[str]:
        """Run the job; returns what failed."""
        job = definitions.resolve_job_def(self.job)
        if self.once:
            return [] if self._execute(job, instance, None, self.job) else [self.job]
        count = len(MOLECULES)
        return [
            molecule
            for number, molecule in enumerate(MOLECULES, start=1)
            if not self._execute(job, instance, molecule, f"[{number}/{count}] {molecule}")
        ]

    def _execute(self, job: JobDefinition, instance: DagsterInstance, molecule: str | None, what: str) -> bool:
        from dagster import AssetKey

        from qpipe_assets.retries import NO_RETRIES_TAG

        began = time.perf_counter()
        _say(f"{what}: {self.does} ...")
        result = job.execute_in_process(
            instance=instance,
            partition_key=molecule,
            asset_selection=[AssetKey(name) for name in self.assets] or None,
            tags={NO_RETRIES_TAG: "true"},
            run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
            raise_on_error=False,
        )
        outcome = "done" if result.success else "FAILED"
        _say(f"{what}: {outcome} in {time.perf_counter() - began:.1f} s{_counts(result)}")
        return result.success


def _stages(env: str) -> list[_Stage]:
    if env != "services":
        return [_Stage(JOB, "simulation, nine tables, ML tables")]
    # What a running sink and the sensor do is done here, so that the demo needs neither.
    return [
        _Stage(JOB, "simulation, into Kafka", assets=("vqe_runs",)),
        _Stage("landing_sink", "out of Kafka, into the object store", once=True),
        _Stage("molecule_processing", "nine tables, ML tables"),
    ]


def _counts(result: Any) -> str:
    all_metadata = [event.materialization.metadata for event in result.get_asset_materialization_events()]
    counts = [
        f"{m['computed'].value} computed, {m['skipped'].value} already there" for m in all_metadata if "computed" in m
    ]
    if rows := [int(m["rows_added"].value) for m in all_metadata if "rows_added" in m]:
        counts.append(f"{sum(rows)} rows added")
    return f"; {', '.join(counts)}" if counts else ""


def _report() -> None:
    from qpipe_assets.tables import schemas
    from qpipe_assets.tables.installation import open_installation
    from simulation.identity import experiment_id
    from simulation.molecules import catalogue
    from simulation.options import VQEOptions

    lakehouse = open_installation().lakehouse
    known = catalogue()
    asked = {experiment_id(known[name], VQEOptions().resolved()): name for name in MOLECULES}
    identities = ", ".join(f"'{identity}'" for identity in asked)
    query = f"""
        select r.molecule, r.num_qubits qubits, a.num_parameters parameters, round(r.total_energy, 8) "VQE energy [Ha]",
            round(r.fci_energy, 8) "FCI energy [Ha]", round(r.energy_error_mha, 4) "error [mHa]",
            r.energy_evaluations evaluations, round(p.wall_time, 2) "seconds", r.valid
        from vqe_results r
        join ansatz_info a on a.experiment_id = r.experiment_id
        join performance_metrics p on p.experiment_id = r.experiment_id
        where r.experiment_id in ({identities})
        order by r.num_qubits, r.total_energy desc
    """
    rows = lakehouse.sql(query, schemas.NORMALIZED_NAMES).to_pylist()
    print_rows(rows, Format.TABLE, title="UCCSD from Hartree-Fock, STO-3G, L-BFGS-B on the exact gradient")
    counted = [
        {"table": name, "rows": lakehouse.sql(f"select count(*) n from {name}", (name,)).to_pylist()[0]["n"]}
        for name in schemas.names(schemas.ALL)
    ]
    print_rows(counted, Format.TABLE, title="quantum_catalog.quantum_features")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
