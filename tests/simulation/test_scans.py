"""Potential-energy scans: geometries, the chain of starts, and optima that follow the orbitals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from simulation.ansatz import UCCSD, EfficientSU2, KUpCCGSD
from simulation.engines.sector import SectorEngine
from simulation.identity import experiment_id
from simulation.mapping import JordanWignerMapper
from simulation.molecules import Molecule, catalogue
from simulation.options import VQEOptions
from simulation.orbital_matching import CarryOverError, carry_over, optimum_for, orbital_overlap
from simulation.problem import ElectronicProblem, build_problem
from simulation.reference import exact_reference
from simulation.runner import VQERunner
from simulation.scan_geometry import measured
from simulation.scans import (
    ScanError,
    ScanSpec,
    afresh,
    better,
    expand,
    needs_comparison,
    plan_scan,
    scan_of,
    starts_badly,
    walk,
)

METHANOL = Molecule(
    ("C", "O", "H", "H", "H", "H"),
    np.array(
        [
            [-0.0466, 0.6631, 0.0],
            [-0.0466, -0.7580, 0.0],
            [-1.0868, 0.9759, 0.0],
            [0.4379, 1.0717, 0.8884],
            [0.4379, 1.0717, -0.8884],
            [0.8698, -1.0539, 0.0],
        ]
    ),
    name="methanol",
)
TRIANGLE = Molecule(("C", "C", "C"), np.array([[0.0, 0, 0], [1.5, 0, 0], [0.75, 1.3, 0]]))
UNCERTIFIED = VQEOptions(certify_max_qubits=0)


def spec(kind, *atoms, **values):
    return ScanSpec.model_validate({"kind": kind, "atoms": list(atoms), **values})


def distances(molecule):
    coords = molecule.coords_angstrom
    return np.linalg.norm(coords[:, None] - coords[None, :], axis=2)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"kind": "bond", "atoms": [0, 0], "values": [1, 2]}, r"\[0, 0\], expected different"),
        ({"kind": "bond", "atoms": [0, 1, 2], "values": [1, 2]}, "expected 2 indices for a bond"),
        ({"kind": "angle", "atoms": [0, 1], "values": [90, 100]}, "expected 3 indices for an angle"),
        ({"kind": "bond", "atoms": [0, -1], "values": [1, 2]}, "-1"),
        ({"kind": "bond", "atoms": [0, 1], "values": [1.0]}, r"\[1.0\], expected 2 to"),
        ({"kind": "bond", "atoms": [0, 1], "values": [1.0, 1.0]}, "different"),
        ({"kind": "bond", "atoms": [0, 1], "values": [1.0, 0.0]}, "distance 0 angstrom"),
        ({"kind": "bond", "atoms": [0, 1], "start": -1, "stop": 2, "points": 4}, "distance -1 angstrom"),
        ({"kind": "bond", "atoms": [0, 1], "start": 1, "stop": 2, "points": 1}, "greater than or equal to 2"),
        ({"kind": "bond", "atoms": [0, 1], "start": 1, "stop": 1, "points": 3}, "both 1.0"),
        ({"kind": "bond", "atoms": [0, 1], "start": 1}, "give all three"),
        ({"kind": "bond", "atoms": [0, 1], "start": 1, "stop": 2, "points": 3, "values": [1, 2]}, "exclude each other"),
        ({"kind": "bond", "atoms": [0, 1], "start": float("nan"), "stop": 2, "points": 3}, "finite"),
        ({"kind": "angle", "atoms": [0, 1, 2], "values": [0, 90]}, "angle 0 degree"),
        ({"kind": "angle", "atoms": [0, 1, 2], "values": [90, 180.5]}, "angle 180.5 degree"),
        ({"kind": "dihedral", "atoms": [0, 1], "values": [1, 2]}, "bond"),
    ],
)
def test_an_impossible_scan_is_refused_naming_the_value(asked, words):
    with pytest.raises(ValidationError, match=words):
        ScanSpec.model_validate(asked)


def test_a_range_includes_both_ends_and_values_are_sorted():
    assert spec("bond", 0, 1, start=1, stop=2, points=5).grid() == [1.0, 1.25, 1.5, 1.75, 2.0]
    assert spec("bond", 0, 1, values=[2, 1, 1.5]).grid() == [1.0, 1.5, 2.0]


@pytest.mark.parametrize(
    ("molecule", "coordinate", "words"),
    [
        (catalogue()["H2O"], ("bond", 0, 7), "no atom 7, OHH has 0 to 2"),
        (catalogue()["H2O"], ("bond", 1, 2), r"atom 2 \(H\) is joined to atom 1 \(H\) by another way"),
        (TRIANGLE, ("bond", 0, 1), "through a ring"),
        (TRIANGLE, ("angle", 0, 1, 2), "through a ring"),
    ],
)
def test_a_coordinate_that_the_molecule_does_not_have_is_refused(molecule, coordinate, words):
    kind, *atoms = coordinate
    with pytest.raises(ScanError, match=words):
        expand(molecule, spec(kind, *atoms, values=[1, 2] if kind == "bond" else [90, 100]))


def test_a_scan_that_pushes_atoms_into_each_other_is_refused_naming_the_value():
    with pytest.raises(ScanError, match=r"angle 1-0-2 = 3 degree: atoms 1 \(H\) and 2 \(H\)"):
        expand(catalogue()["H2O"], spec("angle", 1, 0, 2, values=[3, 90]))


@given(
    coordinate=st.sampled_from([("bond", (0, 1)), ("bond", (1, 0)), ("angle", (2, 0, 1)), ("angle", (0, 1, 5))]),
    share=st.floats(0.0, 1.0),
    rotation=st.integers(0, 2**31 - 1),
)
def test_both_sides_of_the_coordinate_stay_rigid_however_the_molecule_lies(coordinate, share, rotation):
    kind, atoms = coordinate
    turn, _ = np.linalg.qr(np.random.default_rng(rotation).standard_normal((3, 3)))
    molecule = Molecule(METHANOL.symbols, METHANOL.coords @ turn)
    value = 1.2 + share if kind == "bond" else 95 + 40 * share
    hydroxyl = {1, 5}
    moving = {"bond": hydroxyl if atoms == (0, 1) else {0, 2, 3, 4}, "angle": hydroxyl if atoms[-1] == 1 else {5}}[kind]
    point = expand(molecule, spec(kind, *atoms, values=[value, 3.0 if kind == "bond" else 170.0]))[0]
    assert measured(point.molecule, list(atoms)) == pytest.approx(value, abs=1e-7)
    before, after = distances(molecule), distances(point.molecule)
    for side in (moving, set(range(6)) - moving):
        inner = np.ix_(sorted(side), sorted(side))
        np.testing.assert_allclose(after[inner], before[inner], atol=1e-8)
    if kind == "angle":
        assert after[atoms[1], atoms[2]] == pytest.approx(before[atoms[1], atoms[2]], abs=1e-8)


def test_a_straight_molecule_bends_the_same_way_every_time():
    bent = expand(catalogue()["CO2"], spec("angle", 1, 0, 2, values=[120, 180]))
    assert measured(bent[0].molecule, [1, 0, 2]) == pytest.approx(120, abs=1e-7)
    assert measured(bent[1].molecule, [1, 0, 2]) == pytest.approx(180, abs=1e-7)
    np.testing.assert_allclose(distances(bent[0].molecule)[0], distances(catalogue()["CO2"])[0], atol=1e-8)
    again = expand(catalogue()["CO2"], spec("angle", 1, 0, 2, values=[120, 180]))
    assert bent[0].molecule == again[0].molecule


def test_the_molecules_own_value_gives_its_own_geometry():
    own = expand(catalogue()["LiH"], spec("bond", 0, 1, values=[1.5949, 2]))[0].molecule
    default = VQEOptions().resolved()
    assert experiment_id(own, default) == experiment_id(catalogue()["LiH"], default)


def test_bohr_coordinates_are_scanned_in_angstrom():
    in_bohr = Molecule(("H", "H"), np.array([[0, 0, 0], [0, 0, 1.4]]), units="bohr")
    point = expand(in_bohr, spec("bond", 0, 1, values=[1.0, 2.0]))[0].molecule
    assert point.units == "angstrom" and distances(point)[0, 1] == pytest.approx(1.0)


def test_a_scan_starts_at_the_molecules_own_value_and_walks_to_both_ends():
    options = VQEOptions(init_strategy="random")
    planned = plan_scan(catalogue()["LiH"], spec("bond", 0, 1, values=[0.8, 1.2, 1.6, 2.0, 2.4]), options)
    by_value = {p.point.value: p for p in planned}
    first = by_value[1.6]
    assert planned[0] is first and first.options.previous is None and first.options.init_strategy == "random"
    assert len({p.experiment_id for p in planned}) == 5
    for value, neighbour in ((2.0, 1.6), (2.4, 2.0), (1.2, 1.6), (0.8, 1.2)):
        assert by_value[value].options.previous == by_value[neighbour].experiment_id
        assert planned.index(by_value[neighbour]) < planned.index(by_value[value])
    assert all(p.experiment_id == experiment_id(p.point.molecule, p.options) for p in planned)


def test_adapt_grows_anew_at_every_point():
    planned = plan_scan(catalogue()["LiH"], spec("bond", 0, 1, values=[1.2, 1.6, 2.0]), VQEOptions(ansatz="ADAPT"))
    assert {(p.options.init_strategy, p.options.previous) for p in planned} == {("hf", None)}


def test_an_entry_of_a_molecule_file_may_carry_its_scan():
    entry = {"symbols": ["H", "H"], "coords": [[0, 0, 0], [0, 0, 0.74]]}
    assert scan_of(entry) is None
    asked = {"kind": "bond", "atoms": [0, 1], "start": 1, "stop": 2, "points": 3}
    assert scan_of(entry | {"scan": asked}).coordinate == "bond 0-1"
    assert Molecule.from_mapping(entry | {"scan": asked}).symbols == ("H", "H")
    with pytest.raises(ScanError, match=r"\[0, 0\], expected different"):
        scan_of(entry | {"scan": asked | {"atoms": [0, 0]}})


def turned(problem, matrix):
    """The same problem over orbitals that are columns of `matrix` over the old ones."""
    return ElectronicProblem(
        h1=matrix.T @ problem.h1 @ matrix,
        h2=np.einsum("pqrs,pi,qj,rk,sl->ijkl", problem.h2, matrix, matrix, matrix, matrix, optimize=True),
        constant=problem.constant,
        nuclear_repulsion=problem.nuclear_repulsion,
        num_particles=problem.num_particles,
        hf_energy=problem.hf_energy,
        orbitals=problem.orbitals @ matrix,
    )


def energy(problem, ansatz, parameters):
    return SectorEngine(ansatz, JordanWignerMapper().map(problem)).energy(np.asarray(parameters)).energy


@pytest.mark.parametrize(("name", "kind", "reps"), [("H2O", UCCSD, 1), ("BeH", UCCSD, 2), ("LiH", KUpCCGSD, 2)])
def test_parameters_follow_orbitals_that_change_their_sign_exactly(problems, name, kind, reps):
    problem, _ = problems(name)
    random = np.random.default_rng(7)
    signs = np.diag([1.0 if orbital % 3 else -1.0 for orbital in range(problem.num_orbitals)])
    ansatz = kind(problem.num_orbitals, problem.num_particles, reps)
    parameters = random.uniform(-1, 1, ansatz.num_parameters)
    flipped = turned(problem, signs)
    carried = carry_over(parameters, ansatz, orbital_overlap(problem, flipped))
    before = energy(problem, ansatz, parameters)
    assert energy(flipped, ansatz, carried) == pytest.approx(before, abs=1e-9)
    assert abs(energy(flipped, ansatz, parameters) - before) > 1e-3


@pytest.mark.parametrize("kind", [UCCSD, KUpCCGSD])
def test_each_rotation_follows_orbitals_that_change_places(problems, kind):
    problem, _ = problems("H2O")
    # Occupied 3 and 4 exchanged, and virtual 5 and 6; the reference stays what it is.
    exchanged = np.eye(7)[:, [0, 1, 2, 4, 3, 6, 5]]
    ansatz = kind(7, (5, 5))
    other = turned(problem, exchanged)
    for index in range(0, ansatz.num_parameters, 5):
        parameters = np.zeros(ansatz.num_parameters)
        parameters[index] = 0.3
        carried = carry_over(parameters, ansatz, orbital_overlap(problem, other))
        assert np.count_nonzero(np.abs(carried) > 1e-9) == 1
        assert energy(other, ansatz, carried) == pytest.approx(energy(problem, ansatz, parameters), abs=1e-9)


def test_parameters_follow_orbitals_that_mix_to_first_order(problems):
    problem, _ = problems("H2O")
    angle = 0.4
    mix = np.eye(7)
    mix[5:, 5:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    ansatz, other = UCCSD(7, (5, 5)), turned(problem, mix)
    small = 1e-3 * np.random.default_rng(3).standard_normal(ansatz.num_parameters)
    carried = carry_over(small, ansatz, orbital_overlap(problem, other))
    # Rotations of order 1e-3 lower or raise the energy by some 1e-3; their order in the product matters at 1e-6.
    assert energy(other, ansatz, carried) == pytest.approx(energy(problem, ansatz, small), abs=2e-5)
    assert np.linalg.norm(carried) == pytest.approx(np.linalg.norm(small), rel=0.2)


def scan_records(name, scan, options=UNCERTIFIED):
    def compute(planned, previous):
        return VQERunner(
            molecules=[planned.point.molecule],
            options=planned.options,
            lookup=lambda _: previous,
            scan=planned.position,
        ).run()[0]

    return {r.scan_value: r for r in walk(plan_scan(catalogue()[name], scan, options), compute)}


def with_optimum(record, parameters):
    result = record.vqe_result.model_copy(update={"optimal_parameters": parameters})
    return record.model_copy(update={"vqe_result": result})


def start_energy(record):
    return record.vqe_result.iteration_list[0].result + record.vqe_result.nuclear_repulsion_energy


def test_every_point_of_lithium_hydride_starts_well_below_hartree_fock_and_ends_near_fci():
    # At 2.4 angstrom an orbital changes its sign: taken over unchanged the optimum starts 20 mHa above Hartree-Fock.
    records = scan_records("LiH", spec("bond", 0, 1, values=[1.2, 1.6, 2.0, 2.2, 2.4]))
    for value, record in records.items():
        assert record.scan_coordinate == "bond 0-1" and record.scan_value == value
        assert record.valid and 0 <= record.energy_error_mha < 0.05
        if value != 1.6:
            assert record.previous_experiment is not None
            assert start_energy(record) < record.hf_energy - 0.01
    previous = records[2.2].vqe_result.optimal_parameters
    problem = build_problem(Molecule.from_record(records[2.4].molecule.molecule_data))
    raw = energy(problem, UCCSD(6, (2, 2)), previous) + problem.nuclear_repulsion
    assert raw > records[2.4].hf_energy


def test_the_curve_does_not_depend_on_the_order_or_company_of_its_values():
    few = scan_records("H2O", spec("angle", 1, 0, 2, values=[100, 110, 90]))
    many = scan_records("H2O", spec("angle", 1, 0, 2, start=80, stop=120, points=9))
    for value, record in few.items():
        assert many[value].total_energy == pytest.approx(record.total_energy, abs=1e-8)


def test_the_exact_energy_beside_a_stretched_bond_is_that_of_the_ground_state():
    # Davidson's method with one guess finds the second state here, 6.65 mHa above the first.
    stretched = expand(catalogue()["H2O"], spec("bond", 0, 1, values=[2.35, 3.0]))
    energies = [exact_reference(build_problem(point.molecule)).energy for point in stretched]
    records = scan_records("H2O", spec("bond", 0, 1, values=[2.35, 2.5]))
    assert energies[0] == pytest.approx(records[2.35].fci_energy, abs=1e-9)
    assert all(record.valid and record.energy_error_mha >= -1e-3 for record in records.values())


def test_an_optimum_of_another_ansatz_or_basis_is_refused_naming_both():
    record = scan_records("H2", spec("bond", 0, 1, values=[0.7, 0.9]))[0.7]
    problem = build_problem(catalogue()["H2"])
    with pytest.raises(CarryOverError, match=r"molecule.*H2.*HeH\+"):
        optimum_for(record, "HeH+", VQEOptions(), problem, UCCSD(2, (1, 1)))
    with pytest.raises(CarryOverError, match=r"mapper.*jordan_wigner.*parity"):
        optimum_for(record, "H2", VQEOptions(mapper="parity"), problem, UCCSD(2, (1, 1)))
    with pytest.raises(CarryOverError, match=r"ansatz.*UCCSD.*EfficientSU2"):
        optimum_for(record, "H2", VQEOptions(ansatz="EfficientSU2"), problem, EfficientSU2(2, (1, 1)))
    with pytest.raises(CarryOverError, match=r"basis.*sto3g.*6-31g"):
        optimum_for(record, "H2", VQEOptions(basis="6-31g"), problem, UCCSD(2, (1, 1)))


def test_a_point_that_starts_above_hartree_fock_is_computed_afresh_and_the_better_one_stands():
    planned = plan_scan(catalogue()["H2"], spec("bond", 0, 1, values=[0.7, 0.9, 1.1]), UNCERTIFIED)
    asked = []

    def compute(point, previous):
        asked.append(point)
        bad = point.options.previous is not None and point.point.value == 0.9
        return VQERunner(
            molecules=[point.point.molecule],
            options=point.options.model_copy(update={"max_iterations": 1}) if bad else point.options,
            lookup=lambda _: with_optimum(previous, [1.0] * 2) if bad else previous,
            scan=point.position,
        ).run()[0]

    records = {record.scan_value: record for record in walk(planned, compute)}
    assert records[0.9].vqe_result.initial_data.init_strategy == "hf"
    assert abs(records[0.9].energy_error_mha) < 1e-3
    repeated = [point for point in asked if point.point.value == 0.9]
    assert [point.options.init_strategy for point in repeated] == ["previous", "hf"]
    assert repeated[1].experiment_id == afresh(repeated[0], planned[0]).experiment_id
    assert not starts_badly(records[0.9]) and not starts_badly(records[0.7])


def test_the_first_point_is_afresh_itself_and_a_point_computed_afresh_is_not_computed_again():
    planned = plan_scan(catalogue()["H2"], spec("bond", 0, 1, values=[0.7, 0.9], both_starts=True), UNCERTIFIED)
    record, (first, second) = None, planned
    assert not needs_comparison(first, record)
    assert not needs_comparison(afresh(second, first), record)


def test_both_starts_compute_every_point_twice_but_the_first():
    asked = []

    def compute(planned, previous):
        asked.append((planned.point.value, planned.options.init_strategy))
        return VQERunner(
            molecules=[planned.point.molecule],
            options=planned.options,
            lookup=lambda _: previous,
        ).run()[0]

    planned = plan_scan(catalogue()["H2"], spec("bond", 0, 1, values=[0.7, 0.9, 1.1], both_starts=True), UNCERTIFIED)
    assert len(list(walk(planned, compute))) == 3
    assert asked == [(0.7, "hf"), (0.9, "previous"), (0.9, "hf"), (1.1, "previous"), (1.1, "hf")]


def test_a_valid_run_stands_before_a_lower_one_that_is_not():
    record = scan_records("H2", spec("bond", 0, 1, values=[0.7, 0.9]))[0.7]
    lower = record.model_copy(update={"total_energy": record.total_energy - 1, "valid": False})
    assert better(record, lower) is record and better(lower, record) is record
