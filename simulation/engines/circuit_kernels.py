"""Compiled kernel of the Aer engine: the reverse pass over a circuit's gates that yields the whole gradient.

Gates come as arrays: `kind` as in `KINDS`, qubits `a` and `b` (control first), and the angle of each. The plain twin is
in tests/_slow. No threads, no reordered sums: the same bytes on every run.
"""

from __future__ import annotations

import numba
import numpy as np

KINDS = {"x": 0, "cx": 1, "cz": 2, "rx": 3, "ry": 4, "rz": 5}

_RX, _RY = 3, 4
_CX, _CZ = 1, 2


@numba.njit("void(complex128[::1], int64, int64, int64, float64)", cache=True)
def apply_gate(state, kind, a, b, angle):
    """Apply one gate to `state`, in place; rotations are exp(-i angle P / 2)."""
    cosine = np.cos(angle / 2)
    sine = np.sin(angle / 2)
    phase = complex(cosine, -sine)
    step = 1 << a
    for high in range(0, len(state), 2 * step):
        for k in range(high, high + step):
            m = k + step
            u = state[k]
            v = state[m]
            if kind == _RY:
                state[k] = cosine * u - sine * v
                state[m] = sine * u + cosine * v
            elif kind == _RX:
                state[k] = cosine * u - 1j * sine * v
                state[m] = cosine * v - 1j * sine * u
            elif kind > _RY:
                state[k] = phase * u
                state[m] = phase.conjugate() * v
            elif kind == _CX:
                if (k >> b) & 1 == 0:  # both halves of the target's pair, once
                    other = m | (1 << b)
                    state[m] = state[other]
                    state[other] = v
            elif kind == _CZ:
                if (k >> b) & 1:
                    state[m] = -v
            else:
                state[k] = v
                state[m] = u


@numba.njit("float64(complex128[::1], complex128[::1], int64, int64)", cache=True)
def overlap_slope(adjoint, state, kind, a):
    """Im <adjoint| P |state> with the Pauli operator P of a rotation's kind: dE / d angle."""
    total = 0.0
    step = 1 << a
    for high in range(0, len(state), 2 * step):
        for k in range(high, high + step):
            u = state[k]
            v = state[k + step]
            left = adjoint[k].conjugate()
            right = adjoint[k + step].conjugate()
            if kind == _RY:
                total += (left * v).real * -1.0 + (right * u).real
            elif kind == _RX:
                total += (left * v + right * u).imag
            else:
                total += (left * u - right * v).imag
    return total


@numba.njit(
    "void(complex128[::1], complex128[::1], int64[::1], int64[::1], int64[::1], float64[::1], float64[::1])",
    cache=True,
)
def reverse(state, adjoint, kind, a, b, angles, slopes):
    """Undo the gates on `state` and on `adjoint` = H state, in place; `slopes[g]` becomes dE / d angle of gate g."""
    for g in range(len(kind) - 1, -1, -1):
        if kind[g] >= _RX:
            slopes[g] = overlap_slope(adjoint, state, kind[g], a[g])
        apply_gate(state, kind[g], a[g], b[g], -angles[g])
        apply_gate(adjoint, kind[g], a[g], b[g], -angles[g])


@numba.njit("float64(complex128[::1], complex128[::1])", cache=True)
def real_dot(left, right):
    """Re <left|right>, summed strictly in order."""
    total = 0.0
    for k in range(len(left)):
        total += left[k].real * right[k].real + left[k].imag * right[k].imag
    return total
