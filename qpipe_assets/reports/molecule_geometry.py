"""A molecule as balls and sticks: colours of the elements, and the view it is shown from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulation.bonds import bonds, covalent_radius
from simulation.molecules import BOHR_IN_ANGSTROM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.record import MoleculeData

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
