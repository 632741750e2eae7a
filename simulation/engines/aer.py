"""The exact Aer engine: any circuit, the state from Qiskit Aer, the energy from a real matrix, exact gradients.

The gradient takes Aer's state and one reverse pass over the gates (adjoint
differentiation; Jones and Gacon, arXiv:2009.02823), instead of an energy or two for every parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulation.engines.aer_backend import backend_name, parallel_threads
from simulation.engines.base import Engine, EngineError, Evaluation
from simulation.engines.circuit_states import CircuitStates
from simulation.engines.direct_states import DirectStates
from simulation.observables import Observables, measure

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit_aer import AerSimulator

    from simulation.ansatz import Ansatz
    from simulation.encoding import Encoding
    from simulation.mapping import QubitHamiltonian

MAX_QUBITS = 20
"""Largest circuit (seconds an evaluation); memory would allow a few more, patience would not."""

_MAX_STORED_ELEMENTS = 50_000_000


def check_fits(num_qubits: int, max_qubits: int = MAX_QUBITS) -> None:
    """Refuse a state that is too large.

    Raises:
        EngineError: more than `max_qubits` qubits.
    """
    if num_qubits > max_qubits:
        raise EngineError(
            f"the circuit has {num_qubits} qubits, Qiskit Aer takes at most {max_qubits} here: "
            "use frozen_core, a smaller active_space, or the UCC family with the sector engine"
        )


class AerEngine(Engine):
    """Energies and gradients of a circuit, exact to rounding.

    Args:
        ansatz: Any ansatz.
        hamiltonian: Real Hamiltonian on as many qubits.
        simulator: Prepares the states; without one Aer does, on the CPU and without a job for each.
        device: Where it runs, 'CPU' or 'GPU'.
    """

    name = "aer"
    gradient_method = "adjoint"

    def __init__(
        self,
        ansatz: Ansatz,
        hamiltonian: QubitHamiltonian,
        simulator: AerSimulator | None = None,
        device: str = "CPU",
    ) -> None:
        super().__init__(ansatz.num_parameters, backend=backend_name("statevector", device), device=device)
        self._encoding = ansatz.encoding
        self._gates = _GateArrays(ansatz)
        self._product = HamiltonianProduct(hamiltonian)
        self._states: CircuitStates | DirectStates = (
            DirectStates(ansatz.program, parallel_threads())
            if simulator is None
            else CircuitStates(ansatz.program, simulator)
        )

    def state(self, parameters: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Aer's state vector up to a global phase, shape `(2^num_qubits,)`."""
        self._check_shape(parameters)
        return self._states.at(parameters)

    def _observables(self, parameters: NDArray[np.float64]) -> Observables:
        """<N>, <S_z> and <S^2> over the whole Fock space."""
        return observables_of(self.state(parameters), self._encoding)

    def _energy(self, parameters: NDArray[np.float64]) -> Evaluation:
        evaluation, _, _ = self._forward(parameters)
        return evaluation

    def _energy_and_gradient(self, parameters: NDArray[np.float64]) -> Evaluation:
        from simulation.engines.circuit_kernels import reverse

        evaluation, state, image = self._forward(parameters)
        gates = self._gates
        slopes = np.zeros(len(gates.kind))
        reverse(state, image, gates.kind, gates.a, gates.b, gates.angles(parameters), slopes)
        return Evaluation(evaluation.energy, gates.gradient(slopes, self.num_parameters), evaluation.variance)

    def _forward(self, parameters: NDArray[np.float64]) -> tuple[Evaluation, NDArray, NDArray]:
        from simulation.engines.circuit_kernels import real_dot

        state = self.state(parameters)
        image = self._product(state)
        energy = real_dot(state, image)
        return Evaluation(energy, variance=max(real_dot(image, image) - energy**2, 0.0)), state, image


def expectation_of(state: NDArray[np.complex128], hamiltonian: QubitHamiltonian) -> float:
    """<H> (Hartree) of a state of all qubits, shape `(2^num_qubits,)`."""
    from simulation.engines.circuit_kernels import real_dot

    return real_dot(state, HamiltonianProduct(hamiltonian)(state))


def observables_of(state: NDArray[np.complex128], encoding: Encoding) -> Observables:
    """<N>, <S_z> and <S^2> of a state of all qubits, shape `(2^num_qubits,)`."""
    words = encoding.decode(np.arange(len(state), dtype=np.int64))
    return measure(words, state, encoding.num_orbitals)


class _GateArrays:
    """The circuit's gates as the arrays that the compiled kernel takes."""

    def __init__(self, ansatz: Ansatz) -> None:
        from simulation.engines.circuit_kernels import KINDS

        gates = ansatz.program.gates
        self.kind = np.array([KINDS[gate.name] for gate in gates], dtype=np.int64)
        self.a = np.array([gate.qubits[0] for gate in gates], dtype=np.int64)
        self.b = np.array([gate.qubits[-1] for gate in gates], dtype=np.int64)
        self._rotations = np.array([i for i, gate in enumerate(gates) if gate.parameter is not None], dtype=np.int64)
        self._parameter = np.array([g.parameter for g in gates if g.parameter is not None], dtype=np.int64)
        self._factor = np.array([g.factor for g in gates if g.parameter is not None], dtype=np.float64)

    def angles(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        angles = np.zeros(len(self.kind))
        angles[self._rotations] = self._factor * np.asarray(parameters)[self._parameter]
        return angles

    def gradient(self, slopes: NDArray[np.float64], num_parameters: int) -> NDArray[np.float64]:
        weights = self._factor * slopes[self._rotations]
        return np.bincount(self._parameter, weights=weights, minlength=num_parameters).astype(np.float64)


class HamiltonianProduct:
    """H times a state: by a stored sparse matrix where it fits, term by term where it does not."""

    def __init__(self, hamiltonian: QubitHamiltonian) -> None:
        self._groups = hamiltonian.groups
        elements = len(self._groups.x) << hamiltonian.num_qubits
        self._rows: tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.float64]] | None = None
        if elements <= _MAX_STORED_ELEMENTS:
            matrix = hamiltonian.csr()
            self._rows = matrix.indptr.astype(np.int64), matrix.indices.astype(np.uint32), matrix.data

    def __call__(self, state: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """H (Hartree) times a state, shape as given."""
        from simulation.pauli_kernels import apply_terms, multiply

        result = np.empty_like(state)
        if self._rows is not None:
            multiply(*self._rows, state, result)
        else:
            apply_terms(state, *self._groups, result)
        return result
