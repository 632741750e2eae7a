"""Molecules: what one is, reading them from files, the shipped catalogue, and the partition key.

A molecule is checked when it is made, so everything behind this module can trust it. Nothing here imports a
quantum chemistry package: the ingest asks for partition keys of other people's records.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from simulation.elements import ATOMIC_NUMBERS
from simulation.record import MoleculeData
from simulation.validation import reasons

if TYPE_CHECKING:
    from numpy.typing import NDArray

BOHR_IN_ANGSTROM = 0.52917721092
"""CODATA 2010, the value PySCF converts with, so that both units give the same integrals."""

MIN_DISTANCE_ANGSTROM = 0.1
"""Two nuclei closer than this are a mistake in the input (the shortest bond known, H2, is 0.74)."""

SHIPPED_FILES = ("molecules.thesis.json", "molecules.json", "cpu.json", "gpu1.json", "gpu2.json")

_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
_UNITS = ("angstrom", "bohr")
_KEYS = (*MoleculeData.model_fields, "scan")
_NEAR_MISS = 0.8
"""Similarity from which a key is a misspelt one: `mass` is that near to `masses`, `coordinates` far from `coords`."""


class MoleculeError(ValueError):
    """A molecule or molecule file that cannot be what was meant; the message names the value."""


@dataclass(frozen=True, eq=False)
class Molecule:
    """A molecule at a fixed geometry.

    Args:
        symbols: Element symbols, one an atom.
        coords: Positions, shape `(len(symbols), 3)`, in `units`.
        charge: Total charge in elementary charges.
        multiplicity: Spin multiplicity 2S + 1.
        units: `angstrom` or `bohr`.
        masses: Atomic masses in unified atomic mass units, or None for the standard ones.
        name: A name of the user's own, or None.

    Raises:
        MoleculeError: an unknown element, positions that are not finite, not n x 3 or on top of each other, a charge
            that leaves no electron, a multiplicity that the number of electrons rules out, unknown units, or a name
            that cannot be part of a path.
    """

    symbols: tuple[str, ...]
    coords: NDArray[np.float64]
    charge: int = 0
    multiplicity: int = 1
    units: str = "angstrom"
    masses: tuple[float, ...] | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", tuple(self.symbols))
        if self.masses is not None:
            object.__setattr__(self, "masses", tuple(float(mass) for mass in self.masses))
        self._check_labels()
        object.__setattr__(self, "coords", _positions(self.coords, len(self.symbols)))
        _check_spin(self.symbols, self.num_electrons, self.charge, self.multiplicity)
        self._check_distances()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Molecule):
            return NotImplemented
        return self.to_record() == other.to_record()

    __hash__ = None  # type: ignore[assignment]  # it holds an array; its identity is identity.experiment_id

    @property
    def coords_angstrom(self) -> NDArray[np.float64]:
        """Positions in angstrom, shape `(n, 3)`."""
        return self.coords * BOHR_IN_ANGSTROM if self.units == "bohr" else self.coords

    @property
    def num_electrons(self) -> int:
        """Number of electrons."""
        return _electrons(self.symbols, self.charge)

    @classmethod
    def from_mapping(cls, entry: Mapping[str, Any]) -> Molecule:
        """The molecule that one object of a molecule file describes; keys it does not know are ignored.

        Raises:
            MoleculeError: `symbols` or `coords` is missing, a key looks like a misspelt one, or a value is impossible.
        """
        _check_keys(entry)
        missing = [key for key in ("symbols", "coords") if key not in entry]
        if missing:
            raise MoleculeError(
                f"the molecule with the keys {sorted(entry)} has no {' and no '.join(missing)}: give symbols and coords"
            )
        try:
            return cls.from_record(
                MoleculeData(
                    symbols=list(entry["symbols"]),
                    coords=_floats(entry["coords"]),
                    charge=entry.get("charge", 0),
                    multiplicity=entry.get("multiplicity", 1),
                    units=entry.get("units", "angstrom"),
                    masses=None if entry.get("masses") is None else _floats(entry["masses"]),
                    name=entry.get("name"),
                )
            )
        except ValidationError as error:
            raise MoleculeError(f"the molecule {entry.get('name') or entry['symbols']!r}: {reasons(error)}") from error
        except TypeError as error:
            raise MoleculeError(f"the molecule {entry.get('name') or entry['symbols']!r}: {error}") from error

    @classmethod
    def from_record(cls, data: MoleculeData) -> Molecule:
        """The molecule of a record."""
        return cls(
            symbols=tuple(data.symbols),
            coords=np.array(data.coords, dtype=np.float64),
            charge=data.charge,
            multiplicity=data.multiplicity,
            units=data.units,
            masses=None if data.masses is None else tuple(data.masses),
            name=data.name,
        )

    def to_record(self) -> MoleculeData:
        """The molecule as it is stored, in the units it was given in."""
        return MoleculeData(
            symbols=list(self.symbols),
            coords=self.coords.tolist(),
            multiplicity=self.multiplicity,
            charge=self.charge,
            units=self.units,
            masses=None if self.masses is None else list(self.masses),
            name=self.name,
        )

    def _check_labels(self) -> None:
        if not self.symbols:
            raise MoleculeError("a molecule without atoms: give at least one symbol")
        unknown = [symbol for symbol in self.symbols if symbol not in ATOMIC_NUMBERS]
        if unknown:
            raise MoleculeError(f"unknown element {unknown[0]!r} in {self.symbols}: expected symbols like 'H' or 'Li'")
        if self.units not in _UNITS:
            raise MoleculeError(f"units is {self.units!r}, expected one of {_UNITS}")
        if self.masses is not None and len(self.masses) != len(self.symbols):
            raise MoleculeError(f"{len(self.masses)} masses for {len(self.symbols)} atoms: give one an atom or none")
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise MoleculeError(f"name is {self.name!r}, expected 1 to 64 of the characters A-Z a-z 0-9 _ . + -")

    def _check_distances(self) -> None:
        coords = self.coords_angstrom
        for i in range(1, len(coords)):
            distances = np.linalg.norm(coords[:i] - coords[i], axis=1)
            nearest = int(distances.argmin())
            if distances[nearest] < MIN_DISTANCE_ANGSTROM:
                raise MoleculeError(
                    f"atoms {nearest} ({self.symbols[nearest]}) and {i} ({self.symbols[i]}) are "
                    f"{distances[nearest]:.4g} angstrom apart, expected at least {MIN_DISTANCE_ANGSTROM}: "
                    f"check the coordinates and the units ({self.units})"
                )


def load_molecules(path: str | Path) -> list[Molecule]:
    """The molecules of a JSON file: an array of objects with `symbols` and `coords`.

    Optional keys are `charge` (0), `multiplicity` (1), `units` ('angstrom'), `masses` and `name`; others are ignored,
    unless they look like one of these misspelt.

    Raises:
        FileNotFoundError: there is no such file.
        MoleculeError: the text is not a JSON array of objects, or a molecule in it is impossible; names its index.
    """
    return _parse(Path(path).read_text(encoding="utf-8"), str(path))


def shipped_molecules(file_name: str) -> list[Molecule]:
    """The molecules of one of the files that come with qpipe (`SHIPPED_FILES`).

    Raises:
        MoleculeError: no shipped file has this name.
    """
    if file_name not in SHIPPED_FILES:
        raise MoleculeError(f"no shipped molecule file is called {file_name!r}, expected one of {SHIPPED_FILES}")
    return _parse((resources.files("simulation") / "data" / file_name).read_text(encoding="utf-8"), file_name)


def select_molecule(molecules: Sequence[Molecule], index: int) -> Molecule:
    """The molecule at a 0-based index.

    Raises:
        MoleculeError: the index is negative or past the end.
    """
    if not 0 <= index < len(molecules):
        raise MoleculeError(f"molecule index is {index}, expected 0 to {len(molecules) - 1}")
    return molecules[index]


def catalogue() -> dict[str, Molecule]:
    """The shipped molecules by partition key; where two have the same composition the thesis geometry wins."""
    return dict(_catalogue())


def partition_key(molecule: Molecule) -> str:
    """The name under which a molecule is stored; see `partition_key_of`."""
    return partition_key_of(molecule.symbols, molecule.charge, molecule.multiplicity)


def partition_key_of(symbols: Sequence[str], charge: int = 0, multiplicity: int = 1) -> str:
    """The catalogue's name for a composition, charge and multiplicity, else a Hill formula.

    The Hill formula lists C, then H, then the rest alphabetically (all alphabetically without C), followed by the
    charge (`+`, `2-`) and by `_m<multiplicity>` where the multiplicity is not the lowest possible one.

    Raises:
        MoleculeError: an unknown element; the key would not be safe as a part of a path.
    """
    composition = _composition(symbols)
    known = _names().get((composition, charge, multiplicity))
    if known is not None:
        return known
    unknown = [symbol for symbol, _ in composition if symbol not in ATOMIC_NUMBERS]
    if unknown or not composition:
        raise MoleculeError(f"unknown element {unknown[:1]} in {list(symbols)}: expected symbols like 'H' or 'Li'")
    formula = "".join(symbol + (str(count) if count > 1 else "") for symbol, count in _hill_order(composition))
    lowest = 1 + _electrons(symbols, charge) % 2
    return formula + _charge_suffix(charge) + ("" if multiplicity == lowest else f"_m{multiplicity}")


@functools.cache
def _catalogue() -> dict[str, Molecule]:
    # The thesis file is read first and names its molecules; the unnamed ones that repeat a composition fall away.
    names: dict[tuple[Any, int, int], str] = {}
    entries: dict[str, Molecule] = {}
    for molecule in shipped_molecules("molecules.thesis.json") + shipped_molecules("molecules.json"):
        identity = (_composition(molecule.symbols), molecule.charge, molecule.multiplicity)
        if identity not in names:
            names[identity] = molecule.name or "".join(
                symbol + (str(count) if count > 1 else "") for symbol, count in _hill_order(identity[0])
            )
            entries[names[identity]] = molecule
    return entries


@functools.cache
def _names() -> dict[tuple[tuple[tuple[str, int], ...], int, int], str]:
    return {(_composition(m.symbols), m.charge, m.multiplicity): name for name, m in _catalogue().items()}


def _composition(symbols: Sequence[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter(symbols).items()))


def _hill_order(composition: tuple[tuple[str, int], ...]) -> list[tuple[str, int]]:
    if any(symbol == "C" for symbol, _ in composition):
        return sorted(composition, key=lambda item: (item[0] != "C", item[0] != "H", item[0]))
    return list(composition)


def _charge_suffix(charge: int) -> str:
    if charge == 0:
        return ""
    return ("" if abs(charge) == 1 else str(abs(charge))) + ("+" if charge > 0 else "-")


def _electrons(symbols: Sequence[str], charge: int) -> int:
    return sum(ATOMIC_NUMBERS[symbol] for symbol in symbols) - charge


def _check_keys(entry: Mapping[str, Any]) -> None:
    # Overlooked, a misspelt charge or unit makes another molecule.
    for key in entry:
        meant = [] if key in _KEYS else difflib.get_close_matches(str(key).lower(), _KEYS, n=1, cutoff=_NEAR_MISS)
        if meant:
            raise MoleculeError(f"unknown key {key!r}, probably {meant[0]!r} is meant: correct it or leave it out")


def _check_spin(symbols: tuple[str, ...], electrons: int, charge: int, multiplicity: int) -> None:
    if electrons < 1:
        raise MoleculeError(f"charge {charge} leaves {electrons} electrons in {symbols}, expected at least 1")
    unpaired = multiplicity - 1
    if unpaired < 0 or unpaired > electrons or (electrons - unpaired) % 2:
        possible = "1, 3, 5, ..." if electrons % 2 == 0 else "2, 4, 6, ..."
        raise MoleculeError(
            f"multiplicity {multiplicity} is impossible with {electrons} electrons "
            f"({''.join(symbols)}, charge {charge}): expected one of {possible}"
        )


def _positions(coords: Any, atoms: int) -> NDArray[np.float64]:
    try:
        array = np.array(coords, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise MoleculeError(f"coords {coords!r} are not numbers in the form {atoms} x 3") from error
    if array.shape != (atoms, 3):
        raise MoleculeError(f"coords have the shape {array.shape}, expected ({atoms}, 3): one position an atom")
    if not np.isfinite(array).all():
        raise MoleculeError(f"coords {array.tolist()} hold a value that is not finite")
    array.setflags(write=False)
    return array


def _floats(values: Any) -> Any:
    """JSON numbers without a decimal point are numbers too; the record's types are strict."""
    if isinstance(values, list | tuple):
        return [_floats(value) for value in values]
    return float(values) if isinstance(values, int) and not isinstance(values, bool) else values


def _parse(text: str, source: str) -> list[Molecule]:
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise MoleculeError(f"{source} is not JSON: {error}") from error
    if not isinstance(entries, list):
        raise MoleculeError(f"{source} holds a JSON {type(entries).__name__}, expected an array of molecules")
    molecules = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise MoleculeError(f"{source}, entry {index}: {entry!r} is not an object with symbols and coords")
        try:
            molecules.append(Molecule.from_mapping(entry))
        except MoleculeError as error:
            raise MoleculeError(f"{source}, entry {index}: {error}") from error
    return molecules
