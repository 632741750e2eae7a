"""Excitation rotations as dense matrices: the twin of simulation.engines.sector_kernels."""

from __future__ import annotations

import numpy as np


def generator(num_qubits: int, occupied: tuple[int, ...], virtual: tuple[int, ...]) -> np.ndarray:
    """T - T^dagger with T = a+_occupied... a_virtual..., from Jordan-Wigner ladder matrices."""
    product = np.eye(1 << num_qubits)
    for orbital in occupied:
        product = product @ annihilator(num_qubits, orbital).T
    for orbital in virtual:
        product = product @ annihilator(num_qubits, orbital)
    return product - product.T


def annihilator(num_qubits: int, orbital: int) -> np.ndarray:
    factors = [np.diag([1.0, -1.0])] * orbital + [np.array([[0.0, 1.0], [0.0, 0.0]])]
    matrix = np.eye(1)
    for factor in factors + [np.eye(2)] * (num_qubits - orbital - 1):
        matrix = np.kron(factor, matrix)  # qubit 0 is the last factor
    return matrix


def rotate(state, angles, lower, upper, first):
    result = state.copy()
    for e, angle in enumerate(angles):
        for m in range(first[e], first[e + 1]):
            a, b = result[lower[m]], result[upper[m]]
            result[lower[m]] = np.cos(angle) * a + np.sin(angle) * b
            result[upper[m]] = np.cos(angle) * b - np.sin(angle) * a
    return result
