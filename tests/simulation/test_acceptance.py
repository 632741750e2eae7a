"""What a user may rely on, judged from outside: by Qiskit, qiskit-nature, reference energies and plain arithmetic."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import qasm3, transpile
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_aer import AerSimulator
from qiskit_nature.second_q.mappers import BravyiKitaevMapper, JordanWignerMapper, ParityMapper
from qiskit_nature.second_q.properties import AngularMomentum, Magnetization, ParticleNumber

from simulation.ansatz import ANSAETZE
from simulation.encoding import encoding
from simulation.engines.choice import choose_engine
from simulation.mapping import MAPPERS
from simulation.molecules import Molecule, catalogue
from simulation.options import VQEOptions
from simulation.problem import build_problem
from simulation.runner import VQERunner
from tests.simulation.conftest import reference_record

CHEMICAL_ACCURACY = 1.6e-3
SEEDS = st.integers(0, 2**32 - 1)
EIGHT = ("L-BFGS-B", "COBYLA", "SLSQP", "Nelder-Mead", "Powell", "BFGS", "CG", "TNC")
MAPPER_NAMES = ("jordan_wigner", "parity", "bravyi_kitaev")
CIRCUITS = [
    (ansatz, mapper)
    for ansatz in ("UCCSD", "kUpCCGSD", "EfficientSU2", "RealAmplitudes", "ExcitationPreserving")
    for mapper in MAPPER_NAMES
    if ansatz != "ExcitationPreserving" or mapper == "jordan_wigner"
]

H3_PLUS = Molecule(("H", "H", "H"), np.array([[0, 0, 0], [0.9, 0, 0], [0.3, 0.8, 0]]), 1, 1)
H3 = Molecule(("H", "H", "H"), np.array([[0, 0, 0], [0.9, 0, 0], [0.3, 0.8, 0]]), 0, 2)
"""Three orbitals without symmetry, closed and open shell: nothing vanishes by accident."""


@pytest.fixture(scope="module")
def trials():
    """An ansatz, the Hamiltonian's terms as an operator of Qiskit, and engines, by molecule, ansatz and mapper."""
    problems, built = {}, {}

    def get(molecule, name, mapper, reps=1):
        key = (molecule.symbols, molecule.charge, name, mapper, reps)
        if key not in built:
            where = (molecule.symbols, molecule.charge)
            problem = problems[where] = problems.get(where) or build_problem(molecule)
            hamiltonian = MAPPERS[mapper]().map(problem)
            space = (problem.num_orbitals, problem.num_particles)
            ansatz = ANSAETZE[name](*space, reps, encoding=encoding(mapper, *space))
            terms = SparsePauliOp(hamiltonian.to_labels(), hamiltonian.coefficients)

            def engine(kind):
                options = VQEOptions(ansatz=name, ansatz_reps=reps, mapper=mapper, engine=kind).resolved()
                return choose_engine(options).build(ansatz, problem, hamiltonian)

            kinds = ("aer", "sector") if name in ("UCCSD", "kUpCCGSD") else ("aer",)
            built[key] = problem, ansatz, terms, {kind: engine(kind) for kind in kinds}
        return built[key]

    return get


def bound(ansatz, parameters):
    """The exported text, read by Qiskit, its inputs filled in the order of their names."""
    circuit = qasm3.loads(ansatz.qasm3())
    inputs = sorted(circuit.parameters, key=lambda parameter: parameter.name)
    return circuit.assign_parameters(dict(zip(inputs, parameters, strict=True)))


def expectation_by_aer(circuit, operator):
    simulator = AerSimulator(method="statevector", max_parallel_threads=1)
    unrolled = transpile(circuit, simulator, optimization_level=0)
    unrolled.save_expectation_value(operator, range(circuit.num_qubits))
    return simulator.run(unrolled).result().data(0)["expectation_value"]


@pytest.mark.parametrize("name", EIGHT)
def test_every_optimizer_brings_h2_within_chemical_accuracy_with_nothing_else_asked(name):
    record = VQERunner(molecules=[catalogue()["H2"]], options=VQEOptions(optimizer=name)).run()[0]
    assert record.vqe_result.initial_data.optimizer == name
    assert abs(record.total_energy - reference_record("H2")["fci_total"]) < CHEMICAL_ACCURACY
    assert abs(record.certified_energy - record.total_energy) < 1e-9


@pytest.mark.parametrize(("name", "mapper"), CIRCUITS)
@settings(max_examples=2, deadline=None)
@given(seed=SEEDS)
def test_every_engine_gives_the_energy_that_aer_finds_in_the_exported_circuit(trials, name, mapper, seed):
    _, ansatz, terms, engines = trials(H3, name, mapper, 2)
    parameters = np.random.default_rng(seed).uniform(-np.pi, np.pi, ansatz.num_parameters)
    by_aer = expectation_by_aer(bound(ansatz, parameters), terms)
    for engine in engines.values():
        assert engine.energy(parameters).energy == pytest.approx(by_aer, abs=1e-9)


