"""The gradient of EfficientSU2 by PennyLane's lightning.qubit, adjoint differentiation, without the cost of a QNode.

The Hamiltonian goes in as a sum of Pauli words and as a sparse matrix, and the faster of the two counts. Run in its
environment: python lightning_adjoint.py PROBLEM.npz
"""

import json
import sys

import numpy as np
import pennylane as qml
from timing import cpu_seconds

PAULI = {"X": qml.X, "Y": qml.Y, "Z": qml.Z}


def hamiltonian(labels, coefficients):
    """The sum of Pauli words; the first letter of a label is wire 0, the highest qubit."""
    words = []
    for label in labels:
        factors = [PAULI[letter](wire) for wire, letter in enumerate(label) if letter != "I"]
        words.append(qml.prod(*factors) if len(factors) > 1 else factors[0] if factors else qml.Identity(0))
    return qml.Hamiltonian(coefficients, words)


def circuit(parameters, num_qubits, reps):
    """EfficientSU2 with entanglement 'reverse_linear', as Qiskit's `efficient_su2`."""
    gates = []
    wires = range(num_qubits - 1, -1, -1)
    for layer in range(reps + 1):
        if layer:
            gates += [qml.CNOT([wires[q], wires[q + 1]]) for q in reversed(range(num_qubits - 1))]
        for offset, rotation in ((0, qml.RY), (num_qubits, qml.RZ)):
            first = 2 * num_qubits * layer + offset
            gates += [rotation(parameters[first + q], wires=wires[q]) for q in range(num_qubits)]
    return gates


def main(path):
    data = np.load(path)
    num_qubits, parameters = int(data["num_qubits"]), data["circuit_parameters"]
    words = hamiltonian(data["labels"], data["coefficients"])
    matrix = qml.SparseHamiltonian(words.sparse_matrix(wire_order=range(num_qubits)).tocsr(), wires=range(num_qubits))
    device = qml.device("lightning.qubit", wires=num_qubits)
    config = qml.devices.ExecutionConfig(gradient_method="adjoint")
    found = []
    for form, observable in (("Pauli words", words), ("sparse matrix", matrix)):
        tape = qml.tape.QuantumScript(
            circuit(parameters, num_qubits, int(data["circuit_reps"])), [qml.expval(observable)]
        )
        tape.trainable_params = list(range(len(parameters)))
        cpu, n = cpu_seconds(lambda tape=tape: device.compute_derivatives(tape, config))
        both, _ = cpu_seconds(lambda tape=tape: device.execute_and_compute_derivatives(tape, config))
        gradient = [float(value) for value in device.compute_derivatives(tape, config)]
        found.append(
            {
                "cpu": cpu,
                "n": n,
                "with_energy": both,
                "form": form,
                "energy": float(device.execute(tape)),
                "gradient": gradient,
            }
        )
    print(json.dumps(min(found, key=lambda one: one["cpu"])))


if __name__ == "__main__":
    main(sys.argv[1])
