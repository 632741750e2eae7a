"""Measured groups as dense matrices: the twin of simulation.engines.sampling_kernels and measurement."""

from __future__ import annotations

import numpy as np

from tests._slow.circuits import PAULI, on_qubit

HADAMARD = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
S_DAGGER = np.diag([1, -1j])


def turn_to_basis(state, x, z):
    qubits = len(state).bit_length() - 1
    for qubit in range(qubits):
        if x >> qubit & 1:
            gate = HADAMARD @ S_DAGGER if z >> qubit & 1 else HADAMARD
            state = on_qubit(gate, qubit, qubits) @ state
    return state


def outcome_value(outcome, supports, coefficients):
    return sum(c * (-1) ** bin(outcome & support).count("1") for support, c in zip(supports, coefficients, strict=True))


def pauli_string(x, z, qubits):
    matrix = np.eye(1 << qubits, dtype=complex)
    for qubit in range(qubits):
        letter = "IXZY"[(x >> qubit & 1) + 2 * (z >> qubit & 1)]
        if letter != "I":
            matrix = matrix @ on_qubit(PAULI[letter], qubit, qubits)
    return matrix
