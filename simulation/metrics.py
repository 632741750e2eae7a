"""Derived figures of a finished run: how accurate it is, and the numbers that dashboards show."""

from __future__ import annotations

import math

from simulation.record import VQEDecoratedResult

CHEMICAL_ACCURACY_MHA = 1.6
"""1 kcal/mol is 1.594 mHa; the field says 1.6."""


def accuracy_score(error_mha: float) -> float:
    r"""A score from 0 to 100: :math:`100 (1 - \log_{10}(|\Delta E| + 1) / 5)` with the error in mHa, clipped."""
    return min(100.0, max(0.0, 100.0 * (1.0 - math.log10(abs(error_mha) + 1.0) / 5.0)))


def accuracy(result: VQEDecoratedResult) -> dict[str, float]:
    """Errors of the total energy against the exact energy, and against Hartree-Fock where no exact one is known.

    Scoring against Hartree-Fock alone would give 100 to a run that recovers no correlation at all; so the exact energy
    comes first. Keys are left out where there is no reference: a missing value must not look like zero.
    """
    reference = result.fci_energy if result.fci_energy is not None else result.hf_energy
    if reference is None or result.total_energy is None:
        return {}
    error = result.total_energy - reference
    return {
        "reference_energy": reference,
        "energy_error_hartree": error,
        "energy_error_millihartree": 1000.0 * error,
        "energy_error_percent": 100.0 * abs(error / reference) if reference else 0.0,
        "accuracy_score": accuracy_score(1000.0 * error),
        **({} if result.fci_energy is None else {"error_vs_fci": result.total_energy - result.fci_energy}),
    }


def run_metrics(result: VQEDecoratedResult) -> dict[str, float]:
    """The metrics of one run by their exported names (`qp_vqe_*`), seconds and Hartree."""
    count = len(result.vqe_result.iteration_list)
    scored = accuracy(result)
    exported = ("reference_energy", "energy_error_hartree", "energy_error_millihartree", "accuracy_score")
    values = {
        "total_time": result.total_time,
        "hamiltonian_time": result.hamiltonian_time,
        "mapping_time": result.mapping_time,
        "vqe_time": result.vqe_time,
        "minimum_energy": result.vqe_result.minimum,
        "iterations_count": float(count),
        "optimal_parameters_count": float(len(result.vqe_result.optimal_parameters)),
        "iterations_per_second": _ratio(count, result.vqe_time),
        "time_per_iteration": _ratio(result.vqe_time, count),
        "overhead_ratio": _ratio(result.total_time - result.vqe_time, result.vqe_time),
        "efficiency": _ratio(result.vqe_time, result.total_time),
        "setup_ratio": _ratio(result.hamiltonian_time + result.mapping_time, result.total_time),
    }
    values |= {key: scored[key] for key in exported if key in scored}
    return {f"qp_vqe_{name}": value for name, value in values.items()}


def metric_labels(result: VQEDecoratedResult) -> dict[str, str]:
    """The labels of a run's metrics; the deployment adds `container_type`."""
    return {
        "molecule_id": str(result.molecule_id),
        "molecule_symbols": "".join(result.molecule.molecule_data.symbols),
        "basis_set": result.basis_set,
        "optimizer": result.vqe_result.initial_data.optimizer,
        "backend_type": result.vqe_result.initial_data.backend,
    }


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else 0.0
