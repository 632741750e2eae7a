import json
import subprocess
import sys

import numpy as np
import pytest

from simulation.elements import SYMBOLS
from simulation.molecules import (
    BOHR_IN_ANGSTROM,
    SHIPPED_FILES,
    Molecule,
    MoleculeError,
    catalogue,
    load_molecules,
    partition_key,
    partition_key_of,
    select_molecule,
    shipped_molecules,
)
from simulation.record import MoleculeData
from tests.simulation.conftest import REFERENCE, molecule_of

H2 = {"symbols": ["H", "H"], "coords": [[0, 0, 0], [0, 0, 0.74]]}


def written(tmp_path, content):
    path = tmp_path / "molecules.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_thesis_file_has_eight_molecules_in_order():
    names = [molecule.name for molecule in shipped_molecules("molecules.thesis.json")]
    assert names == ["H2", "HeH+", "LiH", "BeH2", "H2O", "NH3", "CO2", "N2"]


def test_every_shipped_file_loads():
    assert {name: len(shipped_molecules(name)) for name in SHIPPED_FILES} == {
        "molecules.thesis.json": 8,
        "molecules.json": 9,
        "cpu.json": 2,
        "gpu1.json": 2,
        "gpu2.json": 4,
    }


@pytest.mark.parametrize("source", ["molecules.thesis.json", "molecules.json"])
def test_shipped_geometries_are_the_reference_geometries(source):
    expected = [molecule_of(r) for r in REFERENCE["records"] if (r["source_file"], r["basis"]) == (source, "sto3g")]
    for molecule, reference in zip(shipped_molecules(source), expected, strict=True):
        assert molecule.symbols == reference.symbols
        np.testing.assert_array_equal(molecule.coords, reference.coords)
        assert (molecule.charge, molecule.multiplicity) == (reference.charge, reference.multiplicity)


def test_unknown_shipped_file_is_refused():
    with pytest.raises(MoleculeError, match=r"other\.json"):
        shipped_molecules("other.json")


def test_extra_keys_are_tolerated(tmp_path):
    extras = {
        "description": "hydrogen",
        "expected_qubits": 4,
        "complexity_level": "easy",
        "experimental_bond_length_angstrom": 0.74,
        "bond_angle_degrees": None,
        "reference": "CRC",
    }
    (molecule,) = load_molecules(written(tmp_path, [H2 | extras]))
    assert (molecule.charge, molecule.multiplicity, molecule.units, molecule.name) == (0, 1, "angstrom", None)


@pytest.mark.parametrize("key", ["comment", "note", "source", "atoms", "coordinates", "spin", "formula", "scan"])
def test_a_key_of_ones_own_is_tolerated(tmp_path, key):
    assert load_molecules(written(tmp_path, [H2 | {key: None}])) == load_molecules(written(tmp_path, [H2]))


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("unit", "units"),
        ("Units", "units"),
        ("multiplcity", "multiplicity"),
        ("charges", "charge"),
        ("mass", "masses"),
        ("scans", "scan"),
    ],
)
def test_a_misspelt_key_is_refused_naming_the_one_that_is_meant(tmp_path, key, meant):
    with pytest.raises(MoleculeError, match=f"entry 0: unknown key '{key}', probably '{meant}' is meant"):
        load_molecules(written(tmp_path, [H2 | {key: 1}]))


def test_a_misspelt_required_key_is_named_rather_than_missed(tmp_path):
    with pytest.raises(MoleculeError, match="probably 'coords' is meant"):
        load_molecules(written(tmp_path, [{"symbols": ["H", "H"], "coord": H2["coords"]}]))


def test_a_refusal_says_what_is_wrong_and_nothing_about_the_library_that_found_it(tmp_path):
    with pytest.raises(MoleculeError) as refusal:
        load_molecules(written(tmp_path, [H2 | {"charge": "one"}]))
    assert "charge='one'" in str(refusal.value)
    assert "pydantic" not in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("missing", ["symbols", "coords"])
def test_missing_required_key_is_a_value_error_naming_it(tmp_path, missing):
    entry = {key: value for key, value in H2.items() if key != missing}
    with pytest.raises(ValueError, match=missing):
        load_molecules(written(tmp_path, [H2, entry]))


