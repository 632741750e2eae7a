r"""Fermionic excitations: those of UCCSD, of k-UpCCGSD and of ADAPT's pool.

An excitation from spin orbitals `occupied` to `virtual` stands for the rotation

.. math:: \exp\bigl(\theta (T - T^\dagger)\bigr), \qquad
          T = a^\dagger_{i} a^\dagger_{j} \cdots a_{a} a_{b} \cdots

with i, j in `occupied` and a, b in `virtual`, the convention (and the order) of qiskit-nature's UCC. In a generalised
excitation the names mean no more than the two sides: either may be filled in the Hartree-Fock determinant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from simulation.bits import bit, signs


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

    def possible(self, num_orbitals: int, num_particles: tuple[int, int]) -> bool:
        """Whether it conserves N_alpha and N_beta, and mixes any determinants that have these numbers."""
        for spin, electrons in enumerate(num_particles):
            leaving, arriving = (
                sum(orbital // num_orbitals == spin for orbital in side) for side in (self.occupied, self.virtual)
            )
            if leaving != arriving or leaving > min(electrons, num_orbitals - electrons):
                return False
        return True

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


Operator = tuple[Excitation, ...]
"""Excitations that share one parameter, in the order in which they act."""


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


def paired_doubles_and_singles(num_orbitals: int, num_particles: tuple[int, int]) -> list[Operator]:
    """Moves of an electron pair between any two orbitals, then generalised singles, both spins with one parameter.

    What vanishes for these electrons is left out. Every operator commutes with S^2 exactly. Lee, Huggins, Head-Gordon
    and Whaley, J. Chem. Theory Comput. 15, 311 (2019).
    """
    n, moves = num_orbitals, list(combinations(range(num_orbitals), 2))
    pairs: Iterator[Operator] = ((Excitation((p, p + n), (q, q + n)),) for p, q in moves)
    singles: Iterator[Operator] = ((Excitation((p,), (q,)), Excitation((p + n,), (q + n,))) for p, q in moves)
    return [
        kept
        for operator in (*pairs, *singles)
        if (kept := tuple(excitation for excitation in operator if excitation.possible(n, num_particles)))
    ]


def generalised_pool(num_orbitals: int, num_particles: tuple[int, int]) -> list[Operator]:
    """ADAPT's pool: single and double excitations between any orbitals, singles first, in order of their orbitals.

    They conserve N_alpha and N_beta, and what vanishes for these electrons is left out; so are doubles that pass an
    electron through an orbital they leave as it is. In a closed shell an excitation and its spin-flipped partner are
    one operator, and those whose partner is their own inverse, which drive a singlet out of the singlets, are left out.
    Grimsley, Economou, Barnes and Mayhall, Nat. Commun. 10, 3007 (2019).
    """
    possible = (e for e in _generalised(num_orbitals) if e.possible(num_orbitals, num_particles))
    if num_particles[0] != num_particles[1]:
        return [(excitation,) for excitation in possible]
    return list(_spin_partners(possible, num_orbitals))


def _generalised(num_orbitals: int) -> Iterator[Excitation]:
    """Each pair of disjoint sides once, the smaller one as `occupied`."""
    for rank in (1, 2):
        for occupied, virtual in combinations(combinations(range(2 * num_orbitals), rank), 2):
            if not set(occupied) & set(virtual):
                yield Excitation(occupied, virtual)


def _spin_partners(excitations: Iterable[Excitation], num_orbitals: int) -> Iterator[Operator]:
    seen: set[frozenset[tuple[int, ...]]] = set()
    for excitation in excitations:
        partner = excitation.spin_flipped(num_orbitals)
        if partner.occupied == excitation.virtual or frozenset((excitation.occupied, excitation.virtual)) in seen:
            continue
        # The partner may come again, its sides in the other order.
        seen.add(frozenset((partner.occupied, partner.virtual)))
        yield (excitation,) if partner == excitation else (excitation, partner)
