"""Products of fermionic excitation rotations on the Hartree-Fock determinant: UCCSD, k-UpCCGSD and ADAPT."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from simulation.ansatz.base import Ansatz
from simulation.circuits import Gate, GateDefinition, ParametrisedCircuit
from simulation.excitation_circuits import excitation_call
from simulation.excitations import Excitation, Operator, paired_doubles_and_singles, singles_and_doubles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.encoding import Encoding


class ExcitationAnsatz(Ansatz):
    r"""A product of rotations, the first of them acting first.

    .. math:: |\psi(\theta)\rangle = \prod_m \exp\bigl(\theta_{i(m)} (T_m - T_m^\dagger)\bigr) |\mathrm{HF}\rangle

    It conserves N_alpha and N_beta exactly, and the amplitudes of the determinants are real, so an engine may work on
    the real CI vector of that sector, whatever the encoding. The Hartree-Fock point is all zeros.
    """

    @abstractmethod
    def _layer(self) -> list[tuple[Excitation, int]]:
        """One repetition in the order in which it acts: each excitation with the index of its parameter."""

    @cached_property
    def _rotations(self) -> list[tuple[Excitation, int]]:
        layer = self._layer()
        size = max((index for _, index in layer), default=-1) + 1
        return [(excitation, rep * size + index) for rep in range(self.reps) for excitation, index in layer]

    @property
    def excitations(self) -> list[Excitation]:
        """The rotations of all repetitions in the order in which they act."""
        return [excitation for excitation, _ in self._rotations]

    @property
    def parameter_indices(self) -> list[int]:
        """Index of the parameter that is each rotation's angle."""
        return [index for _, index in self._rotations]

    @property
    def num_parameters(self) -> int:
        """Number of parameters."""
        return max(self.parameter_indices, default=-1) + 1

    @cached_property
    def program(self) -> ParametrisedCircuit:
        """X on the occupied qubits, then one call an excitation."""
        instructions = [Gate("x", (qubit,)) for qubit in self.occupied_qubits]
        definitions: dict[str, GateDefinition] = {}
        for excitation, parameter in self._rotations:
            definition, call = excitation_call(excitation, parameter, self.encoding)
            definitions[definition.name] = definition
            instructions.append(call)
        used = tuple(definitions[name] for name in sorted(definitions))
        return ParametrisedCircuit(self.num_qubits, self.num_parameters, tuple(instructions), used)

    def hartree_fock_parameters(self) -> NDArray[np.float64]:
        """All zero: every rotation is the identity."""
        return np.zeros(self.num_parameters)


class UCCSD(ExcitationAnsatz):
    """Trotterised unitary coupled cluster, singles and doubles, in qiskit-nature's order.

    In a closed shell an excitation and its spin-flipped partner share one parameter; `share_spin=False` gives each its
    own, as qiskit-nature does. Open shells have no such partners and never share.

    Sharing costs nothing in accuracy (STO-3G minima move by less than 0.001 mHa in LiH, BeH2, H2O, NH3 and BH, by
    0.003 mHa in N2) and halves the parameters (H2O 75 instead of 140). The parameters are independent, so the spin is a
    property of the minimum and not of the form: other spins mix in at first order in the angles at arbitrary ones, and
    at third order, by the Trotter product, at spin-adapted ones (<S^2> at the minima is below 2e-6 in those molecules,
    4e-6 in N2). One pair of electrons in two orbitals (H2) has an exact <S^2>.

    The Hartree-Fock point is not stationary: doubles have a gradient there.
    """

    name = "UCCSD"

    def __init__(
        self,
        num_orbitals: int,
        num_particles: tuple[int, int],
        reps: int = 1,
        encoding: Encoding | None = None,
        *,
        share_spin: bool = True,
    ) -> None:
        super().__init__(num_orbitals, num_particles, reps, encoding)
        self._shared = share_spin and num_particles[0] == num_particles[1]

    def _layer(self) -> list[tuple[Excitation, int]]:
        indices: dict[Excitation, int] = {}
        count = 0
        for excitation in singles_and_doubles(self.num_orbitals, self.num_particles):
            partner = excitation.spin_flipped(self.num_orbitals) if self._shared else excitation
            indices[excitation] = indices.get(partner, count)
            count += indices[excitation] == count
        return list(indices.items())


class KUpCCGSD(ExcitationAnsatz):
    """Pair moves between any two orbitals, then generalised singles, k = `reps` times.

    k n (n - 1) parameters where nothing vanishes: a pair move and a single (both spins with one parameter) for each of
    the n (n - 1) / 2 pairs of orbitals. Every rotation commutes with S^2, so <S^2> is exactly that of the
    Hartree-Fock determinant. The singles act after the pairs: they turn the orbitals of the paired state.

    The Hartree-Fock point is not stationary, but singles between orbitals of different symmetry have no gradient there,
    nor anywhere that a gradient method gets to from there: H2O (STO-3G, k = 2) ends 8.2 mHa above FCI from zeros and
    0.2 mHa above it from parameters of 0.1 drawn at random. Lee, Huggins, Head-Gordon and Whaley, J. Chem. Theory
    Comput. 15, 311 (2019).
    """

    name = "kUpCCGSD"

    def _layer(self) -> list[tuple[Excitation, int]]:
        return _flattened(paired_doubles_and_singles(self.num_orbitals, self.num_particles))


class AdaptAnsatz(ExcitationAnsatz):
    """A product of operators chosen during a run, one parameter each, in order of appending (ADAPT-VQE).

    As in UCCSD the spin is that of the minimum, not of the form. Whether the Hartree-Fock point is stationary is the
    choice of the operators. Grimsley, Economou, Barnes and Mayhall, Nat. Commun. 10, 3007 (2019).

    Args:
        num_orbitals: Spatial orbitals.
        num_particles: Electrons (N_alpha, N_beta) of the Hartree-Fock determinant.
        operators: Operators, for example from `excitations.generalised_pool`; the first acts first.
        encoding: As in `Ansatz`.

    Raises:
        ValueError: as in `Ansatz`; an operator is empty, or holds an excitation that vanishes for these electrons or
            does not conserve them.
    """

    name = "ADAPT"

    def __init__(
        self,
        num_orbitals: int,
        num_particles: tuple[int, int],
        operators: Sequence[Operator] = (),
        encoding: Encoding | None = None,
    ) -> None:
        super().__init__(num_orbitals, num_particles, 1, encoding)
        for operator in operators:
            if not operator:
                raise ValueError("an operator is empty: expected at least one excitation")
            for excitation in operator:
                if not excitation.possible(num_orbitals, num_particles):
                    raise ValueError(f"{excitation} vanishes for {num_particles} electrons or does not conserve them")
        self.operators = tuple(operators)

    def _layer(self) -> list[tuple[Excitation, int]]:
        return _flattened(self.operators)


def _flattened(operators: Sequence[Operator]) -> list[tuple[Excitation, int]]:
    return [(excitation, index) for index, operator in enumerate(operators) for excitation in operator]
