"""`qpipe molecules`: the molecules there are, and new ones from a file made known to Dagster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from qpipe_cli.data import FormatOption, fail
from qpipe_cli.home import prepare_home
from qpipe_cli.output import Format, print_rows
from simulation.molecules import MoleculeError, catalogue, load_molecules, partition_key


def molecules(
    file: Annotated[
        Path | None, typer.Option("-f", "--file", help="Molecule file whose molecules become partitions.")
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """The catalogue, or the molecules of a file, which become partitions of the assets."""
    if file is None:
        found = list(catalogue().items())
    else:
        try:
            found = [(partition_key(molecule), molecule) for molecule in load_molecules(file)]
        except (MoleculeError, FileNotFoundError) as error:
            fail(str(error))
        _make_partitions(file)
    rows = [
        {
            "molecule": key,
            "atoms": len(molecule.symbols),
            "electrons": molecule.num_electrons,
            "charge": molecule.charge,
            "multiplicity": molecule.multiplicity,
        }
        for key, molecule in found
    ]
    print_rows(rows, form)


def _make_partitions(file: Path) -> None:
    settings = prepare_home()
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    from dagster import DagsterInstance

    from qpipe_assets.partitions import add_molecule_file

    with DagsterInstance.get() as instance:
        add_molecule_file(instance, file)
