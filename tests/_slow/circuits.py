"""Gates as dense matrices: the twin of simulation.engines.circuit_kernels."""

from __future__ import annotations

import numpy as np

PAULI = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}


def on_qubit(matrix: np.ndarray, qubit: int, num_qubits: int) -> np.ndarray:
    return np.kron(np.eye(1 << (num_qubits - qubit - 1)), np.kron(matrix, np.eye(1 << qubit)))


def gate_matrix(name: str, a: int, b: int, angle: float, num_qubits: int) -> np.ndarray:
    if name == "x":
        return on_qubit(PAULI["X"], a, num_qubits)
    if name in ("cx", "cz"):
        zero, one = on_qubit(np.diag([1, 0]), a, num_qubits), on_qubit(np.diag([0, 1]), a, num_qubits)
        return zero + one @ on_qubit(PAULI[name[1].upper()], b, num_qubits)
    pauli = on_qubit(PAULI[name[1].upper()], a, num_qubits)
    return np.cos(angle / 2) * np.eye(1 << num_qubits) - 1j * np.sin(angle / 2) * pauli


def pauli_sum(labels: list[str], coefficients: np.ndarray) -> np.ndarray:
    total = 0
    for label, coefficient in zip(labels, coefficients, strict=True):
        matrix = np.eye(1)
        for letter in label:
            matrix = np.kron(matrix, PAULI[letter])
        total = total + coefficient * matrix
    return total
