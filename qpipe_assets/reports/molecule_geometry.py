"""A molecule as balls and sticks: radii and colours of the elements, bonds, and the view it is shown from."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulation.elements import SYMBOLS
from simulation.molecules import BOHR_IN_ANGSTROM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.record import MoleculeData

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

ELEMENT_COLOURS: dict[str, str] = {
    "H": "#e8e8e8",
    "He": "#b8ecec",
    "Li": "#b377e0",
    "Be": "#a9d138",
    "B": "#f0a99f",
    "C": "#5b6068",
    "N": "#4a6cf0",
    "O": "#e8413a",
    "F": "#7fc95a",
    "Ne": "#9fd8ea",
    "Na": "#9a5ce8",
    "Mg": "#6fbf3c",
    "Al": "#b9a6a6",
    "Si": "#dcbf95",
    "P": "#f08a2c",
    "S": "#e8cf3a",
    "Cl": "#3fc23f",
    "Ar": "#74c6dc",
    "Br": "#a0392e",
    "I": "#8a2f9e",
}
OTHER_COLOUR = "#d977ab"

_BALL_SIZE = 0.42
_VIEW_DECIMALS = 6
_STICK_ANGSTROM = 0.085
_TILT_DEGREES = (-24.0, 14.0)
"""Turn about the vertical and then about the horizontal axis: seen exactly from the front nothing has depth."""


@dataclass(frozen=True)
class Ball:
    """One atom: position in the view (angstrom; x to the right, y up, z to the viewer), radius, colour, symbol."""

    x: float
    y: float
    z: float
    radius: float
    colour: str
    symbol: str


@dataclass(frozen=True)
class Scene:
    """What is drawn of a molecule; `bonds` are pairs of indices into `balls`."""

    balls: tuple[Ball, ...]
    bonds: tuple[tuple[int, int], ...]

    @property
    def reach(self) -> float:
        """Radius of the sphere around the origin that holds the molecule however it is turned (angstrom)."""
        return max(float(np.hypot(np.hypot(b.x, b.y), b.z)) + b.radius for b in self.balls)

    @property
    def stick(self) -> float:
        """Radius of the sticks (angstrom), thinner than every ball."""
        return min(_STICK_ANGSTROM, *(0.4 * ball.radius for ball in self.balls))


def scene(molecule: MoleculeData) -> Scene:
    """The molecule centred, its longest extent lying from left to right, seen from slightly aside and above."""
    positions = coords_angstrom(molecule)
    viewed = np.round(_viewed(positions), _VIEW_DECIMALS) + 0.0
    balls = tuple(
        Ball(
            x=position[0],
            y=position[1],
            z=position[2],
            radius=round(_BALL_SIZE * covalent_radius(symbol), 4),
            colour=ELEMENT_COLOURS.get(symbol, OTHER_COLOUR),
            symbol=symbol,
        )
        for symbol, position in zip(molecule.symbols, viewed.tolist(), strict=True)
    )
    return Scene(balls, tuple(bonds(molecule.symbols, positions)))


def coords_angstrom(molecule: MoleculeData) -> NDArray[np.float64]:
    """Positions in angstrom, shape `(n, 3)`."""
    positions = np.array(molecule.coords, dtype=np.float64)
    return positions * BOHR_IN_ANGSTROM if molecule.units == "bohr" else positions


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


def bond_lengths(molecule: MoleculeData) -> str:
    """The bonds by kind and length, for example `O-H 0.957 Å (2)`; empty for atoms without bonds."""
    positions = coords_angstrom(molecule)
    kinds = Counter(
        (f"{molecule.symbols[i]}-{molecule.symbols[j]}", f"{np.linalg.norm(positions[i] - positions[j]):.3f}")
        for i, j in bonds(molecule.symbols, positions)
    )
    return ", ".join(f"{pair} {length} Å" + (f" ({n})" if n > 1 else "") for (pair, length), n in kinds.items())


def _viewed(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = positions - positions.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=True)
    # The sign of a principal axis is arbitrary; fixed here, so that a molecule always looks the same.
    axes[:2] *= np.array([[1.0 if row[np.argmax(np.abs(row))] > 0 else -1.0] for row in axes[:2]])
    axes[2] = np.cross(axes[0], axes[1])
    around, over = np.radians(_TILT_DEGREES)
    turn = np.array([[np.cos(around), 0, np.sin(around)], [0, 1, 0], [-np.sin(around), 0, np.cos(around)]])
    nod = np.array([[1, 0, 0], [0, np.cos(over), -np.sin(over)], [0, np.sin(over), np.cos(over)]])
    return centred @ axes.T @ (nod @ turn).T