def central_differences(energy, parameters, step=1e-4):
    directions = step * np.eye(len(parameters))
    return np.array([(energy(parameters + d) - energy(parameters - d)) / (2 * step) for d in directions])


def parameter_shift(energy, parameters, frequencies):
    """Slopes of a function with frequencies 1 to R in each parameter: Wierichs et al., Quantum 6, 677 (2022)."""
    r = frequencies
    slopes = np.zeros(len(parameters))
    for index, direction in enumerate(np.eye(len(parameters))):
        for mu in range(1, 2 * r + 1):
            shift = (2 * mu - 1) * np.pi / (2 * r)
            weight = (-1) ** (mu - 1) / (4 * r * np.sin(shift / 2) ** 2)
            slopes[index] += weight * energy(parameters + shift * direction)
    return slopes


@pytest.mark.parametrize(("name", "mapper"), [case for case in CIRCUITS if case[1] != "bravyi_kitaev"])
@settings(max_examples=2, deadline=None)
@given(seed=SEEDS)
def test_gradients_are_central_differences_and_parameter_shifts_of_the_exported_circuit(trials, name, mapper, seed):
    # Of the closed shell, where partners share a parameter: twice the frequencies of one excitation.
    _, ansatz, terms, engines = trials(catalogue()["HeH+"], name, mapper)
    parameters = np.random.default_rng(seed).uniform(-np.pi, np.pi, ansatz.num_parameters)
    operator = terms.to_matrix()
    circuit = qasm3.loads(ansatz.qasm3())
    inputs = sorted(circuit.parameters, key=lambda parameter: parameter.name)

    def energy(values):
        state = Statevector(circuit.assign_parameters(dict(zip(inputs, values, strict=True)))).data
        return np.vdot(state, operator @ state).real

    frequencies = {"UCCSD": 4, "kUpCCGSD": 4, "ExcitationPreserving": 2}.get(name, 1)
    shifted = parameter_shift(energy, parameters, frequencies)
    for engine in engines.values():
        found = engine.energy_and_gradient(parameters).gradient
        np.testing.assert_allclose(found, shifted, atol=1e-9)
        np.testing.assert_allclose(found, central_differences(energy, parameters), atol=1e-6)


def nature_operators(mapper, problem):
    """N, S_z and S^2 of the orbitals, by qiskit-nature alone."""
    mappers = {
        "jordan_wigner": JordanWignerMapper(),
        "parity": ParityMapper(num_particles=problem.num_particles),
        "bravyi_kitaev": BravyiKitaevMapper(),
    }
    properties = (ParticleNumber, Magnetization, AngularMomentum)
    operators = [next(iter(kind(problem.num_orbitals).second_q_ops().values())) for kind in properties]
    return [mappers[mapper].map(operator) for operator in operators]


@pytest.mark.parametrize("mapper", MAPPER_NAMES)
@pytest.mark.parametrize("name", ["UCCSD", "kUpCCGSD"])
@pytest.mark.parametrize("molecule", [H3, H3_PLUS], ids=["H3", "H3+"])
@settings(max_examples=2, deadline=None)
@given(seed=SEEDS)
def test_ucc_circuits_conserve_electrons_and_spin_and_engines_report_what_is_there(
    trials, molecule, name, mapper, seed
):
    problem, ansatz, _, engines = trials(molecule, name, mapper, 2)
    parameters = np.random.default_rng(seed).uniform(-np.pi, np.pi, ansatz.num_parameters)
    state = Statevector(bound(ansatz, parameters))
    n, s_z, s_squared = (state.expectation_value(o).real for o in nature_operators(mapper, problem))
    alpha, beta = problem.num_particles
    assert n == pytest.approx(alpha + beta, abs=1e-10)
    assert s_z == pytest.approx((alpha - beta) / 2, abs=1e-10)
    if name == "kUpCCGSD":
        spin = (alpha - beta) / 2
        assert s_squared == pytest.approx(spin * (spin + 1), abs=1e-10)
    for engine in engines.values():
        found = engine.observables(parameters)
        assert (found.particle_number, found.spin_z) == pytest.approx((n, s_z), abs=1e-9)
        assert found.spin_squared == pytest.approx(s_squared, abs=1e-9)


