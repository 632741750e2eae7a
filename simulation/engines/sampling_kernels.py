"""Compiled kernels of sampled energies: the turn into a measurement basis, and the value of each outcome.

Plain twins are in tests/_slow. No threads, no reordered sums: the same bytes on every run.
"""

from __future__ import annotations

import numba
import numpy as np

_HALF = np.sqrt(0.5)


@numba.njit("void(complex128[::1], int64, int64)", cache=True)
def turn_to_basis(state, x, z):
    """Turn `state`, in place, so that measuring its bits measures X where only `x` has a bit, and Y where both do."""
    qubit = 0
    while x >> qubit:
        if (x >> qubit) & 1:
            step = 1 << qubit
            is_y = (z >> qubit) & 1
            for high in range(0, len(state), 2 * step):
                for k in range(high, high + step):
                    u = state[k]
                    v = state[k + step]
                    if is_y:  # S^dagger before the Hadamard gate
                        v = complex(v.imag, -v.real)
                    state[k] = _HALF * (u + v)
                    state[k + step] = _HALF * (u - v)
        qubit += 1


@numba.njit("void(int64[::1], int64[::1], float64[::1], float64[::1])", cache=True)
def outcome_values(outcomes, supports, coefficients, values):
    """`values[k]` becomes sum_t coefficients[t] (-1)^(number of ones of outcome k in support t)."""
    for k in range(len(outcomes)):
        total = 0.0
        for t in range(len(supports)):
            bits = outcomes[k] & supports[t]
            bits ^= bits >> 32
            bits ^= bits >> 16
            bits ^= bits >> 8
            bits ^= bits >> 4
            total += coefficients[t] * (1 - 2 * ((0x6996 >> (bits & 15)) & 1))
        values[k] = total
