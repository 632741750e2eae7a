import numpy as np
import pytest

from simulation.ansatz import UCCSD, EfficientSU2, ExcitationPreserving
from simulation.circuits import Gate, ParametrisedCircuit
from simulation.engines.aer_backend import state_simulator
from simulation.engines.circuit_states import CircuitStates
from simulation.engines.direct_states import DirectStates
from tests._slow.circuits import gate_matrix


@pytest.mark.parametrize("ansatz", [UCCSD, EfficientSU2, ExcitationPreserving])
def test_states_equal_those_of_a_simulator_job_up_to_a_phase(ansatz):
    program = ansatz(3, (2, 1), 1).program
    parameters = np.random.default_rng(3).normal(size=program.num_parameters)
    direct = DirectStates(program, threads=1).at(parameters)
    job = CircuitStates(program, state_simulator()).at(parameters)
    assert abs(np.vdot(direct, job)) == pytest.approx(1.0, abs=1e-13)


@pytest.mark.parametrize("seed", range(10))
def test_any_order_of_gates_gives_the_product_of_their_matrices(seed):
    rng, qubits = np.random.default_rng(seed), 3
    names = rng.choice(["x", "cx", "cz", "rx", "ry", "rz"], size=25)
    wires = [tuple(map(int, rng.permutation(qubits)[: 2 if name.startswith("c") else 1])) for name in names]
    factors = rng.choice([1.0, -0.5], size=25)
    gates = tuple(
        Gate(name, wire, index, factor) if name.startswith("r") else Gate(name, wire)
        for index, (name, wire, factor) in enumerate(zip(names, wires, factors, strict=True))
    )
    parameters, expected = rng.normal(size=25), np.eye(1 << qubits)[0].astype(complex)
    for gate in gates:
        angle = 0.0 if gate.parameter is None else gate.factor * parameters[gate.parameter]
        expected = gate_matrix(gate.name, gate.qubits[0], gate.qubits[-1], angle, qubits) @ expected
    found = DirectStates(ParametrisedCircuit(qubits, 25, gates), threads=1).at(parameters)
    assert abs(np.vdot(found, expected)) == pytest.approx(1.0, abs=1e-12)
