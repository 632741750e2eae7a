"""What runs push to a PushGateway: the machine's metrics while one goes on, its own when it is over.

Every group of metrics has a key of its own, so that no process and no run overwrites another's. The machine's group is
of a process: it stays from one run to the next, however short they are, and is deleted by whoever sees the process end.
Results, and the machine of a process whose end nobody saw, stay until `qpipe exporter` finds them stale. A gateway that
is down never ends a run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from qpipe_resources.push_gateway import Group, Sample, offer, withdraw
from simulation.metrics import metric_labels, run_metrics
from simulation.molecules import Molecule, partition_key
from simulation.monitor import Exporter, PerformanceMonitor, file_exporter
from simulation.monitor_settings import MonitorSettings
from simulation.provenance import host

if TYPE_CHECKING:
    from pydantic import SecretStr

    from simulation.record import VQEDecoratedResult
    from simulation.system_snapshot import SystemSnapshot

VQE_JOB = "qp-vqe"
SYSTEM_JOB = "qp-sys"
"""Names of the jobs; `qp-sys-` goes on with the container type."""


def performance_monitor(settings: MonitorSettings) -> PerformanceMonitor | None:
    """A monitor for the runs of this process, one after the other; None where the settings do not want any.

    Raises:
        OSError: the folder for its files cannot be made.
    """
    if not settings.enabled:
        return None
    exporters: list[Exporter] = []
    if settings.writes_files:
        exporters.append(file_exporter(settings.folder))
    if settings.gateway is not None:
        machine = _machine(settings.gateway, settings.container_type, os.getpid())
        exporters.append(lambda snapshot: machine.push(_system_samples(snapshot)))
    return PerformanceMonitor(settings.interval, exporters, settings.container_type)


def forget_machine(settings: MonitorSettings, process: int) -> None:
    """Delete what a process of this machine has pushed of it, with a warning where that failed.

    Args:
        settings: Those that its runs were watched by.
        process: Id of a process that has ended, or of this one, when it has no more runs.
    """
    if settings.enabled and settings.gateway is not None:
        machine = _machine(settings.gateway, settings.container_type, process)
        withdraw(settings.gateway, machine, f"the machine's metrics of process {process}")


def push_run(record: VQEDecoratedResult, settings: MonitorSettings) -> bool:
    """Push the metrics of a finished run (`qp_vqe_*`); False where none was sent, with a warning where that failed."""
    if not settings.enabled or settings.gateway is None:
        return False
    initial = record.vqe_result.initial_data
    key = {
        "container_type": settings.container_type,
        "molecule": partition_key(Molecule.from_record(record.molecule.molecule_data)),
        "optimizer": initial.optimizer,
        "basis_set": record.basis_set,
        "init_strategy": initial.init_strategy or "none",
        "seed": "none" if initial.seed is None else str(initial.seed),
        "experiment": (record.experiment_id or "none")[:12],
    }
    labels = {name: value for name, value in metric_labels(record).items() if name not in key}
    # Errors against Hartree-Fock, where nothing exact is known, must not be averaged with those against FCI.
    labels["reference"] = record.reference_method or "HF"
    samples = [(name, _VQE_HELP.get(name, ""), labels, value) for name, value in run_metrics(record).items()]
    return offer(settings.gateway, Group(settings.gateway, VQE_JOB, key), samples, f"the metrics of {key['molecule']}")


_VQE_HELP = {
    "qp_vqe_minimum_energy": "Lowest electronic energy (Hartree)",
    "qp_vqe_reference_energy": "Exact total energy, Hartree-Fock's where none is known (Hartree)",
    "qp_vqe_energy_error_hartree": "Total energy minus the reference (Hartree)",
    "qp_vqe_energy_error_millihartree": "Total energy minus the reference (mHartree)",
    "qp_vqe_total_time": "Hamiltonian, mapping and optimisation (s)",
    "qp_vqe_vqe_time": "Optimisation with its preparation (s)",
    "qp_vqe_hamiltonian_time": "Building the molecular Hamiltonian (s)",
    "qp_vqe_mapping_time": "Mapping it to qubits (s)",
}


def _system_samples(snapshot: SystemSnapshot) -> Iterable[Sample]:
    yield "qp_sys_cpu_percent", "Processors of the machine in use (percent)", {}, snapshot.cpu.percent
    yield "qp_sys_cpu_load_1m", "Load average over one minute", {}, snapshot.cpu.load_1m
    yield "qp_sys_memory_percent", "Memory of the machine in use (percent)", {}, snapshot.memory.percent
    yield "qp_sys_memory_used_bytes", "Memory of the machine in use (bytes)", {}, snapshot.memory.used_bytes
    container = snapshot.container
    if container.memory_percent is not None:
        used = container.memory_used_bytes
        yield "qp_sys_container_memory_percent", "Memory in use of the container's limit", {}, container.memory_percent
        yield "qp_sys_container_memory_used_bytes", "Memory of the container in use (bytes)", {}, used
    yield "qp_sys_uptime_seconds", "Age of the process (s)", {}, snapshot.process.uptime_seconds
    for gpu in snapshot.gpu:
        label = {"gpu": str(gpu.index)}
        yield "qp_sys_gpu_percent", "GPU in use (percent)", label, gpu.percent
        yield "qp_sys_gpu_memory_used_bytes", "Memory of the GPU in use (bytes)", label, gpu.memory_used_bytes
        yield "qp_sys_gpu_temperature_celsius", "Temperature of the GPU", label, gpu.temperature_celsius


def _machine(gateway: SecretStr, container_type: str, process: int) -> Group:
    key = {"container_type": container_type, "instance": f"{host()}:{process}"}
    return Group(gateway, f"{SYSTEM_JOB}-{container_type}", key)
