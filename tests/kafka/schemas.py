"""Avro schemas of earlier writers, from the fields that spec C lists for each version."""

from __future__ import annotations

import copy
from typing import Any

from qpipe_resources.serialization import avro_schema
from simulation.record import VQEDecoratedResult, VQEInitialData, VQEProcess, VQEResult
from tests.synthetic import plain_record

LATER = {
    "VQEDecoratedResult": ["performance_start", "performance_end"],
    "VQEResult": ["nuclear_repulsion_energy", "success", "nfev", "nit"],
    "VQEInitialData": ["init_strategy", "seed", "ansatz_name", "exact_estimator"],
    "VQEProcess": ["energy_delta", "parameter_delta_norm", "cumulative_min_energy"],
}
"""Fields that version 2 added to each record."""

_OURS_FROM = {"VQEDecoratedResult": "schema_version", "VQEProcess": "gradient_norm"}
"""First of the fields that version 3 added."""


def schema(version: int, *, flat_molecule: bool = False) -> dict[str, Any]:
    """The writer's schema of a version; version 1 may have its molecule without the wrapper."""
    made = copy.deepcopy(avro_schema())
    if version < 3:
        _walk(made, lambda record: _without_ours(record))
    if version < 2:
        _walk(made, lambda record: _without_later(record))
    if flat_molecule:
        molecule = next(field for field in made["fields"] if field["name"] == "molecule")
        molecule["type"] = molecule["type"]["fields"][0]["type"] | {"name": "MoleculeInfo"}
    return made


def _without_ours(record: dict[str, Any]) -> None:
    names = [field["name"] for field in record["fields"]]
    if record["name"] in _OURS_FROM:
        del record["fields"][names.index(_OURS_FROM[record["name"]]) :]
    if record["name"] == "MoleculeData":
        record["fields"] = [field for field in record["fields"] if field["name"] != "name"]


def _without_later(record: dict[str, Any]) -> None:
    dropped = LATER.get(record["name"], [])
    record["fields"] = [field for field in record["fields"] if field["name"] not in dropped]
    for field in record["fields"]:
        if field["name"] == "default_shots":
            field["type"] = "int"


def _walk(node: Any, change: Any) -> None:
    if isinstance(node, list):
        for item in node:
            _walk(item, change)
    elif isinstance(node, dict):
        if node.get("type") == "record":
            change(node)
        for value in list(node.values()):
            _walk(value, change)


def record(version: int) -> dict[str, Any]:
    """A record as a writer of the version has it, plain."""
    plain = plain_record(molecule="HeH+", evaluations=3)
    if version == 3:
        return VQEDecoratedResult.model_validate(
            plain | {"schema_version": 3, "total_energy": -2.85, "active_space": {"electrons": 2, "orbitals": 2}}
        ).model_dump()
    return plain


DEFAULTS: dict[str, Any] = {
    "VQEInitialData": {name: VQEInitialData.model_fields[name].default for name in LATER["VQEInitialData"]},
    "VQEResult": {name: VQEResult.model_fields[name].default for name in LATER["VQEResult"]},
    "VQEProcess": {name: VQEProcess.model_fields[name].default for name in LATER["VQEProcess"]},
}
"""What readers take for the fields that version 1 lacks."""
