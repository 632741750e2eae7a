"""Each compiled kernel of the engines against its plain twin, at random points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation import pauli_kernels
from simulation.engines import circuit_kernels, sector_kernels
from tests._slow.circuits import PAULI, gate_matrix, on_qubit
from tests._slow.rotations import rotate

SEEDS = st.integers(0, 2**32 - 1)


def random_pairs(rng, dimension, count):
    lower, upper, first = [], [], [0]
    for _ in range(count):
        chosen = rng.permutation(dimension)[: 2 * rng.integers(0, dimension // 2 + 1)]
        lower.extend(chosen[::2])
        upper.extend(chosen[1::2])
        first.append(len(lower))
    return lower, upper, first


def as_kernel_arrays(lower, upper, first):
    return np.array(lower, dtype=np.uint32), np.array(upper, dtype=np.uint32), np.array(first, dtype=np.uint64)


def symmetric_sparse(rng, dimension):
    from scipy.sparse import csr_array

    matrix = rng.normal(size=(dimension, dimension)) * (rng.random((dimension, dimension)) < 0.5)
    return csr_array(matrix + matrix.T)


def upper_triangle(matrix):
    size = matrix.shape[0]
    diagonal, first = np.empty(size), np.empty(size + 1, dtype=np.uint64)
    columns, values = matrix.indices.astype(np.int32), matrix.data.copy()
    ends = matrix.indptr.astype(np.int64)
    kept = sector_kernels.keep_upper_triangle(ends, columns, values, diagonal, first)
    return diagonal, first, columns[:kept].astype(np.uint32), values[:kept]


def slopes_of(energy, parameters, step=1e-5):
    shifts = step * np.eye(len(parameters))
    return np.array([(energy(parameters + s) - energy(parameters - s)) / 2 / step for s in shifts])


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_rotations_equal_their_plain_twin_forward_and_in_reverse(seed):
    rng, dimension, count = np.random.default_rng(seed), 12, 5
    pairs = random_pairs(rng, dimension, count)
    parameter_of = rng.integers(0, 3, size=count)
    parameters = rng.normal(size=3)
    state, matrix = rng.normal(size=dimension), symmetric_sparse(rng, dimension).toarray()
    arrays = parameter_of, *as_kernel_arrays(*pairs)
    turned = state.copy()
    sector_kernels.rotate(turned, parameters, *arrays, 0, count)
    np.testing.assert_allclose(turned, rotate(state, parameters[parameter_of], *pairs), atol=1e-13)

    def energy(at):
        rotated = rotate(state, at[parameter_of], *pairs)
        return rotated @ matrix @ rotated

    both, gradient = np.stack([turned, matrix @ turned], axis=1), np.zeros(3)
    sector_kernels.reverse(both, parameters, *arrays, 0, count, gradient)
    np.testing.assert_allclose(both[:, 0], state, atol=1e-12)
    np.testing.assert_allclose(gradient, slopes_of(energy, parameters), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_leading_rotations_of_one_spin_equal_rotations_of_all_determinants(seed):
    rng, num_alpha, num_beta = np.random.default_rng(seed), 4, 3
    leading_alpha, leading_beta, others = (
        random_pairs(rng, size, count) for size, count in ((num_alpha, 3), (num_beta, 2), (num_alpha * num_beta, 4))
    )
    parameter_of = rng.integers(0, 5, size=9)
    parameters = rng.normal(size=5)
    start = np.array([rng.integers(num_alpha), rng.integers(num_beta)])
    matrix = symmetric_sparse(rng, num_alpha * num_beta)

    def trial(at):
        angles = at[parameter_of]
        alpha = rotate(np.eye(num_alpha)[start[0]], angles[:3], *leading_alpha)
        beta = rotate(np.eye(num_beta)[start[1]], angles[3:5], *leading_beta)
        return rotate(np.outer(beta, alpha).ravel(), angles[5:], *others)

    def energy(at):
        return trial(at) @ (matrix @ trial(at))

    lower, upper, first = [], [], [0]
    for more_lower, more_upper, more_first in (leading_alpha, leading_beta, others):
        first.extend(len(lower) + end for end in more_first[1:])
        lower, upper = lower + more_lower, upper + more_upper
    rotations = parameter_of, *as_kernel_arrays(lower, upper, first), np.array([3, 2]), start
    state, gradient = np.empty(num_alpha * num_beta), np.zeros(5)
    sector_kernels.prepare(parameters, *rotations, np.empty(num_alpha), np.empty(num_beta), state)
    np.testing.assert_allclose(state, trial(parameters), atol=1e-13)
    found, square = sector_kernels.differentiate(
        parameters, *rotations, num_alpha, *upper_triangle(matrix.copy()), gradient
    )
    assert found == pytest.approx(energy(parameters), abs=1e-12)
    assert square == pytest.approx(np.sum((matrix @ trial(parameters)) ** 2), abs=1e-11)
    np.testing.assert_allclose(gradient, slopes_of(energy, parameters), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_product_with_the_upper_triangle_equals_the_whole_matrix(seed):
    rng = np.random.default_rng(seed)
    matrix, vector = symmetric_sparse(rng, 9), rng.normal(size=9)
    product = np.empty(9)
    sector_kernels.multiply(*upper_triangle(matrix), vector, product)
    np.testing.assert_allclose(product, matrix.toarray() @ vector, atol=1e-13)


@pytest.mark.parametrize("qubits", [3, 7])
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_reverse_pass_over_gates_equals_its_plain_twin(qubits, seed):
    rng, count = np.random.default_rng(seed), 12
    names = rng.choice(list(circuit_kernels.KINDS), size=count)
    wires = np.array([rng.permutation(qubits)[:2] for _ in range(count)])
    angles = np.where([name.startswith("r") for name in names], rng.normal(size=count), 0.0)
    size = 1 << qubits
    start, image = (rng.normal(size=size) + 1j * rng.normal(size=size) for _ in range(2))
    matrices = [gate_matrix(n, a, b, t, qubits) for n, (a, b), t in zip(names, wires, angles, strict=True)]
    states = [start]
    for matrix in matrices:
        states.append(matrix @ states[-1])
    expected, adjoint = np.zeros(count), image
    for g in range(count - 1, -1, -1):
        if names[g].startswith("r"):
            pauli = on_qubit(PAULI[names[g][1].upper()], wires[g][0], qubits)
            expected[g] = np.vdot(adjoint, pauli @ states[g + 1]).imag
        adjoint = matrices[g].conj().T @ adjoint

    kind = np.array([circuit_kernels.KINDS[name] for name in names], dtype=np.int64)
    a, b = (np.ascontiguousarray(wires[:, k]).astype(np.int64) for k in (0, 1))
    state, other, slopes = states[-1].copy(), image.copy(), np.zeros(count)
    circuit_kernels.reverse(state, other, kind, a, b, angles, slopes)
    np.testing.assert_allclose(state, start, atol=1e-12)
    np.testing.assert_allclose(other, adjoint, atol=1e-12)
    np.testing.assert_allclose(slopes, expected, atol=1e-10)


def test_a_real_product_is_summed_in_order():
    rng = np.random.default_rng(0)
    left, right = (rng.normal(size=50) + 1j * rng.normal(size=50) for _ in range(2))
    assert circuit_kernels.real_dot(left, right) == pytest.approx(np.vdot(left, right).real, abs=1e-13)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_product_of_a_real_matrix_with_a_complex_state_equals_the_dense_one(seed):
    rng = np.random.default_rng(seed)
    matrix, state = symmetric_sparse(rng, 9), rng.normal(size=9) + 1j * rng.normal(size=9)
    product = np.empty(9, dtype=np.complex128)
    ends, columns = matrix.indptr.astype(np.int64), matrix.indices.astype(np.uint32)
    pauli_kernels.multiply(ends, columns, matrix.data, state, product)
    np.testing.assert_allclose(product, matrix.toarray() @ state, atol=1e-13)
