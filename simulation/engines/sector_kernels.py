"""Compiled kernels of the sector engine: excitation rotations on a real CI vector, forward and in reverse.

Rotation e mixes the pairs `first[e]` to `first[e + 1] - 1`: with c = cos t and s = sin t, t its angle,
(lower, upper) -> (c lower + s upper, c upper - s lower). The symmetric Hamiltonian comes as its diagonal and the rows
of its upper triangle; row r has the elements `first[r]` to `first[r + 1] - 1`. Indices are unsigned, for numba tests
signed ones for negative values at every access. Plain twins are in tests/_slow. No threads, no reordered sums: the
same bytes on every run.
"""

from __future__ import annotations

import numba
import numpy as np

_ANGLES = "float64[::1], int64[::1]"
_ROTATIONS = "uint32[::1], uint32[::1], uint64[::1]"
_SPINS = "int64[::1], int64[::1]"
_MATRIX = "float64[::1], uint64[::1], uint32[::1], float64[::1]"
_FUSED = {"contract"}
"""A product and a sum may become one instruction; nothing else may change."""


@numba.njit(f"void(float64[::1], {_ANGLES}, {_ROTATIONS}, int64, int64)", cache=True, fastmath=_FUSED)
def rotate(state, parameters, parameter_of, lower, upper, first, start, stop):
    """Apply rotations `start` to `stop` - 1 in order to `state`, in place; `parameter_of[e]` holds the angle of e."""
    for e in range(start, stop):
        angle = parameters[parameter_of[e]]
        cosine = np.cos(angle)
        sine = np.sin(angle)
        for m in range(first[e], first[e + 1]):
            i = lower[m]
            j = upper[m]
            a = state[i]
            b = state[j]
            state[i] = cosine * a + sine * b
            state[j] = cosine * b - sine * a


@numba.njit(f"void(float64[:, ::1], {_ANGLES}, {_ROTATIONS}, int64, int64, float64[::1])", cache=True, fastmath=_FUSED)
def reverse(pair, parameters, parameter_of, lower, upper, first, start, stop, gradient):
    """Undo rotations `stop` - 1 to `start` on the state `pair[:, 0]` and on `pair[:, 1]` = H state, in place.

    dE / d angle of each is added to its parameter's place in `gradient` on the way.
    """
    for e in range(stop - 1, start - 1, -1):
        angle = parameters[parameter_of[e]]
        cosine = np.cos(angle)
        sine = np.sin(angle)
        raised = 0.0
        lowered = 0.0
        for m in range(first[e], first[e + 1]):
            i = lower[m]
            j = upper[m]
            a = pair[i, 0]
            x = pair[i, 1]
            b = pair[j, 0]
            y = pair[j, 1]
            raised += x * b
            lowered += y * a
            pair[i, 0] = cosine * a - sine * b
            pair[i, 1] = cosine * x - sine * y
            pair[j, 0] = cosine * b + sine * a
            pair[j, 1] = cosine * y + sine * x
        gradient[parameter_of[e]] += 2.0 * (raised - lowered)


@numba.njit(f"void({_MATRIX}, float64[::1], float64[::1])", cache=True, fastmath=_FUSED)
def multiply(diagonal, first, columns, values, vector, product):
    """Write the symmetric matrix times `vector` into `product`."""
    for row in range(len(vector)):
        product[row] = diagonal[row] * vector[row]
    for row in range(len(vector)):
        element = vector[row]
        total = 0.0
        for k in range(first[row], first[row + 1]):
            column = columns[k]
            total += values[k] * vector[column]
            product[column] += values[k] * element
        product[row] += total


@numba.njit("int64(int64[::1], int32[::1], float64[::1], float64[::1], uint64[::1])", cache=True)
def keep_upper_triangle(row_ends, columns, values, diagonal, first):
    """Split a symmetric matrix, in place: `columns` and `values` keep what is above the diagonal; returns how much.

    Args:
        row_ends: Where each row starts, and the number of elements, shape `(n + 1,)`.
        columns: Column of each element; the elements that are kept move to the front.
        values: The elements, likewise.
        diagonal: Written, shape `(n,)`.
        first: Written: where each row's kept elements start, and their number, shape `(n + 1,)`.
    """
    kept = 0
    for row in range(len(diagonal)):
        first[row] = kept
        diagonal[row] = 0.0
        for k in range(row_ends[row], row_ends[row + 1]):
            if columns[k] == row:
                diagonal[row] = values[k]
            elif columns[k] > row:
                columns[kept] = columns[k]
                values[kept] = values[k]
                kept += 1
    first[len(diagonal)] = kept
    return kept


