"""Compiled kernel of the Aer engine: the reverse pass over a circuit's gates that yields the whole gradient.

Gates come as arrays: `kind` as in `KINDS`, qubits `a` and `b` (control first), and the angle of each; a rotation is
exp(-i angle P / 2) with the Pauli operator P. The plain twin is in tests/_slow. No threads, and the order of every sum
is fixed when the kernel is compiled: the same bytes on every run.
"""

from __future__ import annotations

import numba
import numpy as np

KINDS = {"x": 0, "cx": 1, "cz": 2, "rx": 3, "ry": 4, "rz": 5}

_X, _CX, _CZ, _RX, _RY = 0, 1, 2, 3, 4
_LONG_ROW = 32
"""Amplitudes in a row from which a call is worth the vector instructions that a loop over rows compiles to."""

_REORDERED = {"contract", "reassoc"}
"""Lets sums be taken in as many parts as a vector has lanes."""

_ONE = np.uint64(1)
_TURN = "float64(complex128[::1], complex128[::1], int64, float64, float64)"
_TURN_ROWS = "float64(complex128[::1], complex128[::1], complex128[::1], complex128[::1], float64, float64)"
_SWAP = "void(complex128[::1], complex128[::1], int64, int64)"


@numba.njit("uint64(uint64, int64)", cache=True)
def _spread(index, qubit):
    """The index with a zero bit put in at the qubit."""
    low = (_ONE << np.uint64(qubit)) - _ONE
    return ((index & ~low) << _ONE) | (index & low)


@numba.njit(_TURN_ROWS, cache=True, fastmath=_REORDERED)
def _undo_rx_rows(u, v, x, y, cosine, sine):
    slope = 0.0
    for k in range(len(u)):
        p, q, r, t = u[k], v[k], x[k], y[k]
        slope += (r.real * q.imag - r.imag * q.real) + (t.real * p.imag - t.imag * p.real)
        u[k] = complex(cosine * p.real - sine * q.imag, cosine * p.imag + sine * q.real)
        v[k] = complex(cosine * q.real - sine * p.imag, cosine * q.imag + sine * p.real)
        x[k] = complex(cosine * r.real - sine * t.imag, cosine * r.imag + sine * t.real)
        y[k] = complex(cosine * t.real - sine * r.imag, cosine * t.imag + sine * r.real)
    return slope


@numba.njit(_TURN_ROWS, cache=True, fastmath=_REORDERED)
def _undo_ry_rows(u, v, x, y, cosine, sine):
    slope = 0.0
    for k in range(len(u)):
        p, q, r, t = u[k], v[k], x[k], y[k]
        slope += (t.real * p.real + t.imag * p.imag) - (r.real * q.real + r.imag * q.imag)
        u[k] = complex(cosine * p.real + sine * q.real, cosine * p.imag + sine * q.imag)
        v[k] = complex(cosine * q.real - sine * p.real, cosine * q.imag - sine * p.imag)
        x[k] = complex(cosine * r.real + sine * t.real, cosine * r.imag + sine * t.imag)
        y[k] = complex(cosine * t.real - sine * r.real, cosine * t.imag - sine * r.imag)
    return slope


@numba.njit(_TURN, cache=True, fastmath=_REORDERED)
def _undo_rx(state, adjoint, qubit, cosine, sine):
    step = 1 << qubit
    slope = 0.0
    if step >= _LONG_ROW:
        for low in range(0, len(state), 2 * step):
            high, end = low + step, low + 2 * step
            slope += _undo_rx_rows(state[low:high], state[high:end], adjoint[low:high], adjoint[high:end], cosine, sine)
        return slope
    for index in range(np.uint64(len(state) >> 1)):
        k = _spread(index, qubit)
        m = k | np.uint64(step)
        p, q, r, t = state[k], state[m], adjoint[k], adjoint[m]
        slope += (r.real * q.imag - r.imag * q.real) + (t.real * p.imag - t.imag * p.real)
        state[k] = complex(cosine * p.real - sine * q.imag, cosine * p.imag + sine * q.real)
        state[m] = complex(cosine * q.real - sine * p.imag, cosine * q.imag + sine * p.real)
        adjoint[k] = complex(cosine * r.real - sine * t.imag, cosine * r.imag + sine * t.real)
        adjoint[m] = complex(cosine * t.real - sine * r.imag, cosine * t.imag + sine * r.real)
    return slope


