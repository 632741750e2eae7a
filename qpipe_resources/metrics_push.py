"""Metrics to a Prometheus PushGateway: the machine's while a run goes on, and a run's own when it is over.

Every group of metrics has a key of its own, so that no process and no run overwrites another's. The machine's group is
deleted when its run ends; what stays on a gateway is results. A gateway that is down never ends a run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from prometheus_client import CollectorRegistry, Gauge, delete_from_gateway, push_to_gateway
from prometheus_client.exposition import basic_auth_handler

from simulation.metrics import metric_labels, run_metrics
from simulation.molecules import Molecule, partition_key
from simulation.monitor import Exporter, PerformanceMonitor, file_exporter
from simulation.monitor_settings import MonitorSettings, without_credentials
from simulation.provenance import host

if TYPE_CHECKING:
    from pydantic import SecretStr

    from simulation.record import VQEDecoratedResult
    from simulation.system_snapshot import SystemSnapshot

PUSH_SECONDS = 2.0
"""How long a push may take; the one after a run is waited for."""

_log = logging.getLogger(__name__)


def performance_monitor(settings: MonitorSettings) -> PerformanceMonitor | None:
    """A monitor for runs of this process, None where the settings do not want any.

    Raises:
        OSError: the folder for its files cannot be made.
    """
    if not settings.enabled:
        return None
    exporters = []
    if settings.writes_files:
        exporters.append(file_exporter(settings.folder))
    if settings.gateway is not None:
        exporters.append(_system_exporter(settings.gateway, settings.container_type))
    return PerformanceMonitor(settings.interval, exporters, settings.container_type)


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
    samples = [(name, _VQE_HELP.get(name, ""), labels, value) for name, value in run_metrics(record).items()]
    try:
        _Group(settings.gateway, "qp-vqe", key).push(samples)
    except Exception as error:  # a result is not lost because nobody takes its metrics
        _log.warning(
            "the metrics of %s were not pushed to %s: %s: %s",
            key["molecule"],
            without_credentials(settings.gateway.get_secret_value()),
            type(error).__name__,
            error,
        )
        return False
    return True


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

_Sample = tuple[str, str, dict[str, str], float | None]
"""Name, help text, labels and value of one metric; without a value there is no metric."""


def _system_samples(snapshot: SystemSnapshot) -> Iterable[_Sample]:
    yield "qp_sys_cpu_percent", "Processors of the machine in use (percent)", {}, snapshot.cpu.percent
    yield "qp_sys_cpu_load_1m", "Load average over one minute", {}, snapshot.cpu.load_1m
    yield "qp_sys_memory_percent", "Memory of the machine in use (percent)", {}, snapshot.memory.percent
    yield "qp_sys_memory_used_bytes", "Memory of the machine in use (bytes)", {}, snapshot.memory.used_bytes
    yield "qp_sys_uptime_seconds", "Age of the process (s)", {}, snapshot.process.uptime_seconds
    for gpu in snapshot.gpu:
        label = {"gpu": str(gpu.index)}
        yield "qp_sys_gpu_percent", "GPU in use (percent)", label, gpu.percent
        yield "qp_sys_gpu_memory_used_bytes", "Memory of the GPU in use (bytes)", label, gpu.memory_used_bytes
        yield "qp_sys_gpu_temperature_celsius", "Temperature of the GPU", label, gpu.temperature_celsius


def _system_exporter(gateway: SecretStr, container_type: str) -> Exporter:
    key = {"container_type": container_type, "instance": f"{host()}:{os.getpid()}"}
    group = _Group(gateway, f"qp-sys-{container_type}", key)
    return Exporter(lambda snapshot: group.push(_system_samples(snapshot)), group.delete)


class _Group:
    """The metrics under one job and grouping key of a gateway."""

    def __init__(self, gateway: SecretStr, job: str, key: dict[str, str]) -> None:
        url = gateway.get_secret_value()
        self._where: dict[str, Any] = {
            "gateway": without_credentials(url),
            "job": job,
            "grouping_key": key,
            "timeout": PUSH_SECONDS,
            "handler": _authenticated(url),
        }

    def push(self, samples: Iterable[_Sample]) -> None:
        """Replace the group's metrics.

        Raises:
            OSError: the gateway cannot be reached or refuses.
        """
        registry = CollectorRegistry()
        gauges: dict[str, Gauge] = {}
        for name, text, labels, value in samples:
            if value is None:
                continue
            gauge = gauges.get(name) or Gauge(name, text or name, tuple(labels), registry=registry)
            gauges[name] = gauge
            (gauge.labels(**labels) if labels else gauge).set(value)
        push_to_gateway(registry=registry, **self._where)

    def delete(self) -> None:
        """Remove the group.

        Raises:
            OSError: the gateway cannot be reached or refuses.
        """
        delete_from_gateway(**self._where)


def _authenticated(url: str) -> Callable[..., Callable[[], None]]:
    """What sends requests for the client, with the URL's user and password where it has them."""
    parts = urlsplit(url)
    user, password = (unquote(part) if part else None for part in (parts.username, parts.password))

    def handler(url: str, method: str, timeout: float | None, headers: list, data: bytes) -> Callable[[], None]:
        return basic_auth_handler(url, method, timeout, headers, data, user, password)

    return handler
