"""What every ansatz offers: its size, its circuit in every form, and its Hartree-Fock point."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from simulation.determinants import hartree_fock_word
from simulation.encoding import Encoding, jordan_wigner

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit import QuantumCircuit  # type: ignore[import-untyped]

    from simulation.circuits import ParametrisedCircuit


class Ansatz(ABC):
    """A parametrised state of `encoding.num_qubits` qubits.

    Args:
        num_orbitals: Spatial orbitals n.
        num_particles: Electrons (N_alpha, N_beta) of the Hartree-Fock determinant.
        reps: How often the ansatz's layer is repeated, each time with parameters of its own.
        encoding: How determinants look on the qubits; Jordan-Wigner where none is given.

    Raises:
        ValueError: `reps` is less than 1, the electrons do not fit the orbitals, or the encoding is for other
            orbitals or electrons.
    """

    name: str

    def __init__(
        self,
        num_orbitals: int,
        num_particles: tuple[int, int],
        reps: int = 1,
        encoding: Encoding | None = None,
    ) -> None:
        if reps < 1:
            raise ValueError(f"reps is {reps}, expected at least 1")
        if not all(0 <= count <= num_orbitals for count in num_particles):
            raise ValueError(f"{num_particles} electrons do not fit in {num_orbitals} orbitals")
        self.num_orbitals = num_orbitals
        self.num_particles = num_particles
        self.reps = reps
        self.encoding = jordan_wigner(num_orbitals) if encoding is None else encoding
        self._reference = _encoded_reference(self.encoding, num_orbitals, num_particles)

    @property
    def num_qubits(self) -> int:
        """Number of qubits: one a spin orbital, less those that the encoding leaves out."""
        return self.encoding.num_qubits

    @property
    def num_parameters(self) -> int:
        """Number of parameters."""
        return self.program.num_parameters

    @property
    def occupied_qubits(self) -> list[int]:
        """Qubits that are 1 in the Hartree-Fock determinant."""
        return [qubit for qubit in range(self.num_qubits) if self._reference >> qubit & 1]

    @property
    @abstractmethod
    def program(self) -> ParametrisedCircuit:
        """The circuit as data; the one source of every other form."""

    @abstractmethod
    def hartree_fock_parameters(self) -> NDArray[np.float64]:
        """Parameters (radian) of exactly the Hartree-Fock determinant, shape `(num_parameters,)`."""

    def circuit(self) -> QuantumCircuit:
        """The circuit for Qiskit, in primitive gates, its parameters in index order."""
        return self.program.to_qiskit()

    def qasm3(self) -> str:
        """The circuit as OpenQASM 3 text; parameter names sort in index order."""
        return self.program.to_qasm3()


def _encoded_reference(encoding: Encoding, num_orbitals: int, num_particles: tuple[int, int]) -> int:
    """The Hartree-Fock determinant on the qubits, once it is known that the encoding can hold it."""
    if encoding.num_orbitals != num_orbitals:
        raise ValueError(f"the encoding is for {encoding.num_orbitals} orbitals, the ansatz has {num_orbitals}")
    word = np.array([hartree_fock_word(num_orbitals, num_particles)], dtype=np.int64)
    encoded = encoding.encode(word)
    if (encoding.decode(encoded) != word).any():
        raise ValueError(
            f"the {encoding.name} encoding holds qubits {encoding.fixed} fixed, which {num_particles} electrons "
            "contradict: make it for these electrons"
        )
    return int(encoded[0])
