"""The rows that a foreign record must become, written down from its plain values and not by the kernels under test."""

from __future__ import annotations

import itertools
import math
from typing import Any

Rows = list[dict[str, Any]]


def expected_rows(sent: dict[str, Any], experiment: str) -> dict[str, Rows]:
    """Rows by table, each table in the order of its key, of a record that a producer of the field sent.

    What the producer's version did not know is what such records were computed with, or follows from the record.
    """
    result, initial = sent["vqe_result"], sent["vqe_result"]["initial_data"]
    steps, molecule = _completed(result["iteration_list"]), sent["molecule"]["molecule_data"]
    times = {name: sent[name] for name in ("hamiltonian_time", "mapping_time", "vqe_time")}
    chosen = {
        "ansatz_name": initial.get("ansatz_name", "EfficientSU2"),
        "ansatz_reps": initial["ansatz_reps"],
        "init_strategy": initial.get("init_strategy", "random"),
    }
    return {
        "molecules": [
            {
                "experiment_id": experiment,
                "molecule_id": sent["molecule_id"],
                "atom_symbols": molecule["symbols"],
                "molecule_name": "".join(molecule["symbols"]),
                "coordinates": molecule["coords"],
                "multiplicity": molecule["multiplicity"],
                "charge": molecule["charge"],
                "coordinate_units": molecule["units"],
                "atomic_masses": molecule.get("masses"),
            }
        ],
        "ansatz_info": [
            {"experiment_id": experiment, "basis_set": sent["basis_set"], "ansatz": initial["ansatz"]}
            | chosen
            | {"num_parameters": initial["num_parameters"]}
        ],
        "performance_metrics": [
            {"experiment_id": experiment}
            | times
            | {
                "total_time": sent["total_time"],
                "minimization_time": result["minimization_time"],
                "computed_total_time": times["hamiltonian_time"] + times["mapping_time"] + times["vqe_time"],
            }
        ],
        "vqe_results": [_result(sent, experiment) | chosen],
        "initial_parameters": _parameters(experiment, "init", "initial", initial["initial_parameters"]),
        "optimal_parameters": _parameters(experiment, "opt", "optimal", result["optimal_parameters"]),
        "vqe_iterations": [
            {
                "iteration_id": f"{experiment}_iter_{step['iteration']}",
                "iteration_step": step["iteration"],
                "iteration_energy": step["result"],
                "energy_std_dev": step["std"],
                "energy_delta": step["energy_delta"],
                "parameter_delta_norm": step["parameter_delta_norm"],
                "cumulative_min_energy": step["cumulative_min_energy"],
            }
            for step in steps
        ],
        "iteration_parameters": [
            {
                "parameter_id": f"{experiment}_iter_{step['iteration']}_param_{index}",
                "iteration_step": step["iteration"],
                "parameter_index": index,
                "parameter_value": value,
            }
            for step in steps
            for index, value in enumerate(step["parameters"])
        ],
        "hamiltonian_terms": [
            {
                "term_id": f"{experiment}_term_{index}",
                "term_index": index,
                "term_label": term["label"],
                "coeff_real": term["coefficients"]["real"],
                "coeff_imag": term["coefficients"]["imaginary"],
            }
            for index, term in enumerate(initial["hamiltonian"])
        ],
    }


def _result(sent: dict[str, Any], experiment: str) -> dict[str, Any]:
    result, initial = sent["vqe_result"], sent["vqe_result"]["initial_data"]
    repulsion = result.get("nuclear_repulsion_energy")
    return {
        "experiment_id": experiment,
        "molecule_id": sent["molecule_id"],
        "basis_set": sent["basis_set"],
        "backend": initial["backend"],
        "num_qubits": initial["num_qubits"],
        "optimizer": initial["optimizer"],
        "noise_backend": initial["noise_backend"],
        "default_shots": initial["default_shots"],
        "seed": initial.get("seed"),
        "minimum_energy": result["minimum"],
        "maxcv": result["maxcv"],
        "nuclear_repulsion_energy": repulsion,
        "success": result.get("success"),
        "nfev": result.get("nfev"),
        "nit": result.get("nit"),
        "total_iterations": len(result["iteration_list"]),
        "total_energy": None if repulsion is None else result["minimum"] + repulsion,
        "fci_energy": None,
        "valid": None,
    }


def _parameters(experiment: str, infix: str, which: str, values: list[float]) -> Rows:
    return [
        {
            "parameter_id": f"{experiment}_{infix}_{index}",
            "parameter_index": index,
            f"{which}_parameter_value": value,
        }
        for index, value in enumerate(values)
    ]


def _completed(steps: Rows) -> Rows:
    lowest = list(itertools.accumulate((step["result"] for step in steps), min))
    derived: Rows = [{"energy_delta": None, "parameter_delta_norm": None, "cumulative_min_energy": lowest[0]}]
    for number, (before, step) in enumerate(itertools.pairwise(steps), start=1):
        derived.append(
            {
                "energy_delta": step["result"] - before["result"],
                "parameter_delta_norm": math.dist(step["parameters"], before["parameters"]),
                "cumulative_min_energy": lowest[number],
            }
        )
    return [known | step for known, step in zip(derived, steps, strict=True)]
