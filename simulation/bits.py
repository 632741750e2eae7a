"""Bit arithmetic on arrays of occupation numbers and Pauli masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def signs(words: NDArray[np.int64]) -> NDArray[np.float64]:
    """(-1) to the number of set bits of each word."""
    return np.where(np.bitwise_count(words) & 1, -1.0, 1.0)


def bit(positions: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """2 to the power of each position, as 64-bit integers."""
    return np.left_shift(np.int64(1), np.asarray(positions, dtype=np.int64))
