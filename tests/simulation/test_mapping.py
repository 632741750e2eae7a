from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.determinants import DeterminantSpace
from simulation.encoding import encoding, parity
from simulation.mapping import MAPPERS, JordanWignerMapper, ParityMapper, QubitHamiltonian
from simulation.pauli_kernels import apply_terms
from simulation.problem import ElectronicProblem
from simulation.record import ActiveSpace
from tests._slow.circuits import pauli_sum
from tests.simulation.conftest import reference_record


def random_problem(orbitals: int, seed: int) -> ElectronicProblem:
    """Integrals with the symmetries of real orbitals and nothing else."""
    rng = np.random.default_rng(seed)
    h1 = rng.normal(size=(orbitals, orbitals))
    h2 = rng.normal(size=(orbitals,) * 4)
    h2 = h2 + h2.transpose(1, 0, 2, 3)
    h2 = h2 + h2.transpose(0, 1, 3, 2)
    h2 = h2 + h2.transpose(2, 3, 0, 1)
    return ElectronicProblem(h1 + h1.T, h2, rng.normal(), 0.0, (1, 1), 0.0)


def nature_terms(problem: ElectronicProblem, mapper: str = "jordan_wigner") -> dict[str, complex]:
    from qiskit_nature.second_q import mappers
    from qiskit_nature.second_q.hamiltonians import ElectronicEnergy

    energy = ElectronicEnergy.from_raw_integrals(problem.h1, problem.h2, auto_index_order=True)
    of_nature = {
        "jordan_wigner": mappers.JordanWignerMapper(),
        "parity": mappers.ParityMapper(problem.num_particles),
        "bravyi_kitaev": mappers.BravyiKitaevMapper(),
    }
    operator = of_nature[mapper].map(energy.second_q_op())
    terms = dict(zip(operator.paulis.to_labels(), operator.coeffs, strict=True))
    identity = "I" * operator.num_qubits
    terms[identity] = terms.get(identity, 0) + problem.constant
    return terms


@pytest.mark.parametrize("mapper", sorted(MAPPERS))
@pytest.mark.parametrize(
    ("name", "space"),
    [
        ("H2", {}),
        ("HeH+", {}),
        ("LiH", {}),
        ("BH", {}),
        ("BeH", {}),
        ("H2O", {"frozen_core": True}),
        ("N2", {"active_space": ActiveSpace(electrons=6, orbitals=5)}),
    ],
)
def test_equals_qiskit_nature_term_by_term(problems, name, space, mapper):
    problem, _ = problems(name, **space)
    hamiltonian, expected = MAPPERS[mapper]().map(problem), nature_terms(problem, mapper)
    found = dict(zip(hamiltonian.to_labels(), hamiltonian.coefficients, strict=True))
    assert found.keys() == expected.keys()
    assert max(abs(found[label] - expected[label]) for label in expected) < 1e-12


@pytest.mark.parametrize("mapper", sorted(MAPPERS))
def test_equals_qiskit_nature_without_any_symmetry(mapper):
    problem = random_problem(3, seed=1)
    hamiltonian, expected = MAPPERS[mapper]().map(problem), nature_terms(problem, mapper)
    found = dict(zip(hamiltonian.to_labels(), hamiltonian.coefficients, strict=True))
    assert max(abs(found.get(k, 0) - expected.get(k, 0)) for k in found.keys() | expected.keys()) < 1e-12


@pytest.mark.parametrize("mapper", sorted(MAPPERS))
@pytest.mark.parametrize("particles", [(1, 1), (2, 1), (2, 0), (2, 2)])
def test_every_encoding_has_the_same_matrix_on_the_determinants(mapper, particles):
    problem = replace(random_problem(3, seed=2), num_particles=particles)
    space = DeterminantSpace.sector(3, particles)
    words = encoding(mapper, 3, particles).encode(space.words)
    block = MAPPERS[mapper]().map(problem).csr()[words][:, words].toarray()
    np.testing.assert_allclose(block, JordanWignerMapper().map(problem).csr(space).toarray(), atol=1e-11)


@pytest.mark.parametrize("mapper", sorted(MAPPERS))
def test_terms_are_unique_and_in_order(problems, mapper):
    hamiltonian = MAPPERS[mapper]().map(problems("HeH+")[0])
    strings = list(zip(hamiltonian.x.tolist(), hamiltonian.z.tolist(), strict=True))
    assert strings == sorted(set(strings))


def test_parity_leaves_two_qubits_out(problems):
    problem, _ = problems("H2")
    reduced = ParityMapper().map(problem)
    assert (reduced.num_qubits, len(reduced)) == (2, 5)
    assert np.linalg.eigvalsh(reduced.csr().toarray())[0] == pytest.approx(-1.8510241683485216, abs=1e-9)


