from itertools import combinations

import numpy as np
import pytest
from qiskit.quantum_info import Operator

from simulation.circuits import ParametrisedCircuit
from simulation.determinants import DeterminantSpace
from simulation.encoding import bravyi_kitaev, jordan_wigner, parity
from simulation.excitation_circuits import excitation_call
from simulation.excitations import Excitation, generalised_pool, paired_doubles_and_singles, singles_and_doubles
from tests._slow.rotations import generator


@pytest.mark.parametrize(("orbitals", "particles"), [(2, (1, 1)), (5, (2, 2)), (6, (3, 2)), (7, (5, 5)), (3, (2, 0))])
def test_excitations_are_those_of_qiskit_nature_in_its_order(orbitals, particles):
    from qiskit_nature.second_q.circuit.library.ansatzes.utils import generate_fermionic_excitations

    expected = [
        (tuple(occupied), tuple(virtual))
        for rank in (1, 2)
        for occupied, virtual in generate_fermionic_excitations(rank, orbitals, particles)
    ]
    assert [(e.occupied, e.virtual) for e in singles_and_doubles(orbitals, particles)] == expected


@pytest.mark.parametrize(
    "excitation",
    [
        Excitation((0,), (1,)),
        Excitation((0,), (3,)),
        Excitation((4,), (1,)),
        Excitation((1, 3), (2, 5)),
        Excitation((0, 1), (2, 4)),
        Excitation((2, 4), (0, 5)),
    ],
)
@pytest.mark.parametrize("code", [jordan_wigner(3), bravyi_kitaev(3)], ids=lambda code: code.name)
def test_excitation_circuit_is_the_exponential_of_its_generator(excitation, code):
    from scipy.linalg import expm

    definition, call = excitation_call(excitation, 0, code)
    circuit = ParametrisedCircuit(6, 1, (call,), (definition,)).to_qiskit().assign_parameters([0.7])
    exact = expm(0.7 * generator(6, excitation.occupied, excitation.virtual))
    kept = code.encode(np.arange(64))
    # On every state, not only those that UCCSD reaches.
    np.testing.assert_allclose(Operator(circuit).data[np.ix_(kept, kept)], exact, atol=1e-12)


@pytest.mark.parametrize(("orbitals", "particles"), [(2, (1, 1)), (3, (1, 1)), (3, (2, 1)), (3, (2, 2)), (3, (3, 1))])
def test_pool_has_every_generalised_excitation_of_disjoint_orbitals_once(orbitals, particles):
    space = DeterminantSpace.sector(orbitals, particles).words
    acting = set()
    for rank in (1, 2):
        for sides in combinations(combinations(range(2 * orbitals), rank), 2):
            excitation = Excitation(*sides)
            if set(sides[0]) & set(sides[1]) or not len(excitation.applied(space)[0]):
                continue
            if np.isin(excitation.applied(space)[1], space).all():
                acting.add(sides)
    pool = generalised_pool(orbitals, particles)
    found = [tuple(sorted((e.occupied, e.virtual))) for operator in pool for e in operator]
    assert len(found) == len(set(found))
    missing = acting - set(found)
    if particles[0] == particles[1]:
        missing = {sides for sides in missing if Excitation(*sides).spin_flipped(orbitals).occupied != sides[1]}
    assert set(found) <= acting
    assert not missing


def test_closed_shell_pool_is_symmetric_in_spin():
    orbitals = 3
    flip = np.zeros((4**orbitals, 4**orbitals))
    for word in range(4**orbitals):
        image = word >> orbitals | (word & (1 << orbitals) - 1) << orbitals
        crossings = (word >> orbitals).bit_count() * (word & (1 << orbitals) - 1).bit_count()
        flip[image, word] = (-1) ** crossings
    for operator in generalised_pool(orbitals, (1, 1)):
        total = sum(generator(2 * orbitals, e.occupied, e.virtual) for e in operator)
        np.testing.assert_array_equal(flip @ total @ flip.T, total)


def test_pool_is_empty_where_nothing_can_move():
    assert generalised_pool(2, (2, 2)) == []
    assert generalised_pool(1, (1, 0)) == []


def test_excitation_that_vanishes_in_the_encoded_sector_is_refused():
    with pytest.raises(ValueError, match="parity"):
        excitation_call(Excitation((0,), (1,)), 0, parity(2, (2, 1)))


def test_paired_operators_leave_out_what_the_electrons_forbid():
    # All alpha orbitals are full: pairs cannot move, and singles move beta electrons only.
    assert paired_doubles_and_singles(2, (2, 1)) == [(Excitation((2,), (3,)),)]
