"""Internal coordinates of a molecule: measuring a bond or an angle, and moving one side of it rigidly.

A coordinate is the indices of its atoms: two of a bond (angstrom), three of an angle (degree) with the vertex in the
middle. The last atom moves, with everything on its side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulation.bonds import bonds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.molecules import Molecule

_STRAIGHT_DEGREES = 1e-3
_DECIMALS = 10


class ScanError(ValueError):
    """A scan that this molecule or these options do not allow; nothing was computed."""


def measured(molecule: Molecule, atoms: list[int]) -> float:
    """The value of the coordinate in a geometry (angstrom or degree)."""
    where = molecule.coords_angstrom[atoms]
    if len(atoms) == 2:
        return float(np.linalg.norm(where[1] - where[0]))
    return _angle(where[0] - where[1], where[2] - where[1])


def displaced(molecule: Molecule, atoms: list[int], moving: list[int], value: float) -> NDArray[np.float64]:
    """Positions (angstrom) with the coordinate at `value`, shape `(n, 3)`; only the atoms `moving` move, rigidly."""
    move = _stretched if len(atoms) == 2 else _bent
    return move(molecule.coords_angstrom.copy(), atoms, moving, value)


def far_side(molecule: Molecule, atoms: list[int]) -> list[int]:
    """The last atom and what hangs on it once its bond to the neighbour in the coordinate is cut.

    Raises:
        ScanError: the rest of the coordinate hangs on it too.
    """
    neighbour, last = atoms[-2], atoms[-1]
    bonded = np.zeros((len(molecule.symbols),) * 2, dtype=bool)
    for pair in bonds(molecule.symbols, molecule.coords_angstrom):
        bonded[pair] = bonded[pair[::-1]] = set(pair) != {neighbour, last}
    reached, waiting = {last}, [last]
    while waiting:
        found = set(np.flatnonzero(bonded[waiting.pop()]).tolist()) - reached
        reached |= found
        waiting += found
    resting = reached & set(atoms[:-1])
    if resting:
        raise ScanError(
            f"atom {last} ({molecule.symbols[last]}) is joined to atom {min(resting)} "
            f"({molecule.symbols[min(resting)]}) by another way, through a ring or because {neighbour} and {last} are "
            "not bonded: choose a bond whose cut divides the molecule"
        )
    return sorted(reached)


def _stretched(
    coords: NDArray[np.float64], atoms: list[int], moving: list[int], distance: float
) -> NDArray[np.float64]:
    """Both sides of a bond, `distance` (angstrom) apart along its present direction."""
    bond = coords[atoms[1]] - coords[atoms[0]]
    length = np.linalg.norm(bond)
    coords[moving] += bond / length * (distance - length)
    return coords


def _bent(coords: NDArray[np.float64], atoms: list[int], moving: list[int], degrees: float) -> NDArray[np.float64]:
    """The far side turned about the vertex, in the plane of the three atoms, until the angle is `degrees`."""
    vertex = coords[atoms[1]].copy()
    near, far = coords[atoms[0]] - vertex, coords[atoms[2]] - vertex
    turn = np.radians(degrees - _angle(near, far))
    normal = _normal(near, far)
    arms = coords[moving] - vertex
    # Rodrigues' formula.
    turned = np.cos(turn) * arms + np.sin(turn) * np.cross(normal, arms)
    turned += (1 - np.cos(turn)) * np.outer(arms @ normal, normal)
    coords[moving] = vertex + turned
    return coords


def _angle(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    # By the tangent: the cosine loses all digits near a straight line.
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(one, other)), one @ other)))


def _normal(near: NDArray[np.float64], far: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit normal of the plane of two arms; of a straight pair the perpendicular nearest to a coordinate axis."""
    normal = np.cross(near, far)
    angle = _angle(near, far)
    if min(angle, 180 - angle) < _STRAIGHT_DEGREES:
        along = near / np.linalg.norm(near)
        axis = np.eye(3)[int(np.argmin(np.round(np.abs(along), _DECIMALS)))]
        normal = axis - (axis @ along) * along
    return normal / np.linalg.norm(normal)
