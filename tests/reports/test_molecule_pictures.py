"""The molecule's picture: known radii and bonds, the true shape in any view, and nothing that breaks it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpipe_assets.reports.molecule_figure import molecule_png
from qpipe_assets.reports.molecule_geometry import bond_lengths, coords_angstrom, scene
from simulation.bonds import COVALENT_RADII, bonds
from simulation.elements import ATOMIC_NUMBERS, SYMBOLS
from simulation.molecules import BOHR_IN_ANGSTROM, catalogue
from simulation.record import MoleculeData

_PLACE = st.lists(st.floats(-5, 5), min_size=3, max_size=3)


def test_radii_are_the_published_ones_that_pyscf_holds_too() -> None:
    from pyscf.data import radii

    for symbol, radius in COVALENT_RADII.items():
        assert radius == pytest.approx(radii.COVALENT[ATOMIC_NUMBERS[symbol]] * BOHR_IN_ANGSTROM, abs=1e-9), symbol
    assert list(COVALENT_RADII) == list(SYMBOLS[:96])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("H2", "H-H 0.741 Å"),
        ("HeH+", "He-H 0.772 Å"),
        ("N2", "N-N 1.098 Å"),
        ("CO2", "C-O 1.162 Å (2)"),
        ("H2O", "O-H 0.958 Å (2)"),
        ("NH3", "N-H 1.012 Å (3)"),
    ],
)
def test_bonds_are_those_a_chemist_draws(name: str, expected: str) -> None:
    assert bond_lengths(catalogue()[name].to_record()) == expected


def test_a_stretched_molecule_has_no_bond() -> None:
    assert bonds(["H", "H"], np.array([[0, 0, 0], [0, 0, 2.5]])) == []


def test_bohr_and_angstrom_give_one_picture() -> None:
    given_in_angstrom = catalogue()["H2O"].to_record()
    coords = (coords_angstrom(given_in_angstrom) / BOHR_IN_ANGSTROM).tolist()
    in_bohr = given_in_angstrom.model_copy(update={"coords": coords, "units": "bohr"})
    assert scene(in_bohr) == scene(given_in_angstrom)


@given(st.lists(_PLACE, min_size=1, max_size=6))
def test_the_view_keeps_every_distance_and_its_handedness(coords: list[list[float]]) -> None:
    shown = scene(MoleculeData(symbols=["C"] * len(coords), coords=coords))
    places = np.array([[ball.x, ball.y, ball.z] for ball in shown.balls])
    given_places = np.array(coords)
    for i, j in itertools.combinations(range(len(coords)), 2):
        before = np.linalg.norm(given_places[i] - given_places[j])
        assert np.linalg.norm(places[i] - places[j]) == pytest.approx(before, abs=1e-5)
    for four in itertools.combinations(range(len(coords)), 4):
        before, after = (np.linalg.det(p[list(four[1:])] - p[four[0]]) for p in (given_places, places))
        assert after == pytest.approx(before, abs=1e-3)


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_every_molecule_of_the_catalogue_is_a_small_picture(name: str) -> None:
    png = molecule_png(catalogue()[name].to_record())
    assert png.startswith(b"\x89PNG")
    assert len(png) < 60_000


@pytest.mark.parametrize(
    ("symbols", "coords"),
    [
        (["He"], [[0.0, 0.0, 0.0]]),
        (["H", "H"], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
        (["Og", "Cm"], [[0.0, 0.0, 0.0], [0.0, 0.0, 3.0]]),
        (["O", "O"], [[0.0, 0.0, 0.0], [0.0, 0.0, 1000.0]]),
    ],
)
def test_no_masses_one_atom_or_an_odd_geometry_breaks_nothing(symbols: list[str], coords: list[list[float]]) -> None:
    assert molecule_png(MoleculeData(symbols=symbols, coords=coords, masses=None)).startswith(b"\x89PNG")
