"""Synthetic records with the shape of real ones, for tests and benchmarks of the data platform."""

from __future__ import annotations

import math
from typing import Any

GEOMETRIES: dict[str, tuple[list[str], list[list[float]], int]] = {
    "H2": (["H", "H"], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.7414]], 0),
    "HeH+": (["He", "H"], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.7719]], 1),
    "LiH": (["Li", "H"], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.5949]], 0),
    "BH": (["B", "H"], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.2324]], 0),
    "N2": (["N", "N"], [[0.0, 0.0, -0.5488], [0.0, 0.0, 0.5488]], 0),
}


def energies(number: int, evaluations: int) -> list[float]:
    """A trajectory that falls, wiggles and has plateaus, different for each `number`; Hartree."""
    return [
        -1.0 - 0.1 * (1 - math.exp(-step / 7)) + 0.01 * math.sin(3.7 * step + number) * math.exp(-step / 20)
        for step in range(evaluations)
    ]


def plain_record(
    number: int = 0, molecule: str = "H2", *, evaluations: int = 12, parameters: int = 4, terms: int = 5
) -> dict[str, Any]:
    """A record as an external writer of the field sends it: without any of qpipe's own fields.

    Args:
        number: makes the content, and so the identity, distinct.
        molecule: one of GEOMETRIES.
        evaluations: length of the iteration list.
        parameters: circuit parameters.
        terms: Hamiltonian terms.
    """
    symbols, coords, charge = GEOMETRIES[molecule]
    trajectory = energies(number, evaluations)
    steps: list[dict[str, Any]] = []
    lowest = math.inf
    for step, energy in enumerate(trajectory, start=1):
        lowest = min(lowest, energy)
        values = [0.1 * index + 0.01 * step + 0.001 * number for index in range(parameters)]
        steps.append(
            {
                "iteration": step,
                "parameters": values,
                "result": energy,
                "std": 0.0,
                "energy_delta": None if step == 1 else energy - trajectory[step - 2],
                "parameter_delta_norm": None if step == 1 else 0.01 * math.sqrt(parameters),
                "cumulative_min_energy": lowest,
            }
        )
    best = min(steps, key=lambda item: item["result"])
    return {
        "vqe_result": {
            "initial_data": {
                "backend": "aer_simulator",
                "num_qubits": 4,
                "hamiltonian": [
                    {"label": f"{index:010b}".replace("0", "I").replace("1", "Z"), "coefficients": _number(index)}
                    for index in range(terms)
                ],
                "num_parameters": parameters,
                "initial_parameters": steps[0]["parameters"],
                "optimizer": "COBYLA",
                "ansatz": "OPENQASM 3.0;\n",
                "noise_backend": "undef",
                "default_shots": 1024,
                "ansatz_reps": 2,
                "init_strategy": "random",
                "seed": number,
                "ansatz_name": "EfficientSU2",
            },
            "iteration_list": steps,
            "minimum": best["result"],
            "optimal_parameters": best["parameters"],
            "maxcv": None,
            "minimization_time": 0.5,
            "nuclear_repulsion_energy": 0.7137539936876182,
            "success": True,
            "nfev": evaluations,
            "nit": None,
        },
        "molecule": {
            "molecule_data": {
                "symbols": symbols,
                "coords": coords,
                "multiplicity": 1,
                "charge": charge,
                "units": "angstrom",
                "masses": None,
            }
        },
        "basis_set": "sto3g",
        "hamiltonian_time": 0.25,
        "mapping_time": 0.125,
        "vqe_time": 1.5,
        "total_time": 1.875,
        "molecule_id": 0,
    }


def _number(index: int) -> dict[str, float]:
    return {"real": 0.1 * (index + 1), "imaginary": 0.0}
