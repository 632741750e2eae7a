import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.determinants import DeterminantSpace, hartree_fock_word
from simulation.encoding import encoding, parity
from tests._slow.circuits import PAULI, on_qubit

MAPPERS = ("jordan_wigner", "parity", "bravyi_kitaev")


@st.composite
def electrons(draw, most=5):
    """Spatial orbitals and the electrons in them."""
    orbitals = draw(st.integers(1, most))
    return orbitals, (draw(st.integers(0, orbitals)), draw(st.integers(0, orbitals)))


def string(x: int, z: int, num_qubits: int) -> np.ndarray:
    """X^x Z^z as a dense matrix."""
    matrix = np.eye(1 << num_qubits)
    for letter, mask in (("X", x), ("Z", z)):
        for qubit in range(num_qubits):
            if mask >> qubit & 1:
                matrix = matrix @ on_qubit(PAULI[letter], qubit, num_qubits)
    return matrix


@pytest.mark.parametrize("mapper", MAPPERS)
@settings(max_examples=40, deadline=None)
@given(electrons())
def test_decoding_inverts_encoding(mapper, system):
    words = DeterminantSpace.sector(*system).words
    code = encoding(mapper, *system)
    encoded = code.encode(words)
    assert len(np.unique(encoded)) == len(words)
    assert ((encoded >= 0) & (encoded < 1 << code.num_qubits)).all()
    np.testing.assert_array_equal(code.decode(encoded), words)
    every = np.arange(1 << code.num_qubits)
    np.testing.assert_array_equal(code.encode(code.decode(every)), every)


@pytest.mark.parametrize("mapper", MAPPERS)
@settings(max_examples=25, deadline=None)
@given(electrons(most=4), st.integers(0, 2**32 - 1))
def test_strings_are_those_of_the_encoded_basis(mapper, system, seed):
    orbitals, _ = system
    code, rng = encoding(mapper, *system), np.random.default_rng(seed)
    # Flips of two orbitals of each spin conserve every parity that an encoding may hold fixed.
    flips = [rng.integers(0, orbitals, size=2) + spin for spin in (0, orbitals)]
    x = int(np.bitwise_xor.reduce([1 << p for pair in flips for p in pair.tolist()]))
    z = int(rng.integers(0, 1 << 2 * orbitals))
    (new_x,), (new_z,), (sign,) = code.pauli(np.array([x]), np.array([z]))
    kept = code.decode(np.arange(1 << code.num_qubits))
    expected = string(x, z, 2 * orbitals)[np.ix_(kept, kept)]
    np.testing.assert_array_equal(sign * string(int(new_x), int(new_z), code.num_qubits), expected)


@pytest.mark.parametrize("mapper", MAPPERS)
@settings(max_examples=25, deadline=None)
@given(electrons())
def test_orbital_strings_are_flips_and_occupations(mapper, system):
    orbitals, _ = system
    code, words = encoding(mapper, *system), DeterminantSpace.sector(*system).words
    encoded = code.encode(words) | 1 << code.num_qubits
    for p, found in enumerate(code.orbital_strings):
        np.testing.assert_array_equal(np.bitwise_count(encoded & found.phases) & 1, words >> p & 1)
    for p in range(orbitals):
        for q in range(p):
            moved = code.orbital_strings[p].flips ^ code.orbital_strings[q].flips
            expected = code.encode(words ^ (1 << p | 1 << q))
            np.testing.assert_array_equal(code.encode(words) ^ moved, expected)


@pytest.mark.parametrize("mapper", MAPPERS)
@pytest.mark.parametrize("system", [(2, (1, 1)), (3, (2, 1)), (5, (3, 2)), (6, (2, 2)), (7, (5, 5))])
def test_hartree_fock_is_that_of_qiskit_nature(mapper, system):
    from qiskit_nature.second_q import mappers
    from qiskit_nature.second_q.circuit.library.initial_states.hartree_fock import hartree_fock_bitstring_mapped

    of_nature = {
        "jordan_wigner": mappers.JordanWignerMapper(),
        "parity": mappers.ParityMapper(system[1]),
        "bravyi_kitaev": mappers.BravyiKitaevMapper(),
    }
    expected = hartree_fock_bitstring_mapped(*system, of_nature[mapper])
    word = int(encoding(mapper, *system).encode(np.array([hartree_fock_word(*system)]))[0])
    assert [word >> qubit & 1 for qubit in range(len(expected))] == [int(value) for value in expected]


def test_parity_drops_the_qubits_of_both_conserved_parities():
    assert encoding("parity", 3, (2, 1)).fixed == ((2, 0), (5, 1))
    assert encoding("parity", 3, (2, 1)).num_qubits == 4
    assert encoding("parity", 1, (1, 0)).num_qubits == 2
    assert encoding("bravyi_kitaev", 3, (2, 1)).num_qubits == 6


def test_string_that_leaves_the_parities_is_refused():
    with pytest.raises(ValueError, match="qubit 1, which the parity"):
        parity(2, (1, 1)).pauli(np.array([1]), np.array([0]))


def test_unknown_mapper_is_refused():
    with pytest.raises(ValueError, match="ternary_tree"):
        encoding("ternary_tree", 2, (1, 1))
