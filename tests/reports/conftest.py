"""Records to report on: plain data of the declared schema, with the figures a test is about."""

from __future__ import annotations

from typing import Any

import pytest

from simulation.circuits import Gate, GateDefinition, ParametrisedCircuit
from simulation.record import VQEDecoratedResult
from tests.synthetic import plain_record

FCI = -1.1372701746609
HF = -1.1166843870853
REPULSION = 0.7137539936876182

CIRCUIT = ParametrisedCircuit(
    4,
    2,
    (
        Gate("x", (0,)),
        Gate("x", (2,)),
        Gate("single", (0, 1), 0, -1.0),
        Gate("ry", (3,), 1),
        Gate("cz", (1, 2)),
    ),
    (GateDefinition("single", 2, (Gate("cx", (0, 1)), Gate("ry", (0,), 0, 0.5), Gate("cx", (1, 0)))),),
)


def made(number: int = 0, *, evaluations: int = 12, error_mha: float = 0.5, **changes: Any) -> VQEDecoratedResult:
    """A run of H2 that ends `error_mha` above the exact energy; `changes` are fields of the record.

    Args:
        number: Makes the identity distinct.
        evaluations: Length of the run.
        error_mha: Total minus exact energy at the end (mHartree).
        changes: Values by name: of the record, or of its `molecule_data`, `initial_data` or `vqe_result`.
    """
    record = plain_record(number, evaluations=evaluations)
    result = record["vqe_result"]
    final = FCI - REPULSION + error_mha / 1000
    for step, entry in enumerate(result["iteration_list"]):
        entry["result"] = final + 0.5 * 0.8**step * (step < evaluations - 1)
    result["minimum"] = final
    result["initial_data"] |= {"ansatz": CIRCUIT.to_qasm3(), "exact_estimator": True}
    record |= {
        "experiment_id": f"{number + 1:04x}" * 16,
        "total_energy": final + REPULSION,
        "fci_energy": FCI,
        "hf_energy": HF,
        "energy_error_mha": error_mha,
        "valid": True,
        "engine": "sector",
        "certified_energy": final + REPULSION,
        "started_at": "2026-01-02T03:04:05+00:00",
    }
    parts = (record["molecule"]["molecule_data"], result["initial_data"], result)
    for name, value in changes.items():
        next((part for part in parts if name in part), record)[name] = value
    return VQEDecoratedResult.model_validate(record)


def sampled(number: int = 0, *, std: float = 0.004, evaluations: int = 300, **changes: Any) -> VQEDecoratedResult:
    """A run whose energies have a standard error (Hartree)."""
    record = made(number, evaluations=evaluations, **changes).model_dump()
    for step in record["vqe_result"]["iteration_list"]:
        step["std"] = std
    record["energy_standard_error"] = std
    record["vqe_result"]["initial_data"]["exact_estimator"] = False
    return VQEDecoratedResult.model_validate(record)


@pytest.fixture
def record() -> VQEDecoratedResult:
    """A valid, accurate run of H2."""
    return made()
