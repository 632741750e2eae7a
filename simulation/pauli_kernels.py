"""Compiled kernels for sums of Pauli strings: rows of the sparse matrix, and its product with a vector.

A string is i^(number of Y) X^x Z^z in bit masks. A molecular Hamiltonian is real, so every string has an even number
of Y and the factor is a sign that the caller has multiplied into the coefficient. Terms come grouped by x: group g is
`x[g]` with the terms `first[g]` to `first[g + 1] - 1`. Plain twins are in tests/_slow. Nothing here is threaded and
no sum is reordered, so results are the same bytes on every run.
"""

from __future__ import annotations

import numba

_NEGLIGIBLE = 1e-14


@numba.njit("float64(int64, int64[::1], float64[::1], int64, int64)", cache=True, inline="always")
def _element(word, z, coefficients, start, stop):
    value = 0.0
    for term in range(start, stop):
        bits = word & z[term]
        bits ^= bits >> 32
        bits ^= bits >> 16
        bits ^= bits >> 8
        bits ^= bits >> 4
        odd = (0x6996 >> (bits & 15)) & 1
        value += coefficients[term] * (1 - 2 * odd)
    return value


@numba.njit(
    "int64(int64[::1], int64[::1], int64[::1], int64[::1], float64[::1], int32[::1], int32[::1], int64, int64,"
    " int64[::1], int32[::1], float64[::1])",
    cache=True,
)
def fill_rows(
    words, x, first, z, coefficients, alpha_rank, beta_rank, num_orbitals, num_alpha, row_ends, columns, values
):
    """Write the matrix rows of `words` into `columns` and `values`; returns how many elements were written.

    `row_ends[r]` is where row r ends. The buffers must hold `len(words) * len(x)` elements.
    """
    mask = (1 << num_orbitals) - 1
    written = 0
    for row in range(len(words)):
        for group in range(len(x)):
            target = words[row] ^ x[group]
            alpha = alpha_rank[target & mask]
            beta = beta_rank[target >> num_orbitals]
            if alpha < 0 or beta < 0:
                continue
            value = _element(target, z, coefficients, first[group], first[group + 1])
            if abs(value) > _NEGLIGIBLE:
                columns[written] = alpha + num_alpha * beta
                values[written] = value
                written += 1
        row_ends[row] = written
    return written


@numba.njit("void(complex128[::1], int64[::1], int64[::1], int64[::1], float64[::1], complex128[::1])", cache=True)
def apply_terms(state, x, first, z, coefficients, result):
    """Write H state into `result`, on the whole space, without a matrix."""
    for row in range(len(state)):
        total = 0.0 + 0.0j
        for group in range(len(x)):
            column = row ^ x[group]
            amplitude = state[column]
            if amplitude != 0:
                total += amplitude * _element(column, z, coefficients, first[group], first[group + 1])
        result[row] = total


@numba.njit(
    "void(int64[::1], uint32[::1], float64[::1], complex128[::1], complex128[::1])", cache=True, fastmath={"contract"}
)
def multiply(ends, columns, values, state, result):
    """Write the real sparse matrix times `state` into `result`; row r is `ends[r]` to `ends[r + 1]` - 1."""
    for row in range(len(result)):
        real = 0.0
        imaginary = 0.0
        for k in range(numba.uint64(ends[row]), numba.uint64(ends[row + 1])):
            amplitude = state[columns[k]]
            real += values[k] * amplitude.real
            imaginary += values[k] * amplitude.imag
        result[row] = complex(real, imaginary)
