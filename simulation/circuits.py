"""Parametrised circuits as plain data: gates, gate definitions, and their forms as Qiskit circuit and OpenQASM 3 text.

A circuit is a list of instructions, each a primitive gate or a call of a definition, with an angle that is a
multiple of one parameter. The text uses only what OpenQASM 2 has too, but for the declarations at its head; so
Qiskit's fast OpenQASM 2 reader can read it once the parameters have values (see `certification`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit import QuantumCircuit  # type: ignore[import-untyped]

ROTATIONS = ("rx", "ry", "rz")
PRIMITIVES = ("x", "cx", "cz", *ROTATIONS)


@dataclass(frozen=True)
class Gate:
    """One instruction; the angle of a rotation is `factor` times parameter number `parameter` (radian).

    Args:
        name: One of `PRIMITIVES`, or the name of a definition.
        qubits: Controls first.
        parameter: Index of the parameter, None for a gate without angle.
        factor: Multiplier of the parameter.
    """

    name: str
    qubits: tuple[int, ...]
    parameter: int | None = None
    factor: float = 1.0


@dataclass(frozen=True)
class GateDefinition:
    """A named sequence of primitive gates with one angle (parameter 0) on local qubits 0 to `num_qubits` - 1.

    It is exp(-i angle G) with the eigenvalues 0 and +-1, or +-1 alone, of G; `frequencies` relies on it.
    """

    name: str
    num_qubits: int
    body: tuple[Gate, ...]

    def expanded(self, call: Gate) -> list[Gate]:
        """The gates of a call on its qubits and with its parameter."""
        return [
            Gate(
                gate.name,
                tuple(call.qubits[qubit] for qubit in gate.qubits),
                None if gate.parameter is None else call.parameter,
                gate.factor * call.factor if gate.parameter is not None else 1.0,
            )
            for gate in self.body
        ]


@dataclass(frozen=True)
class ParametrisedCircuit:
    """A circuit on `num_qubits` qubits, all starting in 0, with `num_parameters` parameters."""

    num_qubits: int
    num_parameters: int
    instructions: tuple[Gate, ...]
    definitions: tuple[GateDefinition, ...] = ()

    @cached_property
    def gates(self) -> tuple[Gate, ...]:
        """Primitive gates only, every call expanded."""
        by_name = {definition.name: definition for definition in self.definitions}
        flat: list[Gate] = []
        for instruction in self.instructions:
            if instruction.name in by_name:
                flat.extend(by_name[instruction.name].expanded(instruction))
            else:
                flat.append(instruction)
        return tuple(flat)

    @property
    def frequencies(self) -> tuple[int, ...]:
        """For each instruction with a parameter, in order, R where the energy has the frequencies 1 to R in its angle.

        R = 1 for a rotation gate, whose generator has two eigenvalues, and 2 for a definition, whose generator has 0
        and +-1: parameter shift takes 2 R energies (Anselmetti, Wierichs, Gogolin and Parrish, New J. Phys. 23, 113010
        (2021)).
        """
        return tuple(1 if gate.name in ROTATIONS else 2 for gate in self.instructions if gate.parameter is not None)

    def unshared(self) -> UnsharedCircuit:
        """The same circuit with a parameter of its own, and the factor 1, for every instruction that has an angle."""
        turning = [gate for gate in self.instructions if gate.parameter is not None]
        numbers = itertools.count()
        instructions = tuple(
            gate if gate.parameter is None else Gate(gate.name, gate.qubits, next(numbers))
            for gate in self.instructions
        )
        return UnsharedCircuit(
            ParametrisedCircuit(self.num_qubits, len(turning), instructions, self.definitions),
            np.array([gate.parameter for gate in turning], dtype=np.int64),
            np.array([gate.factor for gate in turning], dtype=np.float64),
        )

    def parameter_names(self) -> list[str]:
        """Names whose alphabetical order is the order of the parameters: theta_0000, theta_0001, ..."""
        digits = max(4, len(str(self.num_parameters - 1)))
        return [f"theta_{index:0{digits}d}" for index in range(self.num_parameters)]

    def to_qiskit(self) -> QuantumCircuit:
        """The circuit in primitive gates for Qiskit; its `parameters` are in index order."""
        from qiskit import QuantumCircuit
        from qiskit.circuit import Parameter  # type: ignore[import-untyped]

        parameters = [Parameter(name) for name in self.parameter_names()]
        circuit = QuantumCircuit(self.num_qubits)
        for gate in self.gates:
            arguments: list[Any] = []
            if gate.parameter is not None:
                parameter = parameters[gate.parameter]
                arguments.append(parameter if gate.factor == 1.0 else gate.factor * parameter)
            getattr(circuit, gate.name)(*arguments, *gate.qubits)
        return circuit

    def to_qasm3(self) -> str:
        """The circuit as OpenQASM 3 text with one `input float[64]` a parameter."""
        names = self.parameter_names()
        lines = ["OPENQASM 3.0;", 'include "stdgates.inc";']
        lines += [f"input float[64] {name};" for name in names]
        lines += [_definition_text(definition) for definition in self.definitions]
        lines.append(f"qubit[{self.num_qubits}] q;")
        qubits = [f"q[{index}]" for index in range(self.num_qubits)]
        lines += [_instruction_text(gate, names, qubits) for gate in self.instructions]
        return "\n".join(lines) + "\n"


class UnsharedCircuit(NamedTuple):
    """A circuit whose parameter k is `factors[k]` times parameter `parameters[k]` of the circuit it came from.

    So a gradient of the original is `np.bincount(parameters, factors * slopes, minlength=...)`.

    Args:
        circuit: Every instruction with an angle has a parameter of its own; its `frequencies` are one a parameter.
        parameters: Indices, shape `(circuit.num_parameters,)`.
        factors: Multipliers, likewise.
    """

    circuit: ParametrisedCircuit
    parameters: NDArray[np.int64]
    factors: NDArray[np.float64]


def _definition_text(definition: GateDefinition) -> str:
    qubits = [f"q{index}" for index in range(definition.num_qubits)]
    body = " ".join(_instruction_text(gate, ["t"], qubits) for gate in definition.body)
    return f"gate {definition.name}(t) {', '.join(qubits)} {{ {body} }}"


def _instruction_text(gate: Gate, parameters: list[str], qubits: list[str]) -> str:
    targets = ", ".join(qubits[index] for index in gate.qubits)
    if gate.parameter is None:
        return f"{gate.name} {targets};"
    parameter = parameters[gate.parameter]
    angle = {1.0: parameter, -1.0: f"-{parameter}"}.get(gate.factor, f"{gate.factor!r}*{parameter}")
    return f"{gate.name}({angle}) {targets};"
