"""Sends results with quantum-pipeline's own producer, serializer and registry client, of whatever version is imported.

Runs in an environment of its own and knows nothing of qpipe:

    python send_results.py FOLDER TOPIC REGISTRY_URL SERVERS

FOLDER/sent.json gets what was sent as plain values, made here and not by the package's serializer; FOLDER/N.avro the
bytes of result N as the serializer made them. The folder's name makes the results: another one makes others.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import qasm3
from qiskit.circuit.library import efficient_su2, real_amplitudes
from qiskit_nature.second_q.formats.molecule_info import MoleculeInfo
from qiskit_nature.units import DistanceUnit
from quantum_pipeline.configs.module.producer import ProducerConfig
from quantum_pipeline.configs.module.security import SecurityConfig
from quantum_pipeline.stream import kafka_interface
from quantum_pipeline.structures import vqe_observation as structures

STEPS = 5
SPECIMENS: tuple[dict[str, Any], ...] = (
    {
        "symbols": ["H", "H"],
        "coords": [[0.0, 0.0, 0.0], [0.0, 0.0, 0.7414]],
        "charge": 0,
        "units": "angstrom",
        "masses": None,
        "ansatz": ("EfficientSU2", efficient_su2),
        "optimizer": "L-BFGS-B",
        "maxcv": None,
        "shots": None,
        "exact": True,
        "nuclear_repulsion": 0.7137539936876182,
        "performance": None,
    },
    {
        "symbols": ["He", "H"],
        "coords": [[0.0, 0.0, 0.0], [0.0, 0.0, 1.4586797]],
        "charge": 1,
        "units": "bohr",
        "masses": [4.002602, 1.00784],
        "ansatz": ("RealAmplitudes", real_amplitudes),
        "optimizer": "COBYLA",
        "maxcv": 0.0,
        "shots": 4096,
        "exact": False,
        "nuclear_repulsion": 1.3711027,
        "performance": {"cpu": {"percent": 12.5}, "text": 'quoted "text", ü'},
    },
)


def main(folder: Path, topic: str, registry_url: str, servers: str) -> None:
    """Send every specimen, and write down what was sent."""
    logging.disable()
    # Version 1 makes a topic and a subject out of every result. Here one topic gets all, and its subject is apart.
    subject = topic if _is_second() else f"{topic}.{folder.name}"
    kafka_interface.SchemaRegistry = _registry(folder, subject, registry_url)
    config = ProducerConfig(servers=servers, topic=topic, security=SecurityConfig.get_default())
    producer = kafka_interface.VQEKafkaProducer(config)
    producer._update_topic = lambda result: None
    producer.serializer.SCHEMA_NAME = producer.serializer.schema_name = subject
    sent = []
    for number, specimen in enumerate(SPECIMENS):
        result, plain = make(specimen, number, folder.name)
        producer.send_result(result)
        (folder / f"{number}.avro").write_bytes(producer._serialize_result(result))
        sent.append(plain)
    producer.close()
    (folder / "sent.json").write_text(json.dumps(sent))


def make(specimen: dict[str, Any], number: int, salt: str) -> tuple[Any, dict[str, Any]]:
    """One result as the package's own object, and the same as plain values in the field's nesting.

    Another salt makes another experiment of it.
    """
    random = np.random.default_rng([number, *salt.encode()])
    name, circuit = specimen["ansatz"]
    ansatz = circuit(4, reps=2)
    points = random.uniform(0.0, 2 * np.pi, (STEPS, ansatz.num_parameters))
    points[0, :3] = [-0.0, 5e-324, 0.1 + 0.2]
    energies = -1.8 + 0.3 * random.standard_normal(STEPS)
    best = int(np.argmin(energies))
    steps = [_step(index, points, energies) for index in range(STEPS)]
    terms = [("IIII", complex(-0.81261, 0.0)), ("ZIIZ", complex(1 / 3, -1e-17)), ("XXYY", complex(-0.04532, 0.0))]
    initial = {
        "backend": "aer_simulator_statevector",
        "num_qubits": 4,
        "num_parameters": ansatz.num_parameters,
        "initial_parameters": points[0],
        "optimizer": specimen["optimizer"],
        "ansatz": ansatz,
        "noise_backend": "undef",
        "default_shots": specimen["shots"],
        "ansatz_reps": 2,
        "init_strategy": "random",
        "seed": 40 + number,
        "ansatz_name": name,
        "exact_estimator": specimen["exact"],
    }
    result = {
        "minimum": energies[best],
        "optimal_parameters": points[best],
        "maxcv": specimen["maxcv"],
        "minimization_time": np.float64(1.25 + number),
        "nuclear_repulsion_energy": np.float64(specimen["nuclear_repulsion"]),
        "success": np.bool_(number == 0),
        "nfev": np.int64(STEPS),
        "nit": np.int64(2),
    }
    if not _is_second():  # the first knew neither exact values nor null here
        initial["default_shots"] = specimen["shots"] or 1024
        result["maxcv"] = specimen["maxcv"] or 0.0
    molecule = {key: specimen[key] for key in ("symbols", "coords", "charge", "masses")} | {"multiplicity": 1}
    around = {
        "basis_set": "sto3g",
        "hamiltonian_time": np.float64(0.1),
        "mapping_time": np.float64(0.02),
        "vqe_time": np.float64(1.5),
        "total_time": np.float64(1.62),
        "molecule_id": number,
        "performance_start": specimen["performance"],
        "performance_end": specimen["performance"],
    }
    theirs = _build(
        structures.VQEDecoratedResult,
        around,
        molecule=MoleculeInfo(**molecule, units=DistanceUnit[specimen["units"].upper()]),
        vqe_result=_build(
            structures.VQEResult,
            result,
            initial_data=_build(structures.VQEInitialData, initial, hamiltonian=np.array(terms, dtype=object)),
            iteration_list=[_build(structures.VQEProcess, step) for step in steps],
        ),
    )
    performance = None if specimen["performance"] is None else json.dumps(specimen["performance"])
    around |= {"performance_start": performance, "performance_end": performance}
    coefficients = [{"label": at, "coefficients": {"real": c.real, "imaginary": c.imag}} for at, c in terms]
    plain = _plain(structures.VQEDecoratedResult, around) | {
        "molecule": {"molecule_data": molecule | {"units": specimen["units"]}},
        "vqe_result": _plain(structures.VQEResult, result)
        | {
            "initial_data": _plain(structures.VQEInitialData, initial | {"ansatz": qasm3.dumps(ansatz)})
            | {"hamiltonian": coefficients},
            "iteration_list": [_plain(structures.VQEProcess, step) for step in steps],
        },
    }
    return theirs, plain


def _step(index: int, points: np.ndarray, energies: np.ndarray) -> dict[str, Any]:
    before = index - 1
    return {
        "iteration": index + 1,
        "parameters": points[index],
        "result": energies[index],
        "std": np.float64(0.001 * index),
        "energy_delta": energies[index] - energies[before] if index else None,
        "parameter_delta_norm": np.linalg.norm(points[index] - points[before]) if index else None,
        "cumulative_min_energy": energies[: index + 1].min(),
    }


def _is_second() -> bool:
    """Whether this is version 2 of the package."""
    return _knows(structures.VQEInitialData, "exact_estimator")


def _knows(structure: type, name: str) -> bool:
    return name in {field.name for field in dataclasses.fields(structure)}


def _build(structure: type, values: dict[str, Any], **parts: Any) -> Any:
    """The package's object, of the fields that its version has."""
    return structure(**{name: value for name, value in values.items() if _knows(structure, name)}, **parts)


def _plain(structure: type, values: dict[str, Any]) -> dict[str, Any]:
    """The same as JSON's types; a NumPy value as the Python number it is."""
    known = {name: value for name, value in values.items() if _knows(structure, name)}
    return {
        name: value.tolist() if isinstance(value, np.generic | np.ndarray) else value for name, value in known.items()
    }


def _registry(folder: Path, subject: str, url: str) -> type:
    class Registry(kafka_interface.SchemaRegistry):
        """The package's own, at our URL, with subjects of its parts that no other version of it has touched."""

        def __init__(self) -> None:
            super().__init__()
            self.url = self.schema_registry_url = url
            self.schema_dir = folder / "schemas"

        def get_schema(self, name: str) -> Any:
            return super().get_schema(_own(name))

        def save_schema(self, name: str, schema: Any) -> None:  # version 1
            super().save_schema(_own(name), schema)

        def register_schema(self, name: str, schema: Any) -> None:  # version 2
            super().register_schema(_own(name), schema)

    def _own(name: str) -> str:
        return name if name == subject else f"{subject}.{name}"

    return Registry


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
