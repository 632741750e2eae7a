"""Which molecules a command is about: names of the catalogue, or a molecule file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulation.molecules import Molecule, MoleculeError, catalogue, load_molecules, partition_key, select_molecule

MoleculeNames = Annotated[list[str] | None, typer.Option("-m", "--molecule", help="Name in the catalogue.")]
MoleculeFile = Annotated[Path | None, typer.Option("-f", "--file", help="Molecule file (JSON array).")]
MoleculeIndex = Annotated[int | None, typer.Option("--molecule-index", help="Only this molecule of the file, from 0.")]


def choose_molecules(names: list[str] | None, file: Path | None, index: int | None) -> list[Molecule]:
    """The molecules that were named, each once, or those of the file.

    Raises:
        MoleculeError: neither or both were given, a name is unknown, or the index is out of range.
    """
    if (file is None) == (not names):
        raise MoleculeError("give molecules by name (-m LiH) or a molecule file (-f molecules.json), one of the two")
    if file is not None:
        found = load_molecules(file)
        return found if index is None else [select_molecule(found, index)]
    if index is not None:
        raise MoleculeError(f"--molecule-index {index} goes with a molecule file (-f)")
    return [_known(name) for name in dict.fromkeys(names or [])]


def called(molecule: Molecule) -> str:
    """What the user calls a molecule: its own name, else its partition key."""
    return molecule.name or partition_key(molecule)


def _known(name: str) -> Molecule:
    known = catalogue()
    if name not in known:
        raise MoleculeError(f"no molecule {name!r} in the catalogue: expected one of {', '.join(known)}")
    return known[name]
