"""Which atoms of a geometry are bonded: by their covalent radii and distances."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from simulation.elements import SYMBOLS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RADII_PICOMETRE = """
    31 28
    128 96 84 73 71 66 57 58
    166 141 121 111 107 105 102 106
    203 176 170 160 153 139 150 142 138 124 132 122 122 120 119 120 120 116
    220 195 190 175 164 154 147 146 142 139 145 144 142 139 139 138 139 140
    244 215 207 204 203 201 199 198 198 196 194 192 192 189 190 187 187
        175 170 162 151 144 141 136 136 132 145 146 148 140 150 150
    260 221 215 206 200 196 190 187 180 169
"""
COVALENT_RADII: dict[str, float] = {
    symbol: int(radius) / 100 for symbol, radius in zip(SYMBOLS, _RADII_PICOMETRE.split(), strict=False)
}
"""Single-bond covalent radii in angstrom, hydrogen to curium (Cordero et al., Dalton Trans. 2008, 2832)."""

_UNKNOWN_RADIUS = 1.5
_BOND_TOLERANCE_ANGSTROM = 0.45
"""Two atoms are bonded up to this much more than the sum of their radii, the field's usual allowance."""


def covalent_radius(symbol: str) -> float:
    """Covalent radius of an element in angstrom; a middling one where none is tabulated."""
    return COVALENT_RADII.get(symbol, _UNKNOWN_RADIUS)


def bonds(symbols: Sequence[str], positions: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs of atoms not further apart than their covalent radii and a tolerance (angstrom)."""
    return [
        (i, j)
        for i, j in itertools.combinations(range(len(symbols)), 2)
        if 0
        < np.linalg.norm(positions[i] - positions[j])
        <= covalent_radius(symbols[i]) + covalent_radius(symbols[j]) + _BOND_TOLERANCE_ANGSTROM
    ]