@pytest.mark.parametrize("mapper", MAPPER_NAMES)
def test_adapt_conserves_electrons_and_spin_in_the_circuit_it_grew(mapper):
    options = VQEOptions(ansatz="ADAPT", mapper=mapper)
    record = VQERunner(molecules=[H3_PLUS], options=options).run()[0]
    circuit = qasm3.loads(record.vqe_result.initial_data.ansatz)
    inputs = sorted(circuit.parameters, key=lambda parameter: parameter.name)
    optimum = dict(zip(inputs, record.vqe_result.optimal_parameters, strict=True))
    state = Statevector(circuit.assign_parameters(optimum))
    found = [state.expectation_value(o).real for o in nature_operators(mapper, build_problem(H3_PLUS))]
    assert found[:2] == pytest.approx([2, 0], abs=1e-10)
    assert found == pytest.approx([record.particle_number, record.spin_z, record.spin_squared], abs=1e-9)
    assert abs(record.energy_error_mha) < 1.6


def test_the_lowest_state_of_the_recorded_terms_is_the_exact_energy_in_every_mapping():
    reference = reference_record("H2")
    for mapper in MAPPER_NAMES:
        record = VQERunner(molecules=[catalogue()["H2"]], options=VQEOptions(mapper=mapper)).run()[0]
        terms = [(term.label, term.coefficients.real) for term in record.vqe_result.initial_data.hamiltonian]
        lowest = np.linalg.eigvalsh(SparsePauliOp.from_list(terms).to_matrix())[0]
        assert lowest + reference["nuclear_repulsion"] == pytest.approx(reference["fci_total"], abs=1e-8), mapper


def h2(**changes):
    return {"symbols": ["H", "H"], "coords": [[0, 0, 0], [0, 0, 0.74]]} | changes


REFUSED = {
    "unknown basis": (h2(), {"basis": "def2-svp"}, "def2-svp"),
    "odd electrons in a singlet": (h2(charge=1), {}, "multiplicity 1"),
    "atoms on top of each other": (h2(coords=[[0, 0, 0.5], [0, 0, 0.537]]), {}, "0.037"),
    "zero repetitions": (h2(), {"ansatz_reps": 0}, "input_value=0"),
    "no number as a coordinate": (h2(coords=[[0, 0, 0], [0, 0, float("nan")]]), {}, "nan"),
    "no shots": (h2(), {"shots": 0}, "input_value=0"),
    "a negative index": (h2(), {"molecule_index": -3}, "-3"),
    "an unknown optimizer": (h2(), {"optimizer": "Adam"}, "Adam"),
    "a negative seed": (h2(), {"seed": -7}, "-7"),
    "an infinite threshold": (h2(), {"threshold": float("inf")}, "inf"),
    "both stop rules": (h2(), {"threshold": 1e-4, "max_iterations": 17}, "17"),
    "no evaluations": (h2(), {"max_iterations": 0}, "input_value=0"),
    "mp2 without amplitudes": (h2(), {"init_strategy": "mp2", "ansatz": "RealAmplitudes"}, "RealAmplitudes"),
    "curvature from samples": (h2(), {"optimizer": "trust-exact", "shots": 10}, "trust-exact"),
    "shots of an exact engine": (h2(), {"engine": "sector", "shots": 10}, "sector"),
    "a probability above one": (h2(), {"noise_rates": {"one_qubit": 1.5, "two_qubit": 0}}, "1.5"),
    "half an electron": (h2(), {"active_space": {"electrons": 1.5, "orbitals": 2}}, "1.5"),
    "an option that does not exist": (h2(), {"ansatz_depth": 3}, "ansatz_depth"),
}

CHECK = """
import json, sys, tempfile
from simulation.runner import VQERunner
from simulation.options import VQEOptions
answers = {}
for name, (molecule, options, _) in json.loads(sys.stdin.read()).items():
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([molecule], file)
        file.flush()
        index = options.pop("molecule_index", None)
        try:
            VQERunner(file.name, molecule_index=index, options=VQEOptions.model_validate(options))
            answers[name] = "accepted"
        except ValueError as error:
            answers[name] = str(error)
heavy = {"qiskit", "qiskit_aer", "pyscf", "numba", "scipy.optimize", "matplotlib"} & set(sys.modules)
print(json.dumps([answers, sorted(heavy)]))
"""


@pytest.fixture(scope="module")
def refusals():
    """The answer to every request, and the heavy modules that were loaded to give them, from a fresh process."""
    asked = json.dumps(REFUSED)
    done = subprocess.run([sys.executable, "-c", CHECK], input=asked, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_input_is_refused_with_the_value_that_is_wrong(refusals, name):
    answer = refusals[0][name]
    assert answer != "accepted" and REFUSED[name][2] in answer


def test_wrong_input_is_refused_before_anything_that_computes_is_loaded(refusals):
    assert refusals[1] == []
