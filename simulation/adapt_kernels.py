"""Compiled kernel of ADAPT: the gradients of a whole pool of operators at once, without storing what they mix.

An excitation acts on alpha and beta strings independently, but for one sign: the determinants it mixes are the product
of the few pairs of alpha strings and the few pairs of beta strings that its two parts mix. The plain twin is in
tests/_slow. No threads, no reordered sums: the same bytes on every run.
"""

from __future__ import annotations

import numba

_STRINGS = "int32[::1], int32[::1], float64[::1], int64[::1]"
_EXCITATIONS = "int64[::1], int64[::1], float64[::1], int64[::1]"


@numba.njit(f"void(float64[::1], float64[::1], int64, {_STRINGS}, {_EXCITATIONS}, float64[::1])", cache=True)
def pool_slopes(state, image, num_alpha, excited, returned, sign, first, alpha, beta, factor, operator, slopes):
    """Add 2 <image| T - T^+ |state> of every excitation to the slope of its operator.

    Part p of an excitation takes string `excited[m]` to `returned[m]` with `sign[m]`, for m from `first[p]` to
    `first[p + 1] - 1`. Excitation e has the parts `alpha[e]` and `beta[e]`, and the sign `factor[e]` of both together.
    """
    for e in range(len(operator)):
        a, b = alpha[e], beta[e]
        slope = 0.0
        for m in range(first[b], first[b + 1]):
            upper = num_alpha * excited[m]
            lower = num_alpha * returned[m]
            partial = 0.0
            for k in range(first[a], first[a + 1]):
                i = upper + excited[k]
                j = lower + returned[k]
                partial += sign[k] * (image[j] * state[i] - image[i] * state[j])
            slope += sign[m] * partial
        slopes[operator[e]] += 2.0 * factor[e] * slope
