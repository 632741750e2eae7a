"""Samples of measured groups: drawn from Aer's exact state, or by Aer from circuits under noise or another method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from simulation.engines.circuit_states import CircuitStates, parameter_columns
from simulation.engines.sampling_kernels import turn_to_basis

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit import QuantumCircuit  # type: ignore[import-untyped]
    from qiskit_aer import AerSimulator

    from simulation.circuits import ParametrisedCircuit
    from simulation.engines.measurement import MeasurementGroup
    from simulation.engines.noise import Noise

TRANSPILER_SEED = 0
"""Layouts and routes are searched at random: the same circuit must always become the same one."""

_CIRCUITS_AT_ONCE = 512
_MAX_SEED = 2**31 - 1


class Samples(NamedTuple):
    """Distinct outcomes of one group as words of bits, in increasing order, and how often each was seen."""

    outcomes: NDArray[np.int64]
    counts: NDArray[np.int64]


class Sampler(Protocol):
    """Draws samples of every group at given points."""

    def draw(self, points: NDArray[np.float64], rng: np.random.Generator) -> Iterator[list[Samples]]:
        """For each point, shape `(m, num_parameters)`, the samples of each group."""


class StateSampler:
    """Samples of the state vector without noise: one state a point, however many groups.

    Args:
        states: The circuit's states.
        groups: What is measured.
        shots: Samples of each group.
    """

    def __init__(self, states: CircuitStates, groups: Sequence[MeasurementGroup], shots: int) -> None:
        self._states = states
        self._groups = groups
        self._shots = shots

    def draw(self, points: NDArray[np.float64], rng: np.random.Generator) -> Iterator[list[Samples]]:
        """The samples; see `Sampler.draw`."""
        for state in self._states.along(points):
            yield [self._sample(state, group, rng) for group in self._groups]

    def _sample(self, state: NDArray[np.complex128], group: MeasurementGroup, rng: np.random.Generator) -> Samples:
        turned = state.copy()
        turn_to_basis(turned, group.x, group.z)
        cumulative = np.cumsum(turned.real**2 + turned.imag**2)
        # Scaled by the norm as summed here, so that rounding can lead to no outcome beyond the last.
        drawn = np.searchsorted(cumulative, rng.random(self._shots) * cumulative[-1], side="right")
        return Samples(*np.unique(drawn.astype(np.int64), return_counts=True))


class CircuitSampler:
    """Samples that Aer draws from one circuit a group, under noise or by another method than the state vector.

    Args:
        program: The circuit; it is transpiled once, with its parameters left free.
        groups: What is measured.
        shots: Samples of each group.
        simulator: With the noise model and the method.
        noise: What the circuit must be made of; None for Aer's own gates.
        optimization_level: Of Qiskit's transpiler.
    """

    def __init__(
        self,
        program: ParametrisedCircuit,
        groups: Sequence[MeasurementGroup],
        shots: int,
        simulator: AerSimulator,
        noise: Noise | None,
        optimization_level: int,
    ) -> None:
        self._shots = shots
        self._simulator = simulator
        circuit, qubits = _transpiled(program, simulator, noise, optimization_level)
        turns = {letter: _turn(letter, simulator, noise) for letter in "XY"}
        self._circuits = [_measuring(circuit, qubits, group, turns) for group in groups]
        self._columns = parameter_columns(program, circuit)

    def draw(self, points: NDArray[np.float64], rng: np.random.Generator) -> Iterator[list[Samples]]:
        """The samples; see `Sampler.draw`.

        Raises:
            RuntimeError: Aer failed.
        """
        at_once = max(1, _CIRCUITS_AT_ONCE // max(1, len(self._circuits)))
        for first in range(0, len(points), at_once):
            yield from self._run(points[first : first + at_once], int(rng.integers(_MAX_SEED)))

    def _run(self, points: NDArray[np.float64], seed: int) -> Iterator[list[Samples]]:
        if not self._circuits:
            yield from ([] for _ in points)
            return
        binds = {parameter: points[:, column].tolist() for parameter, column in self._columns}
        result = self._simulator.run(
            self._circuits,
            parameter_binds=[binds] * len(self._circuits) if binds else None,
            shots=self._shots,
            seed_simulator=seed,
        ).result()
        if not result.success:
            raise RuntimeError(f"Qiskit Aer failed: {result.status}")
        # Aer answers circuit after circuit, each at every point, and seeds each of them by its place.
        count = len(points)
        for point in range(count):
            yield [_samples(result.data(g * count + point)["counts"]) for g in range(len(self._circuits))]


def _samples(counts: dict[str, int]) -> Samples:
    seen = sorted((int(outcome, 16), count) for outcome, count in counts.items())
    outcomes, numbers = np.array(seen, dtype=np.int64).T
    return Samples(np.ascontiguousarray(outcomes), numbers)


def _transpiled(
    program: ParametrisedCircuit, simulator: AerSimulator, noise: Noise | None, optimization_level: int
) -> tuple[QuantumCircuit, list[int]]:
    """The circuit in the machine's gates, and the qubit of the machine on which each of its qubits ends."""
    from qiskit import transpile

    options: dict[str, Any] = {"backend": simulator}
    if noise is not None:
        options = {"backend": noise.device} if noise.device else {"basis_gates": list(noise.basis_gates)}
    circuit = transpile(
        program.to_qiskit(), optimization_level=optimization_level, seed_transpiler=TRANSPILER_SEED, **options
    )
    if circuit.layout is None:
        return circuit, list(range(program.num_qubits))
    return circuit, circuit.layout.final_index_layout()


def _turn(letter: str, simulator: AerSimulator, noise: Noise | None) -> QuantumCircuit:
    """The gates of one qubit after which measuring Z measures X or Y."""
    from qiskit import QuantumCircuit, transpile

    turn = QuantumCircuit(1)
    if letter == "Y":
        turn.sdg(0)
    turn.h(0)
    if noise is None:
        return transpile(turn, simulator, optimization_level=1)
    gates = [gate for gate in noise.basis_gates if gate in ("u", "rz", "sx", "x", "u1", "u2", "u3")]
    return transpile(turn, basis_gates=gates, optimization_level=1)


def _measuring(
    circuit: QuantumCircuit, qubits: list[int], group: MeasurementGroup, turns: dict[str, QuantumCircuit]
) -> QuantumCircuit:
    from qiskit import ClassicalRegister

    measuring = circuit.copy()
    bits = ClassicalRegister(len(qubits), "outcome")
    measuring.add_register(bits)
    measured = [q for q in range(len(qubits)) if (group.x | group.z) >> q & 1]
    for qubit in measured:
        if group.x >> qubit & 1:
            turn = turns["Y" if group.z >> qubit & 1 else "X"]
            measuring.compose(turn, [qubits[qubit]], inplace=True)
    for qubit in measured:
        measuring.measure(qubits[qubit], bits[qubit])
    return measuring
