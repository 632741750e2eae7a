"""The dashboard of single runs: what they gave, how long they took, on which machine."""

from __future__ import annotations

from deploy.monitoring.dashboards.selections import RUN, RUN_VARIABLES, by, run
from deploy.monitoring.panels import Dashboard, Panel, Query, Row

_MACHINE = 'container_type=~"$container_type"'


def _machine(metric: str) -> list[Query]:
    return [Query(f"qp_sys_{metric}{{{_MACHINE}}}", "{{container_type}} {{instance}} {{gpu}}")]


VQE = Dashboard(
    "qpipe-vqe",
    "VQE runs",
    "What single runs took and gave. A run is shown from its end until its metrics are stale.",
    RUN_VARIABLES,
    (
        Row(
            "Results",
            (
                Panel("Runs shown", [Query(f"count(qp_vqe_minimum_energy{{{RUN}}})")], kind="stat", width=4),
                Panel("Lowest electronic energy (Ha)", run("minimum_energy"), width=10),
                Panel("Reference: total energy (Ha)", run("reference_energy"), width=10),
                Panel("Evaluations", run("iterations_count")),
                Panel("Parameters", run("optimal_parameters_count")),
                Panel("Evaluations a second", run("iterations_per_second")),
            ),
        ),
        Row(
            "Time",
            (
                Panel("In all", run("total_time"), "s"),
                Panel("Optimisation", run("vqe_time"), "s"),
                Panel("An evaluation", run("time_per_iteration"), "s"),
                Panel("Hamiltonian", run("hamiltonian_time"), "s"),
                Panel("Mapping to qubits", run("mapping_time"), "s"),
                Panel("Mean by backend", by("qp_vqe_total_time", "backend_type", how="avg"), "s"),
                Panel("Share of the optimisation", run("efficiency"), "percentunit"),
                Panel("Share of the preparation", run("setup_ratio"), "percentunit"),
                Panel("Overhead over the optimisation", run("overhead_ratio"), "percentunit"),
            ),
        ),
        Row(
            "Machine",
            (
                Panel("Processors", _machine("cpu_percent"), "percent", limit=95),
                Panel("Load, one minute", _machine("cpu_load_1m")),
                Panel("Memory", _machine("memory_percent"), "percent", limit=95),
                Panel("Memory in use", _machine("memory_used_bytes"), "bytes"),
                Panel("Memory of its limit, in a container", _machine("container_memory_percent"), "percent", limit=95),
                Panel("Memory in use, in a container", _machine("container_memory_used_bytes"), "bytes"),
                Panel("Age of the process", _machine("uptime_seconds"), "s"),
                Panel("GPU in use", _machine("gpu_percent"), "percent"),
                Panel("GPU memory", _machine("gpu_memory_used_bytes"), "bytes"),
                Panel("GPU temperature", _machine("gpu_temperature_celsius"), "celsius", limit=85),
            ),
        ),
    ),
)