@numba.njit("UniTuple(float64, 2)(float64[::1], float64[::1])", cache=True, fastmath=_FUSED)
def moments(state, image):
    """<state|image> and <image|image>, summed strictly in order: with image = H state, <H> and <H^2>."""
    first = 0.0
    second = 0.0
    for k in range(len(state)):
        first += state[k] * image[k]
        second += image[k] * image[k]
    return first, second


@numba.njit(
    f"void({_ANGLES}, {_ROTATIONS}, {_SPINS}, float64[::1], float64[::1], float64[::1])", cache=True, fastmath=_FUSED
)
def prepare(parameters, parameter_of, lower, upper, first, counts, start, alpha, beta, state):
    """The trial state: rotations of one spin act on its strings alone until the first one that mixes both spins.

    Args:
        parameters: Angles (radian).
        parameter_of: The parameter of each rotation.
        lower: First of each pair: strings for the leading rotations, determinants for the others.
        upper: Second of each pair.
        first: Where the pairs of each rotation start.
        counts: How many leading rotations move alpha electrons, and how many then beta electrons.
        start: The alpha string and the beta string to start from.
        alpha: Written: the factor of the alpha strings after the leading rotations, shape `(num_alpha,)`.
        beta: Written: the factor of the beta strings, shape `(num_beta,)`.
        state: Written: the CI vector, alpha strings fastest, shape `(num_alpha * num_beta,)`.
    """
    leading = counts[0] + counts[1]
    alpha[:] = 0.0
    beta[:] = 0.0
    alpha[start[0]] = 1.0
    beta[start[1]] = 1.0
    rotate(alpha, parameters, parameter_of, lower, upper, first, 0, counts[0])
    rotate(beta, parameters, parameter_of, lower, upper, first, counts[0], leading)
    for row in range(len(beta)):
        for column in range(len(alpha)):
            state[row * len(alpha) + column] = beta[row] * alpha[column]
    rotate(state, parameters, parameter_of, lower, upper, first, leading, len(parameter_of))


@numba.njit(
    f"UniTuple(float64, 2)({_ANGLES}, {_ROTATIONS}, {_SPINS}, int64, {_MATRIX}, float64[::1])",
    cache=True,
    fastmath=_FUSED,
)
def differentiate(
    parameters,
    parameter_of,
    lower,
    upper,
    first,
    counts,
    start,
    num_alpha,
    diagonal,
    row_first,
    columns,
    values,
    gradient,
):
    """<H> and <H^2> of the trial state; `gradient`, which comes as zeros, becomes dE / d parameters.

    The leading rotations (see `prepare`) leave a product of an alpha and a beta factor, so their slopes need no more
    than H state contracted with the other factor.
    """
    alpha = np.empty(num_alpha)
    beta = np.empty(len(diagonal) // num_alpha)
    state = np.empty(len(diagonal))
    image = np.empty(len(diagonal))
    prepare(parameters, parameter_of, lower, upper, first, counts, start, alpha, beta, state)
    multiply(diagonal, row_first, columns, values, state, image)
    expectations = moments(state, image)
    pair = np.empty((len(state), 2))
    for k in range(len(state)):
        pair[k, 0] = state[k]
        pair[k, 1] = image[k]
    leading = counts[0] + counts[1]
    reverse(pair, parameters, parameter_of, lower, upper, first, leading, len(parameter_of), gradient)
    alpha_pair = np.zeros((len(alpha), 2))
    beta_pair = np.zeros((len(beta), 2))
    alpha_pair[:, 0] = alpha
    beta_pair[:, 0] = beta
    for row in range(len(beta)):
        for column in range(len(alpha)):
            element = pair[row * len(alpha) + column, 1]
            alpha_pair[column, 1] += beta[row] * element
            beta_pair[row, 1] += alpha[column] * element
    reverse(alpha_pair, parameters, parameter_of, lower, upper, first, 0, counts[0], gradient)
    reverse(beta_pair, parameters, parameter_of, lower, upper, first, counts[0], leading, gradient)
    return expectations
