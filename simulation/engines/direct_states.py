"""State vectors of a parametrised circuit from Qiskit Aer's own state object, gate by gate, without a job.

Up to some 14 qubits a job of `AerSimulator.run` takes longer to assemble than its gates to apply. `AerState` is what
`qiskit_aer.quantum_info.AerStatevector` is made of.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from simulation.circuits import Gate, ParametrisedCircuit

_U_PHASES = {"rx": (-math.pi / 2, math.pi / 2), "ry": (0.0, 0.0)}
"""RX and RY are U(angle, *phases)."""


class DirectStates:
    """The states that a circuit prepares on the CPU, each up to a global phase.

    Args:
        program: The circuit.
        threads: Threads that Aer may use.
    """

    def __init__(self, program: ParametrisedCircuit, threads: int) -> None:
        self._num_qubits = program.num_qubits
        self._threads = threads
        self._gates = _with_merged_rotations(program.gates)

    def at(self, parameters: NDArray[np.float64]) -> NDArray[np.complex128]:
        """The state at `parameters` (radian), shape `(2^num_qubits,)`."""
        from qiskit_aer.quantum_info.states.aer_state import AerState

        values = parameters.tolist()
        state = AerState(method="statevector", device="CPU", max_parallel_threads=self._threads)
        state.allocate_qubits(self._num_qubits)
        state.initialize()
        for gate, after in self._gates:
            if gate.parameter is None:
                getattr(state, f"apply_{gate.name}")(*gate.qubits)
                continue
            angle = gate.factor * values[gate.parameter]
            if gate.name == "rz":
                state.apply_u(gate.qubits[0], 0.0, angle, 0.0)
                continue
            first, second = _U_PHASES[gate.name]
            if after is not None and after.parameter is not None:
                first += after.factor * values[after.parameter]
            state.apply_u(gate.qubits[0], angle, first, second)
        state.flush()
        found = state.move_to_ndarray()
        state.close()
        return found


def _with_merged_rotations(gates: tuple[Gate, ...]) -> list[tuple[Gate, Gate | None]]:
    """RX or RY with the RZ that follows it on the same qubit: both are one U gate."""
    merged: list[tuple[Gate, Gate | None]] = []
    waiting: dict[int, int] = {}
    for gate in gates:
        position = waiting.pop(gate.qubits[0], None)
        if gate.name == "rz" and position is not None:
            merged[position] = (merged[position][0], gate)
            continue
        for qubit in gate.qubits[1:]:
            waiting.pop(qubit, None)
        if gate.name in _U_PHASES:
            waiting[gate.qubits[0]] = len(merged)
        merged.append((gate, None))
    return merged
