"""State vectors of a parametrised circuit, from Qiskit Aer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit import QuantumCircuit  # type: ignore[import-untyped]
    from qiskit_aer import AerSimulator

    from simulation.circuits import ParametrisedCircuit

_AMPLITUDES_AT_ONCE = 1 << 22


class CircuitStates:
    """The states that a circuit prepares, each up to a global phase.

    Args:
        program: The circuit; it is transpiled once.
        simulator: An Aer simulator with the method statevector.
    """

    def __init__(self, program: ParametrisedCircuit, simulator: AerSimulator) -> None:
        from qiskit import transpile

        self._simulator = simulator
        reduced = transpile(program.to_qiskit(), simulator, optimization_level=1, seed_transpiler=0)
        self._circuit = _cheaply_assembled(reduced)
        self._circuit.save_statevector()
        self._columns = parameter_columns(program, self._circuit)

    def at(self, parameters: NDArray[np.float64]) -> NDArray[np.complex128]:
        """The state at `parameters` (radian), shape `(2^num_qubits,)`."""
        return next(self.along(np.asarray(parameters, dtype=np.float64)[None]))

    def along(self, points: NDArray[np.float64]) -> Iterator[NDArray[np.complex128]]:
        """The states at points of shape `(m, num_parameters)`, one after the other.

        Raises:
            RuntimeError: Aer failed.
        """
        at_once = max(1, _AMPLITUDES_AT_ONCE >> self._circuit.num_qubits)
        for first in range(0, len(points), at_once):
            chunk = points[first : first + at_once]
            binds = {parameter: chunk[:, column].tolist() for parameter, column in self._columns}
            result = self._simulator.run(self._circuit, parameter_binds=[binds] if binds else None, shots=1).result()
            if not result.success:
                raise RuntimeError(f"Qiskit Aer failed: {result.status}")
            for index in range(len(chunk)):
                # Without parameters Aer answers once, whatever the number of points.
                yield np.array(result.data(index if binds else 0)["statevector"], dtype=np.complex128)


def parameter_columns(program: ParametrisedCircuit, circuit: QuantumCircuit) -> list[tuple[Any, int]]:
    """Each parameter of a circuit made from `program`, with its index in the program, whatever the transpiler did."""
    index = {name: position for position, name in enumerate(program.parameter_names())}
    return [(parameter, index[parameter.name]) for parameter in circuit.parameters]


def _cheaply_assembled(circuit: QuantumCircuit) -> QuantumCircuit:
    """The same circuit up to a global phase, in a form that Aer takes in quickly.

    At 12 qubits Aer needs longer to read a circuit's gates, one by one, on every run, than to apply them. So RY and RZ
    in a row become one U gate; and gates are instances of the general class, which Qiskit keeps as the objects they
    are, while it builds standard ones anew each time that they are looked at.
    """
    from qiskit import QuantumCircuit
    from qiskit.circuit import Gate  # type: ignore[import-untyped]

    result = QuantumCircuit(circuit.num_qubits)
    pending: dict[int, Any] = {}

    def release(qubit: int) -> None:
        if qubit in pending:
            result.append(Gate("ry", 1, [pending.pop(qubit)]), [qubit])

    for instruction in circuit.data:
        operation, qubits = instruction.operation, [circuit.find_bit(qubit).index for qubit in instruction.qubits]
        if operation.name == "rz" and qubits[0] in pending:
            result.append(Gate("u", 1, [pending.pop(qubits[0]), *operation.params, 0.0]), qubits)
            continue
        for qubit in qubits:
            release(qubit)
        if operation.name == "ry":
            pending[qubits[0]] = operation.params[0]
        else:
            result.append(Gate(operation.name, operation.num_qubits, list(operation.params)), qubits)
    for qubit in sorted(pending):
        release(qubit)
    return result
