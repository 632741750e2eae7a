"""Records as runs of qpipe leave them, in any number and size, the same for the same numbers in every process."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from typing import Any

from simulation.record import SCHEMA_VERSION, VQEDecoratedResult
from tests.synthetic import GEOMETRIES, plain_record

MOLECULES = tuple(GEOMETRIES)


@dataclass(frozen=True)
class Shape:
    """What a record's size comes from: evaluations x parameters x 20 bytes, and the Hamiltonian's terms."""

    evaluations: int
    parameters: int
    terms: int
    circuit_bytes: int


H2 = Shape(evaluations=36, parameters=24, terms=15, circuit_bytes=2_000)
"""Four qubits, EfficientSU2 with two repetitions: about 30 KiB of JSON."""
LIH = Shape(evaluations=22, parameters=50, terms=631, circuit_bytes=12_500)
"""Twelve qubits, UCCSD: about 90 KiB, as the real one."""
LONG = Shape(evaluations=690, parameters=96, terms=1_086, circuit_bytes=40_000)
"""Fourteen qubits and many evaluations: about 1.5 MiB, more than a broker takes by default."""


def molecule_of(number: int) -> str:
    """Partition key of the molecule of a record."""
    return MOLECULES[number % len(MOLECULES)]


def shape_of(number: int) -> Shape:
    """Most records are small, one in ten is as large as LiH's, one in a hundred is long."""
    if number % 100 == 50:
        return LONG
    return LIH if number % 10 == 5 else H2


def identity_of(number: int, salt: str) -> str:
    """Identity of the experiment of a record."""
    return hashlib.sha256(f"{salt}/{number}".encode()).hexdigest()


def full_record(number: int, salt: str, shape: Shape | None = None) -> VQEDecoratedResult:
    """One record with qpipe's own fields and numbers that fill their digits.

    Args:
        number: makes content and identity distinct; decides molecule, and size unless `shape` does.
        salt: of the test, so that two tests never share an experiment.
        shape: the size.
    """
    wanted, chance = shape or shape_of(number), random.Random(f"{salt}/{number}")
    plain = plain_record(number, molecule_of(number), evaluations=wanted.evaluations, parameters=wanted.parameters)
    result = plain["vqe_result"]
    for step in result["iteration_list"]:
        step |= {
            "parameters": _angles(chance, wanted.parameters),
            "gradient_norm": chance.random(),
            "energy_variance": chance.random(),
        }
    best = min(result["iteration_list"], key=lambda step: step["result"])
    result["optimal_parameters"] = best["parameters"]
    result["initial_data"] |= {
        "initial_parameters": result["iteration_list"][0]["parameters"],
        "hamiltonian": [_term(chance) for _ in range(wanted.terms)],
        "ansatz": _circuit(chance, wanted.circuit_bytes),
        "default_shots": None,
        "exact_estimator": True,
    }
    total = result["minimum"] + result["nuclear_repulsion_energy"]
    plain |= {
        "schema_version": SCHEMA_VERSION,
        "experiment_id": identity_of(number, salt),
        "total_energy": total,
        "hf_energy": total + 0.02,
        "fci_energy": total - 1e-6,
        "reference_method": "FCI",
        "energy_error_mha": 1e-3,
        "chemically_accurate": True,
        "valid": True,
        "engine": "aer",
        "mapper": "jordan_wigner",
        "energy_evaluations": wanted.evaluations,
        "wall_time": 2.5,
        "started_at": f"2026-11-21T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}+00:00",
        "host": "laboratory",
        "campaign": salt,
        "device": "CPU",
    }
    return VQEDecoratedResult.model_validate_json(json.dumps(plain))


def _angles(chance: random.Random, count: int) -> list[float]:
    return [chance.uniform(-3.14, 3.14) for _ in range(count)]


def _term(chance: random.Random) -> dict[str, Any]:
    label = "".join(chance.choices("IXYZ", k=12))
    return {"label": label, "coefficients": {"real": chance.uniform(-1, 1), "imaginary": 0.0}}


def _circuit(chance: random.Random, size: int) -> str:
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";']
    while sum(map(len, lines)) + len(lines) < size:
        lines.append(f"ry({chance.random():.6f}) q[{chance.randrange(12)}];")
    return "\n".join(lines) + "\n"
