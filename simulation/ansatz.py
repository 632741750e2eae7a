"""Parametrised trial states: what every ansatz offers, and the ones that options can name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from simulation.circuits import Gate, GateDefinition, ParametrisedCircuit
from simulation.determinants import hartree_fock_word
from simulation.excitations import Excitation, excitation_call, singles_and_doubles

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit import QuantumCircuit  # type: ignore[import-untyped]


class Ansatz(ABC):
    """A parametrised state of `2 * num_orbitals` qubits under the Jordan-Wigner mapping.

    Args:
        num_orbitals: Spatial orbitals.
        num_particles: Electrons (N_alpha, N_beta) of the Hartree-Fock determinant.
        reps: How often the ansatz's layer is repeated, each time with parameters of its own.

    Raises:
        ValueError: `reps` is less than 1, or the electrons do not fit the orbitals.
    """

    name: str

    def __init__(self, num_orbitals: int, num_particles: tuple[int, int], reps: int = 1) -> None:
        if reps < 1:
            raise ValueError(f"reps is {reps}, expected at least 1")
        if not all(0 <= count <= num_orbitals for count in num_particles):
            raise ValueError(f"{num_particles} electrons do not fit in {num_orbitals} orbitals")
        self.num_orbitals = num_orbitals
        self.num_particles = num_particles
        self.reps = reps

    @property
    def num_qubits(self) -> int:
        """Number of qubits, one a spin orbital."""
        return 2 * self.num_orbitals

    @property
    def num_parameters(self) -> int:
        """Number of parameters."""
        return self.program.num_parameters

    @property
    def occupied_qubits(self) -> list[int]:
        """Qubits that are 1 in the Hartree-Fock determinant."""
        word = hartree_fock_word(self.num_orbitals, self.num_particles)
        return [qubit for qubit in range(self.num_qubits) if word >> qubit & 1]

    @property
    @abstractmethod
    def program(self) -> ParametrisedCircuit:
        """The circuit as data; the one source of every other form."""

    @abstractmethod
    def hartree_fock_parameters(self) -> NDArray[np.float64]:
        """Parameters (radian) at which the state is exactly the Hartree-Fock determinant."""

    def circuit(self) -> QuantumCircuit:
        """The circuit for Qiskit, in primitive gates, its parameters in index order."""
        return self.program.to_qiskit()

    def qasm3(self) -> str:
        """The circuit as OpenQASM 3 text; parameter names sort in index order."""
        return self.program.to_qasm3()


class ExcitationAnsatz(Ansatz):
    """A product of fermionic excitation rotations on the Hartree-Fock determinant.

    It conserves N_alpha and N_beta, so an engine may work in that sector alone.
    """

    @property
    @abstractmethod
    def excitations(self) -> list[Excitation]:
        """The rotations in the order in which they act."""

    @property
    @abstractmethod
    def parameter_indices(self) -> list[int]:
        """Index of the parameter that is each rotation's angle."""

    @cached_property
    def program(self) -> ParametrisedCircuit:
        """X on the occupied qubits, then one call an excitation."""
        instructions = [Gate("x", (qubit,)) for qubit in self.occupied_qubits]
        definitions: dict[str, GateDefinition] = {}
        for excitation, parameter in zip(self.excitations, self.parameter_indices, strict=True):
            definition, call = excitation_call(excitation, parameter)
            definitions[definition.name] = definition
            instructions.append(call)
        used = tuple(definitions[name] for name in sorted(definitions))
        return ParametrisedCircuit(
            self.num_qubits, max(self.parameter_indices, default=-1) + 1, tuple(instructions), used
        )

    def hartree_fock_parameters(self) -> NDArray[np.float64]:
        """All zero: every rotation is the identity."""
        return np.zeros(self.num_parameters)


class UCCSD(ExcitationAnsatz):
    """Trotterised unitary coupled cluster, singles and doubles, in qiskit-nature's order.

    In a closed shell an excitation and its spin-flipped partner share one parameter; `share_spin=False` gives each its
    own, as qiskit-nature does. Open shells have no such partners and never share.

    Sharing costs nothing in accuracy (STO-3G minima move by less than 0.001 mHa in LiH, BeH2, H2O, NH3 and BH, by
    0.003 mHa in N2) and halves the parameters (H2O 75 instead of 140). Spin is as pure as the Trotter product allows,
    not exactly so: partners that touch a common orbital do not commute (<S^2> below 2e-6 in those molecules, 4e-6 in
    N2).
    """

    name = "UCCSD"

    def __init__(
        self, num_orbitals: int, num_particles: tuple[int, int], reps: int = 1, *, share_spin: bool = True
    ) -> None:
        super().__init__(num_orbitals, num_particles, reps)
        self._layer = singles_and_doubles(num_orbitals, num_particles)
        shared = share_spin and num_particles[0] == num_particles[1]
        self._layer_indices = _parameter_indices(self._layer, num_orbitals if shared else None)

    @property
    def excitations(self) -> list[Excitation]:
        """The rotations of all layers."""
        return self._layer * self.reps

    @property
    def parameter_indices(self) -> list[int]:
        """The parameters of all layers, each layer after the one before."""
        size = max(self._layer_indices, default=-1) + 1
        return [layer * size + index for layer in range(self.reps) for index in self._layer_indices]


class EfficientSU2(Ansatz):
    """Layers of RY and RZ on every qubit with CX chains between them, as Qiskit's `efficient_su2`.

    It conserves neither the number of electrons nor the spin: the optimum may belong to another charge state of the
    molecule, which the verdict on the result finds out. The Hartree-Fock point is stationary (a single rotation leads
    to no determinant that the Hamiltonian couples), so a gradient method started there stays there.
    """

    name = "EfficientSU2"

    def __init__(self, num_orbitals: int, num_particles: tuple[int, int], reps: int = 2) -> None:
        super().__init__(num_orbitals, num_particles, reps)

    @cached_property
    def program(self) -> ParametrisedCircuit:
        """`reps` + 1 rotation layers; entanglement 'reverse_linear' (the last pair first)."""
        n = self.num_qubits
        instructions: list[Gate] = []
        for layer in range(self.reps + 1):
            if layer:
                instructions += [Gate("cx", pair) for pair in reversed(list(pairwise(range(n))))]
            for offset, rotation in ((0, "ry"), (n, "rz")):
                instructions += [Gate(rotation, (qubit,), 2 * n * layer + offset + qubit) for qubit in range(n)]
        return ParametrisedCircuit(n, 2 * n * (self.reps + 1), tuple(instructions))

    def hartree_fock_parameters(self) -> NDArray[np.float64]:
        """Zero but for the last RY layer, which is pi on the occupied qubits: CX gates leave |0...0> as it is."""
        parameters = np.zeros(self.num_parameters)
        parameters[[2 * self.num_qubits * self.reps + qubit for qubit in self.occupied_qubits]] = np.pi
        return parameters


ANSAETZE: dict[str, type[Ansatz]] = {UCCSD.name: UCCSD, EfficientSU2.name: EfficientSU2}
"""Every ansatz by its name in the options."""


def _parameter_indices(excitations: list[Excitation], num_orbitals: int | None) -> list[int]:
    """Consecutive indices in order of first appearance; partners share one where `num_orbitals` is given."""
    indices: dict[Excitation, int] = {}
    for excitation in excitations:
        partner = excitation if num_orbitals is None else excitation.spin_flipped(num_orbitals)
        indices[excitation] = indices.get(partner, len(set(indices.values())))
    return [indices[excitation] for excitation in excitations]
