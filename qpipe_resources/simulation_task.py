"""One VQE run as a process computes it that has many to compute: what it is given, and how it is watched and reported.

Nothing of the simulation is imported before it is needed: a worker starts in a moment.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulation.molecules import Molecule
    from simulation.monitor import PerformanceMonitor
    from simulation.monitor_settings import MonitorSettings
    from simulation.options import VQEOptions
    from simulation.record import VQEDecoratedResult
    from simulation.recording import ScanPosition


@dataclass(frozen=True)
class SimulationTask:
    """One VQE run: what to compute, the record to start from if it does, and what to note in its own.

    `checkpoints` is the folder for the evaluations of a run that takes long; who lands the record removes its file.
    """

    molecule: Molecule
    options: VQEOptions
    dagster_run_id: str | None = None
    campaign: str | None = None
    scan: ScanPosition | None = None
    previous: VQEDecoratedResult | None = None
    checkpoints: Path | None = None


def simulate(task: SimulationTask) -> VQEDecoratedResult:
    """Compute one task (in a worker); watched and reported as the environment says (see `MonitorSettings`)."""
    from qpipe_resources.metrics_push import push_run
    from simulation.monitor_settings import load_monitor_settings
    from simulation.runner import VQERunner

    monitoring = load_monitor_settings()
    runner = VQERunner(
        molecules=[task.molecule],
        options=task.options,
        dagster_run_id=task.dagster_run_id,
        campaign=task.campaign,
        scan=task.scan,
        lookup=lambda _: _previous(task),
        checkpoints=task.checkpoints,
        monitor=_monitor(monitoring),
    )
    (record,) = runner.run()
    push_run(record, monitoring)
    return record


@functools.cache
def _monitor(settings: MonitorSettings) -> PerformanceMonitor | None:
    """The monitor of this process: one for all its runs, which may be too short to measure anything by themselves."""
    from qpipe_resources.metrics_push import performance_monitor

    return performance_monitor(settings)


def forget_machine_of(process: int) -> None:
    """Delete what a worker that has ended had pushed of its machine."""
    from simulation.monitor_settings import MonitorSettingsError, load_monitor_settings

    try:
        monitoring = load_monitor_settings()
    except MonitorSettingsError:  # with such settings nothing was pushed: simulate() refuses them too
        return
    if monitoring.enabled:
        from qpipe_resources.metrics_push import forget_machine

        forget_machine(monitoring, process)


def _previous(task: SimulationTask) -> VQEDecoratedResult:
    if task.previous is None:
        raise ValueError(f"experiment {task.options.previous}, from which the run starts, was not given")
    return task.previous