@pytest.mark.parametrize("mapper", sorted(MAPPERS))
def test_one_orbital_keeps_its_qubits(mapper):
    problem = ElectronicProblem(np.array([[-1.0]]), np.full((1,) * 4, 0.5), 0.0, 0.0, (1, 1), 0.0)
    hamiltonian = MAPPERS[mapper]().map(problem)
    assert hamiltonian.num_qubits == 2
    word = encoding(mapper, 1, (1, 1)).encode(np.array([3]))[0]
    assert hamiltonian.csr().toarray()[word, word] == pytest.approx(-1.5)


def test_hydrogen_has_fifteen_terms_and_the_reference_ground_state(problems):
    problem, hamiltonian = problems("H2")
    assert (len(hamiltonian), hamiltonian.num_qubits) == (15, 4)
    sector = hamiltonian.csr(DeterminantSpace.sector(2, problem.num_particles)).toarray()
    assert np.linalg.eigvalsh(sector)[0] == pytest.approx(-1.8510241683485216, abs=1e-9)


def test_sector_holds_the_exact_energy(problems):
    problem, hamiltonian = problems("H2O", frozen_core=True)
    sector = hamiltonian.csr(DeterminantSpace.sector(problem.num_orbitals, problem.num_particles)).toarray()
    lowest = np.linalg.eigvalsh(sector)[0] + problem.nuclear_repulsion
    assert lowest == pytest.approx(-75.01250015395706, abs=1e-8)


def test_sector_matrix_is_the_block_of_the_full_matrix(problems):
    problem, hamiltonian = problems("BeH")
    space = DeterminantSpace.sector(problem.num_orbitals, problem.num_particles)
    block = hamiltonian.csr()[space.words][:, space.words]
    assert abs(block - hamiltonian.csr(space)).max() < 1e-12


@pytest.mark.parametrize("mapper", sorted(MAPPERS))
def test_empty_operator_is_zero_times_the_identity(mapper):
    empty = ElectronicProblem(np.zeros((2, 2)), np.zeros((2,) * 4), 0.0, 0.0, (1, 1), 0.0)
    hamiltonian = MAPPERS[mapper]().map(empty)
    assert hamiltonian.to_labels() == ["I" * hamiltonian.num_qubits]
    assert hamiltonian.coefficients.tolist() == [0.0]


def test_what_cancels_in_an_encoding_leaves_the_identity():
    # The parity of N is the constant 1 for two electrons: Z Z Z Z - 1 vanishes.
    operator = QubitHamiltonian(np.array([0, 0]), np.array([0, 15]), np.array([-1.0, 1.0]), 4)
    hamiltonian = operator.encoded(parity(2, (1, 1)))
    assert (hamiltonian.to_labels(), hamiltonian.coefficients.tolist()) == (["II"], [0.0])


def test_core_energy_is_in_the_identity(problems):
    problem, hamiltonian = problems("LiH", frozen_core=True)
    shifted = JordanWignerMapper().map(ElectronicProblem(problem.h1, problem.h2, 0.0, 0.0, problem.num_particles, 0.0))
    difference = hamiltonian.coefficients - shifted.coefficients
    assert hamiltonian.to_labels()[0] == "I" * 10
    assert difference[0] == pytest.approx(problem.constant)
    assert not difference[1:].any()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_matrix_and_product_equal_the_plain_sum_of_pauli_strings(orbitals, seed):
    hamiltonian = JordanWignerMapper().map(random_problem(orbitals, seed))
    plain = pauli_sum(hamiltonian.to_labels(), hamiltonian.coefficients)
    np.testing.assert_allclose(hamiltonian.csr().toarray(), plain, atol=1e-11)
    np.testing.assert_allclose(hamiltonian.to_sparse_pauli_op().to_matrix(), plain, atol=1e-11)
    rng = np.random.default_rng(seed)
    state = rng.normal(size=len(plain)) + 1j * rng.normal(size=len(plain))
    product = np.empty_like(state)
    apply_terms(state, *hamiltonian.groups, product)
    np.testing.assert_allclose(product, plain @ state, atol=1e-10)


def test_operator_that_is_not_real_is_refused():
    imaginary = QubitHamiltonian(np.array([1]), np.array([1]), np.array([0.5]), 2)
    with pytest.raises(ValueError, match="IY"):
        imaginary.csr()


def test_reference_molecules_have_the_expected_qubits(problems):
    for name in ("H2", "LiH"):
        assert problems(name)[1].num_qubits == 2 * reference_record(name)["n_orbitals"]
