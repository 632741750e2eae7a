"""Compiled kernels of the sector engine: excitation rotations on a real CI vector, forward and in reverse.

Rotation e mixes the pairs `first[e]` to `first[e + 1] - 1`: with c = cos t and s = sign sin t,
(lower, upper) -> (c lower + s upper, c upper - s lower). Plain twins are in tests/_slow. No threads, no reordered
sums: the same bytes on every run.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit("float64(float64[::1], float64[::1])", cache=True)
def dot(left, right):
    """Sum of products, strictly in order; a threaded BLAS would sum in an order of its own."""
    total = 0.0
    for k in range(len(left)):
        total += left[k] * right[k]
    return total


@numba.njit("void(float64[::1], float64[::1], int32[::1], int32[::1], int8[::1], int64[::1])", cache=True)
def rotate(state, angles, lower, upper, sign, first):
    """Apply the rotations in order to `state`, in place."""
    for e in range(len(angles)):
        cosine = np.cos(angles[e])
        sine = np.sin(angles[e])
        for m in range(first[e], first[e + 1]):
            s = sign[m] * sine
            a = state[lower[m]]
            b = state[upper[m]]
            state[lower[m]] = cosine * a + s * b
            state[upper[m]] = cosine * b - s * a


@numba.njit(
    "void(float64[::1], float64[::1], float64[::1], int32[::1], int32[::1], int8[::1], int64[::1], float64[::1])",
    cache=True,
)
def reverse(state, adjoint, angles, lower, upper, sign, first, gradient):
    """Undo the rotations on `state` and on `adjoint` = H state, in place, collecting dE / d angle on the way."""
    for e in range(len(angles) - 1, -1, -1):
        cosine = np.cos(angles[e])
        sine = np.sin(angles[e])
        slope = 0.0
        for m in range(first[e], first[e + 1]):
            i = lower[m]
            j = upper[m]
            s = sign[m] * sine
            a = state[i]
            b = state[j]
            x = adjoint[i]
            y = adjoint[j]
            slope += sign[m] * (x * b - y * a)
            state[i] = cosine * a - s * b
            state[j] = cosine * b + s * a
            adjoint[i] = cosine * x - s * y
            adjoint[j] = cosine * y + s * x
        gradient[e] = 2.0 * slope
