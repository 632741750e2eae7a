import json
from pathlib import Path

import numpy as np
import pytest

from simulation.mapping import JordanWignerMapper
from simulation.molecules import Molecule, catalogue
from simulation.problem import build_problem
from simulation.runner import VQERunner

REFERENCE = json.loads((Path(__file__).parent / "reference_energies.json").read_text())
"""RHF, FCI and CASCI energies; the file names its source."""


def reference_record(name: str, basis: str = "sto3g") -> dict:
    return next(
        record
        for record in REFERENCE["records"]
        if (record["name"], record["basis"], record["source_file"]) == (name, basis, "molecules.thesis.json")
    )


def molecule_of(record: dict) -> Molecule:
    return Molecule(tuple(record["symbols"]), np.array(record["coords"]), record["charge"], record["multiplicity"])


@pytest.fixture(scope="session")
def problems():
    """Electronic problems of catalogue molecules, built once."""
    built = {}

    def get(name, **space):
        key = (name, *sorted(space.items()))
        if key not in built:
            problem = build_problem(catalogue()[name], **space)
            built[key] = (problem, JordanWignerMapper().map(problem))
        return built[key]

    return get


@pytest.fixture(scope="session")
def default_runs():
    """Records of catalogue molecules with all defaults, run once."""
    done = {}

    def get(name):
        if name not in done:
            done[name] = VQERunner(molecules=[catalogue()[name]]).run()[0]
        return done[name]

    return get
