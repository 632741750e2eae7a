r"""Fermionic excitations: which ones UCCSD has, and the circuit of one.

An excitation from spin orbitals `occupied` to `virtual` stands for the rotation

.. math:: \exp\bigl(\theta (T - T^\dagger)\bigr), \qquad
          T = a^\dagger_{i} a^\dagger_{j} \cdots a_{a} a_{b} \cdots

with i, j occupied and a, b virtual, the convention (and the order) of qiskit-nature's UCC.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import combinations, pairwise, product

import numpy as np
from numpy.typing import NDArray

from simulation.bits import bit, signs
from simulation.circuits import Gate, GateDefinition


@dataclass(frozen=True)
class Excitation:
    """Spin orbitals (alpha 0 to n - 1, beta n to 2n - 1) that an excitation empties and fills, one or two each."""

    occupied: tuple[int, ...]
    virtual: tuple[int, ...]

    def spin_flipped(self, num_orbitals: int) -> Excitation:
        """The excitation with alpha and beta exchanged, indices in increasing order of spin."""

        def flip(orbital: int) -> int:
            return orbital + num_orbitals if orbital < num_orbitals else orbital - num_orbitals

        return Excitation(tuple(sorted(map(flip, self.occupied))), tuple(sorted(map(flip, self.virtual))))

    def applied(self, words: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """T on determinants: which positions survive, the determinants they become, and the signs.

        T moves electrons from `virtual` back to `occupied`, so it survives where `virtual` is filled.
        """
        filled = sum(1 << orbital for orbital in self.virtual)
        empty = sum(1 << orbital for orbital in self.occupied)
        (survivors,) = np.nonzero((words & (filled | empty)) == filled)
        moved = words[survivors]
        sign = np.ones(len(survivors))
        for orbital in (*reversed(self.virtual), *reversed(self.occupied)):  # the rightmost operator acts first
            flip = bit(orbital)
            sign *= signs(moved & (flip - 1))
            moved = moved ^ flip
        return survivors, moved, sign


def singles_and_doubles(num_orbitals: int, num_particles: tuple[int, int]) -> list[Excitation]:
    """All spin-preserving single and double excitations of the Hartree-Fock determinant, in qiskit-nature's order.

    Singles are alpha, then beta; doubles are the pairs of singles in that order, each target once.
    """
    alpha, beta = num_particles
    singles = [
        *product(range(alpha), range(alpha, num_orbitals)),
        *product(range(num_orbitals, num_orbitals + beta), range(num_orbitals + beta, 2 * num_orbitals)),
    ]
    doubles = (
        Excitation((i, j), (min(a, b), max(a, b))) for (i, a), (j, b) in combinations(singles, 2) if i != j and a != b
    )
    return [*(Excitation((i,), (a,)) for i, a in singles), *dict.fromkeys(doubles)]


def excitation_call(excitation: Excitation, parameter: int) -> tuple[GateDefinition, Gate]:
    """The circuit of one excitation: the definition it needs, and its call with the parameter.

    The determinants it mixes differ on the excitation's qubits only, with a sign from the parity of the qubits
    between them (the Jordan-Wigner chain). `definition` handles both; the sign of the convention goes into the angle.
    """
    orbitals = (*excitation.occupied, *excitation.virtual)
    ordered = sorted(orbitals)
    chain = [q for low, high in zip(ordered[::2], ordered[1::2], strict=True) for q in range(low + 1, high)]
    word = np.array([sum(1 << orbital for orbital in excitation.virtual)], dtype=np.int64)
    _, _, sign = excitation.applied(word)
    definition = _definition(len(excitation.occupied), len(chain))
    return definition, Gate(definition.name, (*orbitals, *chain), parameter, float(sign[0]))


@functools.cache
def _definition(rank: int, chain_length: int) -> GateDefinition:
    r"""The rotation |11..00> -> cos t |11..00> - sin t |00..11>, times the parity of the chain.

    CX gates first write the two determinants as |1 0 0 1> and |0 0 0 1> on the qubits (i, j, b, a): only i still tells
    them apart, and a rotation of i controlled by the others is all that remains. The chain's parity is gathered in its
    last qubit and turns the angle by a CZ, since the rotation flips i in every term.
    """
    occupied, virtual = list(range(rank)), list(range(rank, 2 * rank))
    chain = list(range(2 * rank, 2 * rank + chain_length))
    target, flag = occupied[0], virtual[0]
    prepare = [Gate("cx", pair) for pair in pairwise(chain)]
    if chain:
        prepare.append(Gate("cz", (chain[-1], target)))
    prepare += [Gate("cx", (target, other)) for other in occupied[1:]]
    prepare += [Gate("cx", (flag, other)) for other in virtual[1:]]
    prepare.append(Gate("cx", (target, flag)))
    controls = {flag: 1} | {other: 0 for other in (*occupied[1:], *virtual[1:])}
    body = (*prepare, *_controlled_rotation(target, controls), *reversed(prepare))
    return GateDefinition(f"ucc{rank}_{chain_length}", 2 * rank + chain_length, body)


def _controlled_rotation(target: int, controls: dict[int, int]) -> list[Gate]:
    """RY(2 t) on the target where every control has its value, as a Gray-code sequence of RY and CX.

    Uniformly controlled rotations, Mottonen et al., Phys. Rev. Lett. 93, 130502 (2004): a CX before and after turns RY
    into its inverse, so the angles +-2 t / 2^k add up for the wanted values of the k controls and cancel for others.
    """
    qubits = list(controls)
    wanted = sum(value << position for position, value in enumerate(controls.values()))
    count = 1 << len(qubits)
    gates = []
    for step in range(count):
        code, following = (s % count ^ s % count >> 1 for s in (step, step + 1))
        parity = (code & wanted).bit_count() & 1
        gates.append(Gate("ry", (target,), 0, (2 - 4 * parity) / count))
        gates.append(Gate("cx", (qubits[(code ^ following).bit_length() - 1], target)))
    return gates