@numba.njit(_TURN, cache=True, fastmath=_REORDERED)
def _undo_ry(state, adjoint, qubit, cosine, sine):
    step = 1 << qubit
    slope = 0.0
    if step >= _LONG_ROW:
        for low in range(0, len(state), 2 * step):
            high, end = low + step, low + 2 * step
            slope += _undo_ry_rows(state[low:high], state[high:end], adjoint[low:high], adjoint[high:end], cosine, sine)
        return slope
    for index in range(np.uint64(len(state) >> 1)):
        k = _spread(index, qubit)
        m = k | np.uint64(step)
        p, q, r, t = state[k], state[m], adjoint[k], adjoint[m]
        slope += (t.real * p.real + t.imag * p.imag) - (r.real * q.real + r.imag * q.imag)
        state[k] = complex(cosine * p.real + sine * q.real, cosine * p.imag + sine * q.imag)
        state[m] = complex(cosine * q.real - sine * p.real, cosine * q.imag - sine * p.imag)
        adjoint[k] = complex(cosine * r.real + sine * t.real, cosine * r.imag + sine * t.imag)
        adjoint[m] = complex(cosine * t.real - sine * r.real, cosine * t.imag - sine * r.imag)
    return slope


@numba.njit(_TURN, cache=True, fastmath=_REORDERED)
def _undo_rz(state, adjoint, qubit, cosine, sine):
    slope = 0.0
    for k in range(np.uint64(len(state))):
        sign = 1.0 - 2.0 * ((k >> np.uint64(qubit)) & _ONE)
        turn = sign * sine
        p, r = state[k], adjoint[k]
        slope += sign * (r.real * p.imag - r.imag * p.real)
        state[k] = complex(cosine * p.real - turn * p.imag, cosine * p.imag + turn * p.real)
        adjoint[k] = complex(cosine * r.real - turn * r.imag, cosine * r.imag + turn * r.real)
    return slope


@numba.njit("void(complex128[::1], complex128[::1], int64)", cache=True)
def _undo_x(state, adjoint, qubit):
    for index in range(np.uint64(len(state) >> 1)):
        k = _spread(index, qubit)
        m = k | (_ONE << np.uint64(qubit))
        state[k], state[m] = state[m], state[k]
        adjoint[k], adjoint[m] = adjoint[m], adjoint[k]


@numba.njit(_SWAP, cache=True)
def _undo_cx(state, adjoint, control, target):
    for index in range(np.uint64(len(state) >> 2)):
        k = _spread(_spread(index, min(control, target)), max(control, target)) | (_ONE << np.uint64(control))
        m = k | (_ONE << np.uint64(target))
        state[k], state[m] = state[m], state[k]
        adjoint[k], adjoint[m] = adjoint[m], adjoint[k]


@numba.njit(_SWAP, cache=True)
def _undo_cz(state, adjoint, control, target):
    both = (_ONE << np.uint64(control)) | (_ONE << np.uint64(target))
    for index in range(np.uint64(len(state) >> 2)):
        k = _spread(_spread(index, min(control, target)), max(control, target)) | both
        state[k] = -state[k]
        adjoint[k] = -adjoint[k]


@numba.njit(
    "void(complex128[::1], complex128[::1], int64[::1], int64[::1], int64[::1], float64[::1], float64[::1])",
    cache=True,
)
def reverse(state, adjoint, kind, a, b, angles, slopes):
    """Undo the gates on `state` and on `adjoint` = H state, in place; `slopes[g]` becomes dE / d angle of gate g.

    The slope is Im <adjoint| P |state>, taken before the gate is undone or after, for P commutes with the gate.
    """
    for g in range(len(kind) - 1, -1, -1):
        if kind[g] == _X:
            _undo_x(state, adjoint, a[g])
        elif kind[g] == _CX:
            _undo_cx(state, adjoint, a[g], b[g])
        elif kind[g] == _CZ:
            _undo_cz(state, adjoint, a[g], b[g])
        else:
            cosine = np.cos(angles[g] / 2)
            sine = np.sin(angles[g] / 2)
            if kind[g] == _RX:
                slopes[g] = _undo_rx(state, adjoint, a[g], cosine, sine)
            elif kind[g] == _RY:
                slopes[g] = _undo_ry(state, adjoint, a[g], cosine, sine)
            else:
                slopes[g] = _undo_rz(state, adjoint, a[g], cosine, sine)


@numba.njit("float64(complex128[::1], complex128[::1])", cache=True)
def real_dot(left, right):
    """Re <left|right>, summed strictly in order."""
    total = 0.0
    for k in range(len(left)):
        total += left[k].real * right[k].real + left[k].imag * right[k].imag
    return total
