import numpy as np
import pytest
from qiskit.quantum_info import Operator, Statevector

from simulation.ansatz import ANSAETZE, UCCSD, EfficientSU2
from simulation.certification import bound_circuit
from simulation.excitations import Excitation, excitation_call, singles_and_doubles
from simulation.initial_point import initial_point
from tests._slow.rotations import generator


def statevector(ansatz, parameters):
    return Statevector(ansatz.circuit().assign_parameters(parameters)).data


@pytest.mark.parametrize(("orbitals", "particles"), [(2, (1, 1)), (5, (2, 2)), (6, (3, 2)), (7, (5, 5)), (3, (2, 0))])
def test_excitations_are_those_of_qiskit_nature_in_its_order(orbitals, particles):
    from qiskit_nature.second_q.circuit.library.ansatzes.utils import generate_fermionic_excitations

    expected = [
        (tuple(occupied), tuple(virtual))
        for rank in (1, 2)
        for occupied, virtual in generate_fermionic_excitations(rank, orbitals, particles)
    ]
    assert [(e.occupied, e.virtual) for e in singles_and_doubles(orbitals, particles)] == expected


@pytest.mark.parametrize(("orbitals", "particles"), [(2, (1, 1)), (3, (2, 1))])
def test_own_parameters_give_the_state_of_qiskit_nature(orbitals, particles):
    from qiskit import transpile
    from qiskit_aer import AerSimulator
    from qiskit_nature.second_q.circuit import library
    from qiskit_nature.second_q.mappers import JordanWignerMapper as NatureMapper

    mapper, simulator = NatureMapper(), AerSimulator(method="statevector")
    start = library.HartreeFock(orbitals, particles, mapper)
    nature = transpile(library.UCCSD(orbitals, particles, mapper, initial_state=start), simulator, optimization_level=1)
    ansatz = UCCSD(orbitals, particles, share_spin=False)
    parameters = np.random.default_rng(1).normal(size=ansatz.num_parameters)
    bound = nature.assign_parameters(parameters)
    bound.save_statevector()
    expected = np.asarray(simulator.run(bound).result().data(0)["statevector"])
    np.testing.assert_allclose(statevector(ansatz, parameters), expected, atol=1e-12)


@pytest.mark.parametrize(
    "excitation",
    [Excitation((0,), (1,)), Excitation((0,), (3,)), Excitation((1, 3), (2, 5)), Excitation((0, 1), (2, 4))],
)
def test_excitation_circuit_is_the_exponential_of_its_generator(excitation):
    from scipy.linalg import expm

    from simulation.circuits import ParametrisedCircuit

    definition, call = excitation_call(excitation, 0)
    circuit = ParametrisedCircuit(6, 1, (call,), (definition,)).to_qiskit().assign_parameters([0.7])
    exact = expm(0.7 * generator(6, excitation.occupied, excitation.virtual))
    # On every state, not only those that UCCSD reaches.
    np.testing.assert_allclose(Operator(circuit).data, exact, atol=1e-12)


def test_closed_shell_partners_share_a_parameter():
    shared, own = UCCSD(6, (2, 2)), UCCSD(6, (2, 2), share_spin=False)
    assert (shared.num_parameters, own.num_parameters) == (50, 92)
    by_excitation = dict(zip(shared.excitations, shared.parameter_indices, strict=True))
    for excitation, index in by_excitation.items():
        assert by_excitation[excitation.spin_flipped(6)] == index


def test_sharing_is_own_parameters_set_equal():
    shared, own = UCCSD(3, (1, 1)), UCCSD(3, (1, 1), share_spin=False)
    parameters = np.random.default_rng(0).normal(size=shared.num_parameters)
    spread = parameters[shared.parameter_indices]
    np.testing.assert_allclose(statevector(shared, parameters), statevector(own, spread), atol=1e-14)


def test_open_shells_share_nothing():
    assert UCCSD(6, (3, 2)).num_parameters == len(UCCSD(6, (3, 2)).excitations)


def test_repetition_has_parameters_of_its_own():
    once, twice = UCCSD(2, (1, 1)), UCCSD(2, (1, 1), reps=2)
    assert twice.num_parameters == 2 * once.num_parameters
    parameters = np.array([0.1, 0.2, 0.0, 0.0])
    np.testing.assert_allclose(statevector(twice, parameters), statevector(once, parameters[:2]), atol=1e-14)


def test_efficient_su2_is_that_of_qiskit():
    from qiskit.circuit.library import efficient_su2

    ansatz = EfficientSU2(2, (1, 1), reps=2)
    assert ansatz.num_parameters == 24
    parameters = np.random.default_rng(3).uniform(0, 2 * np.pi, 24)
    expected = Statevector(efficient_su2(4, reps=2).assign_parameters(parameters)).data
    np.testing.assert_allclose(statevector(ansatz, parameters), expected, atol=1e-12)


@pytest.mark.parametrize("name", sorted(ANSAETZE))
@pytest.mark.parametrize(("orbitals", "particles"), [(2, (1, 1)), (3, (2, 1)), (3, (2, 0))])
def test_hartree_fock_start_is_exactly_the_determinant(name, orbitals, particles):
    ansatz = ANSAETZE[name](orbitals, particles, 2)
    state = statevector(ansatz, initial_point("hf", ansatz))
    word = sum(1 << qubit for qubit in ansatz.occupied_qubits)
    assert abs(state[word]) == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("name", sorted(ANSAETZE))
def test_text_reads_back_as_the_same_circuit(name):
    ansatz = ANSAETZE[name](4, (2, 1), 2)
    parameters = np.random.default_rng(5).normal(size=ansatz.num_parameters)
    expected = statevector(ansatz, parameters)
    np.testing.assert_allclose(Statevector(bound_circuit(ansatz.qasm3(), parameters)).data, expected, atol=1e-12)


@pytest.mark.parametrize("name", sorted(ANSAETZE))
def test_text_is_openqasm3_with_inputs_in_index_order(name):
    pytest.importorskip("qiskit_qasm3_import")
    from qiskit import qasm3

    ansatz = ANSAETZE[name](3, (1, 1), 1)
    circuit = qasm3.loads(ansatz.qasm3())
    names = [parameter.name for parameter in circuit.parameters]
    assert names == sorted(names) == ansatz.program.parameter_names()
    parameters = np.random.default_rng(6).normal(size=ansatz.num_parameters)
    found = Statevector(circuit.assign_parameters(parameters)).data
    np.testing.assert_allclose(found, statevector(ansatz, parameters), atol=1e-12)


def test_random_start_is_numpys_uniform_by_seed():
    ansatz = EfficientSU2(2, (1, 1))
    expected = np.random.default_rng(7).uniform(0, 2 * np.pi, 24)
    np.testing.assert_array_equal(initial_point("random", ansatz, 7), expected)
    assert not initial_point("zeros", ansatz).any()


def test_random_start_without_seed_and_unknown_strategy_are_refused():
    ansatz = EfficientSU2(2, (1, 1))
    with pytest.raises(ValueError, match="seed"):
        initial_point("random", ansatz)
    with pytest.raises(ValueError, match="mp3"):
        initial_point("mp3", ansatz)


def test_impossible_ansatz_is_refused():
    with pytest.raises(ValueError, match="reps is 0"):
        UCCSD(2, (1, 1), 0)
    with pytest.raises(ValueError, match=r"\(3, 1\)"):
        UCCSD(2, (3, 1))
