"""Estimates agree with what runs do, and refuse what runs refuse."""

import subprocess
import sys
import time

import pytest

from simulation.engines.base import EngineError
from simulation.estimate import estimate, pauli_terms
from simulation.mapping import JordanWignerMapper
from simulation.molecules import Molecule, catalogue
from simulation.options import VQEOptions
from simulation.problem import ProblemError, build_problem
from simulation.recommended import recommended_options
from simulation.record import ActiveSpace
from simulation.runner import VQERunner


def asked(**options):
    return VQEOptions.model_validate(options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("H2", {}),
        ("LiH", {"ansatz_reps": 2}),
        ("LiH", {"mapper": "parity", "frozen_core": True}),
        ("H2O", {"mapper": "bravyi_kitaev", "active_space": {"electrons": 4, "orbitals": 4}}),
        ("BeH", {"active_space": {"electrons": 3, "orbitals": 4}}),
        ("HeH+", {"basis": "6-31g", "ansatz": "kUpCCGSD", "ansatz_reps": 2}),
        ("H2", {"ansatz": "EfficientSU2", "mapper": "parity"}),
        ("H2", {"ansatz": "RealAmplitudes", "ansatz_reps": 3}),
        ("H2", {"ansatz": "ExcitationPreserving"}),
    ],
)
def test_an_estimate_has_the_size_that_the_run_has(name, options):
    found = estimate(catalogue()[name], asked(**options))
    run = asked(**options, max_iterations=1, certify_max_qubits=0)
    record = VQERunner(molecules=[catalogue()[name]], options=run).run()[0]
    initial = record.vqe_result.initial_data
    assert (found.qubits, found.parameters) == (initial.num_qubits, initial.num_parameters)
    assert (found.engine, found.engine_reason) == (record.engine, record.engine_reason)
    assert len(initial.hamiltonian) <= found.pauli_terms
    assert found.frozen_orbitals == record.frozen_orbitals
    if record.active_space is not None:
        assert (found.electrons, found.orbitals) == (record.active_space.electrons, record.active_space.orbitals)
    assert found.feasible and found.refusal is None


@pytest.mark.parametrize(
    "molecule",
    [
        catalogue()["HeH+"],
        Molecule(("H", "H", "H"), [[0, 0, 0], [0, 0, 0.9], [0, 0.5, 1.6]], charge=1),
        Molecule(("H", "H", "H", "H"), [[0, 0, 0], [0, 0, 0.9], [0, 0.7, 1.6], [0.8, -0.2, 0.3]]),
    ],
)
def test_molecules_without_symmetry_have_as_many_pauli_terms_as_the_bound_says(molecule):
    problem = build_problem(molecule)
    assert len(JordanWignerMapper().map(problem)) == pauli_terms(problem.num_orbitals)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CO2", {"engine": "aer"}),
        ("CO2", {"ansatz": "EfficientSU2"}),
        ("LiH", {"basis": "cc-pvdz"}),
        ("LiH", {"basis": "cc-pvdz", "engine": "aer", "mapper": "parity"}),
        ("CO2", {"frozen_core": True}),
        ("CO2", {}),
        ("H2O", {"basis": "cc-pvdz"}),
    ],
)
def test_what_cannot_run_is_refused_by_estimate_and_run_and_the_offered_space_is_the_largest_that_fits(name, options):
    molecule = catalogue()[name]
    found = estimate(molecule, asked(**options))
    assert not found.feasible and found.seconds is None
    prepared = []
    runner = VQERunner(molecules=[molecule], options=asked(**options), on_prepared=prepared.append)
    began = time.process_time()
    with pytest.raises((ProblemError, EngineError)):
        runner.run()
    assert not prepared and time.process_time() - began < 1
    space = found.fitting
    assert space is not None
    assert f"{space.electrons} electrons in {space.orbitals} orbitals" in found.refusal
    without = {key: value for key, value in options.items() if key != "frozen_core"}
    assert estimate(molecule, asked(**without, active_space=space)).feasible
    larger = ActiveSpace(electrons=space.electrons + 2, orbitals=space.orbitals + 1)
    assert not estimate(molecule, asked(**without, active_space=larger)).feasible


def test_frozen_core_is_named_where_it_is_enough():
    water = estimate(catalogue()["CH4"], asked(engine="aer", basis="sto3g"))
    assert water.feasible
    beryllium_hydride = estimate(catalogue()["BeH2"], asked(basis="6-31g", engine="aer"))
    assert not beryllium_hydride.feasible and not beryllium_hydride.fitting_frozen_core
    lithium_hydride = estimate(catalogue()["LiH"], asked(basis="6-31g", engine="aer"))
    assert not lithium_hydride.feasible and lithium_hydride.fitting_frozen_core
    assert estimate(catalogue()["LiH"], asked(basis="6-31g", engine="aer", frozen_core=True)).feasible


def test_an_impossible_active_space_is_refused_naming_it():
    with pytest.raises(ProblemError, match=r"active space \(3 electrons, 2 orbitals\)"):
        estimate(catalogue()["LiH"], asked(active_space={"electrons": 3, "orbitals": 2}))


def test_an_estimate_of_84_qubits_takes_no_time_and_says_so_much():
    began = time.process_time()
    found = estimate(catalogue()["CO2"], asked(basis="cc-pvdz"))
    assert time.process_time() - began < 2
    assert (found.qubits, found.feasible, found.parameters) == (84, False, None)
    assert found.determinants > 10**18


def test_a_cap_on_evaluations_bounds_the_prediction():
    assert estimate(catalogue()["H2O"], asked(max_iterations=7)).evaluations == 7
    assert estimate(catalogue()["He2"], asked()).evaluations == 1


def test_more_work_is_predicted_to_take_longer():
    plain = estimate(catalogue()["LiH"], asked(ansatz="EfficientSU2"))
    sampled = estimate(catalogue()["LiH"], asked(ansatz="EfficientSU2", shots=1000))
    larger = estimate(catalogue()["NH3"], asked(ansatz="EfficientSU2"))
    assert plain.seconds < sampled.seconds and plain.seconds < larger.seconds


@pytest.mark.parametrize(("name", "options"), [("H2", {}), ("N2", {"max_iterations": 3, "certify_max_qubits": 0})])
def test_a_run_stays_within_the_memory_that_was_estimated(name, options):
    program = (
        "import re; from simulation.molecules import catalogue; from simulation.options import VQEOptions;"
        "from simulation.runner import VQERunner;"
        f"VQERunner(molecules=[catalogue()[{name!r}]], options=VQEOptions(**{options!r})).run();"
        # Not ru_maxrss, which a process inherits from the one that started it.
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read()).group(1))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    bound = estimate(catalogue()[name], asked(**options)).memory_bytes
    assert bound / 3 < 1024 * int(done.stdout) <= bound


@pytest.mark.parametrize("name", ["H2", "HeH+", "LiH", "BeH2", "H2O", "CO2"])
def test_the_recommended_options_reach_chemical_accuracy_from_hartree_fock(name):
    options = asked(**recommended_options(name), certify_max_qubits=0)
    record = VQERunner(molecules=[catalogue()[name]], options=options).run()[0]
    assert options.init_strategy == "hf"
    assert record.valid and 0 <= record.energy_error_mha + 1e-3 and record.energy_error_mha < 1.6


def test_every_molecule_of_the_catalogue_has_recommended_options_that_fit():
    for name, molecule in catalogue().items():
        assert estimate(molecule, asked(**recommended_options(name))).feasible
    with pytest.raises(ValueError, match="'XeF2'"):
        recommended_options("XeF2")