@pytest.mark.parametrize("content", ["{", '{"symbols": []}', "[1]", '"H2"'])
def test_file_that_is_no_array_of_objects_is_refused(tmp_path, content):
    with pytest.raises(MoleculeError, match=r"molecules\.json"):
        load_molecules(written(tmp_path, content))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"symbols": ["H", "Xx"]}, "Xx"),
        ({"symbols": ["H", "h"]}, "'h'"),
        ({"symbols": []}, "symbols"),
        ({"coords": [[0, 0, 0]]}, "1 positions"),
        ({"coords": [[0, 0, 0], [0, 0]]}, "coords"),
        ({"coords": [[0, 0, 0], [0, 0, "far"]]}, "far"),
        ({"coords": [[0, 0, 0], [0, 0, 0.05]]}, "0.05"),
        ({"coords": [[0, 0, 0], [0, 0, 1e999]]}, "finite"),
        ({"charge": 2}, "charge 2"),
        ({"charge": 1}, "multiplicity 1"),
        ({"multiplicity": 2}, "multiplicity 2"),
        ({"multiplicity": 5}, "multiplicity 5"),
        ({"units": "nm"}, "nm"),
        ({"masses": [1.0]}, "masses"),
        ({"name": "../etc"}, "etc"),
    ],
)
def test_impossible_molecule_is_refused_with_the_value(tmp_path, change, named):
    with pytest.raises(MoleculeError, match=named):
        load_molecules(written(tmp_path, [H2 | change]))


@pytest.mark.parametrize("index", [-1, 8])
def test_index_outside_the_file_is_refused(index):
    with pytest.raises(MoleculeError, match=str(index)):
        select_molecule(shipped_molecules("molecules.thesis.json"), index)


def test_bohr_is_converted():
    molecule = Molecule(("H", "H"), np.array([[0, 0, 0], [0, 0, 1.4]]), units="bohr")
    assert molecule.coords_angstrom[1, 2] == pytest.approx(1.4 * BOHR_IN_ANGSTROM, rel=1e-15)


def test_record_round_trip_keeps_everything():
    molecule = Molecule(
        ("He", "H"), np.array([[0, 0, 0], [0, 0, 1.5]]), 1, units="bohr", masses=(4.0026, 1.00784), name="cation"
    )
    data = molecule.to_record()
    assert isinstance(data, MoleculeData)
    assert Molecule.from_record(data) == molecule


def test_coordinates_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        catalogue()["H2"].coords[0, 0] = 1.0


def test_catalogue_names_and_thesis_geometry_wins():
    assert list(catalogue()) == [
        "H2", "HeH+", "LiH", "BeH2", "H2O", "NH3", "CO2", "N2", "He2", "BeH", "BH", "CH4",
    ]  # fmt: skip
    assert catalogue()["LiH"].coords[1, 2] == 1.5949
    assert all(partition_key(molecule) == name for name, molecule in catalogue().items())


@pytest.mark.parametrize(
    ("symbols", "charge", "multiplicity", "key"),
    [
        (["H", "O", "H"], 0, 1, "H2O"),
        (["H", "He"], 1, 1, "HeH+"),
        (["H", "H"], 0, 3, "H2_m3"),
        (["H", "H"], 1, 2, "H2+"),
        (["H", "O", "C", "H"], 0, 1, "CH2O"),
        (["Na", "Cl"], 0, 1, "ClNa"),
        (["S", "O", "O", "O", "O"], -2, 1, "O4S2-"),
        (["Ca"], 2, 1, "Ca2+"),
        (["F"], -1, 1, "F-"),
        (["O", "H"], 0, 2, "HO"),
        (["O", "H"], 0, 4, "HO_m4"),
        (["N", "H", "H", "H"], 1, 2, "H3N+"),
    ],
)
def test_partition_key_is_the_catalogue_name_or_a_hill_formula(symbols, charge, multiplicity, key):
    assert partition_key_of(symbols, charge, multiplicity) == key


def test_partition_key_of_unknown_element_is_refused():
    with pytest.raises(MoleculeError, match="Q"):
        partition_key_of(["Q", "../x"])


def test_there_are_118_elements():
    assert (len(SYMBOLS), len(set(SYMBOLS)), SYMBOLS[25], SYMBOLS[117]) == (118, 118, "Fe", "Og")


def test_light_modules_import_no_quantum_package():
    program = (
        "import sys, simulation.molecules, simulation.record, simulation.options, simulation.identity;"
        "simulation.molecules.partition_key_of(['H', 'H']);"
        "print([m for m in ('pyscf', 'qiskit', 'qiskit_aer', 'numba', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
