"""Layers of rotations and entangling gates that know nothing of molecules, as Qiskit's circuit library has them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np

from simulation.ansatz.base import Ansatz
from simulation.circuits import Gate, GateDefinition, ParametrisedCircuit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.encoding import Encoding

DEFAULT_REPS = 2


class _RotationLayers(Ansatz):
    """`reps` + 1 layers of rotations on every qubit, with CX chains between them, the last pair first.

    They conserve neither the number of electrons nor the spin: the optimum may belong to another charge state of the
    molecule, which the verdict on the result finds out. The Hartree-Fock point is stationary (a single rotation leads
    to no determinant that the Hamiltonian couples), so a gradient method started there stays there.
    """

    _rotations: tuple[str, ...]
    """Gates of a layer, `ry` first."""

    def __init__(
        self,
        num_orbitals: int,
        num_particles: tuple[int, int],
        reps: int = DEFAULT_REPS,
        encoding: Encoding | None = None,
    ) -> None:
        super().__init__(num_orbitals, num_particles, reps, encoding)

    @cached_property
    def program(self) -> ParametrisedCircuit:
        """The circuit; parameters run over the qubits, then over the gates of a layer, then over the layers."""
        n = self.num_qubits
        instructions: list[Gate] = []
        parameter = 0
        for layer in range(self.reps + 1):
            if layer:
                instructions += [Gate("cx", pair) for pair in reversed(list(pairwise(range(n))))]
            for rotation in self._rotations:
                instructions += [Gate(rotation, (qubit,), parameter + qubit) for qubit in range(n)]
                parameter += n
        return ParametrisedCircuit(n, parameter, tuple(instructions))

    def hartree_fock_parameters(self) -> NDArray[np.float64]:
        """Zero but for the last RY layer, which is pi on the occupied qubits: CX gates leave |0...0> as it is."""
        parameters = np.zeros(self.num_parameters)
        last = len(self._rotations) * self.num_qubits * self.reps
        parameters[[last + qubit for qubit in self.occupied_qubits]] = np.pi
        return parameters


class EfficientSU2(_RotationLayers):
    """RY and RZ on every qubit, 2 q (reps + 1) parameters on q qubits; Qiskit's `efficient_su2`.

    Conserves nothing; stationary at Hartree-Fock.
    """

    name = "EfficientSU2"
    _rotations = ("ry", "rz")


class RealAmplitudes(_RotationLayers):
    """RY on every qubit, q (reps + 1) parameters on q qubits; Qiskit's `real_amplitudes`.

    Its amplitudes are real. Conserves nothing; stationary at Hartree-Fock.
    """

    name = "RealAmplitudes"
    _rotations = ("ry",)


class ExcitationPreserving(Ansatz):
    r"""RZ on every qubit and XX + YY on every pair, from the Hartree-Fock determinant.

    Qiskit's `excitation_preserving` (mode 'iswap', entanglement 'full'): a layer is RZ(theta) on each of the q qubits,
    then for each pair, first qubit slowest,

    .. math:: \exp\bigl(-\tfrac{i}{2} \theta (X_a X_b + Y_a Y_b)\bigr) :
              |01\rangle \to \cos\theta |01\rangle - i \sin\theta |10\rangle

    and RZ once more at the end: reps (q + q (q - 1) / 2) + q parameters. It conserves the number of ones, which is
    the number of electrons N under Jordan-Wigner, but neither N_alpha nor the spin: pairs join both spins. The
    Hartree-Fock point is all zeros (up to a global phase), and stationary.

    Raises:
        ValueError: as in `Ansatz`; an encoding other than Jordan-Wigner.
    """

    name = "ExcitationPreserving"

    def __init__(
        self,
        num_orbitals: int,
        num_particles: tuple[int, int],
        reps: int = DEFAULT_REPS,
        encoding: Encoding | None = None,
    ) -> None:
        super().__init__(num_orbitals, num_particles, reps, encoding)
        if self.encoding.name != "jordan_wigner":
            raise ValueError(
                f"{self.name} conserves the number of ones, which is the number of electrons under jordan_wigner only: "
                f"the encoding is {self.encoding.name!r}"
            )

    @cached_property
    def program(self) -> ParametrisedCircuit:
        """The circuit; parameters run in the order of its instructions."""
        instructions = [Gate("x", (qubit,)) for qubit in self.occupied_qubits]
        count = 0
        for name, qubits in self._parametrised_gates():
            instructions.append(Gate(name, qubits, count))
            count += 1
        return ParametrisedCircuit(self.num_qubits, count, tuple(instructions), (_XX_PLUS_YY,))

    def hartree_fock_parameters(self) -> NDArray[np.float64]:
        """All zero: every gate is the identity."""
        return np.zeros(self.num_parameters)

    def _parametrised_gates(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        qubits = range(self.num_qubits)
        for _ in range(self.reps):
            yield from (("rz", (qubit,)) for qubit in qubits)
            yield from ((_XX_PLUS_YY.name, pair) for pair in combinations(qubits, 2))
        yield from (("rz", (qubit,)) for qubit in qubits)


# The first CX leaves the parity of the pair in qubit 1; where it is odd, the two RX of qubit 0 add up.
_XX_PLUS_YY = GateDefinition(
    "xxyy",
    2,
    (
        Gate("cx", (0, 1)),
        Gate("rx", (0,), 0),
        Gate("cz", (1, 0)),
        Gate("rx", (0,), 0, -1.0),
        Gate("cz", (1, 0)),
        Gate("cx", (0, 1)),
    ),
)
