"""Circuit features equal what Qiskit counts, for any circuit that has a fixed number of gates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit import QuantumCircuit, qasm3

from simulation.circuit_features import CircuitTextError, circuit_features, read_circuit
from tests.reports.conftest import CIRCUIT

QUBITS = 4
ROTATIONS = ("rx", "ry", "rz", "p")


def _gates(names: tuple[str, ...], qubits: int) -> st.SearchStrategy[tuple[str, list[int]]]:
    chosen = st.lists(st.integers(0, QUBITS - 1), min_size=qubits, max_size=qubits, unique=True)
    return st.tuples(st.sampled_from(names), chosen)


ONE_QUBIT = _gates(("h", "x", "s", "sdg", "t", *ROTATIONS), 1)
TWO_QUBITS = _gates(("cx", "cz", "swap"), 2)


def drawn_circuit(gates: list[tuple[str, list[int]]], measured: int) -> QuantumCircuit:
    circuit = QuantumCircuit(QUBITS, measured)
    for number, (name, qubits) in enumerate(gates):
        angles = [0.1 * number - 0.3] if name in ROTATIONS else []
        getattr(circuit, name)(*angles, *qubits)
    for qubit in range(measured):
        circuit.measure(qubit, qubit)
    return circuit


@given(st.lists(ONE_QUBIT | TWO_QUBITS, max_size=40), st.integers(0, QUBITS))
def test_depth_and_counts_are_qiskits(gates: list[tuple[str, list[int]]], measured: int) -> None:
    circuit = drawn_circuit(gates, measured)
    features = circuit_features(qasm3.dumps(circuit))
    assert features.depth == circuit.depth()
    assert features.gate_counts == dict(circuit.count_ops())
    assert (features.num_qubits, features.num_clbits) == (QUBITS, measured)
    assert features.num_gates == circuit.size()


def test_gates_of_the_circuits_own_are_expanded_to_primitive_ones() -> None:
    features, circuit = circuit_features(CIRCUIT), CIRCUIT.to_qiskit()
    assert features.depth == circuit.depth()
    assert features.gate_counts == dict(circuit.count_ops())
    assert features == circuit_features(CIRCUIT.to_qasm3())
    assert [i.name for i in read_circuit(CIRCUIT.to_qasm3()).instructions] == ["x", "x", "single", "ry", "cz"]


def test_the_most_frequent_gate_comes_first() -> None:
    assert list(circuit_features(CIRCUIT).gate_counts) == ["cx", "ry", "x", "cz"]


def test_definitions_inside_definitions_are_expanded_too() -> None:
    text = """
        OPENQASM 3.0; include "stdgates.inc"; // a comment; with a semicolon
        gate inner(a) p { rz(2*(a + pi)) p; } /* gate nothing q { } */
        gate outer(a, b) p, q { inner(a) p; cx p, q; inner(-(b)) q; }
        qubit[2] q;
        outer(0.1, 0.2) q[1], q[0];
        ctrl(1) @ x q[0], q[1];
    """
    assert circuit_features(text).gate_counts == {"rz": 2, "ctrl(1) @ x": 1, "cx": 1}
    assert circuit_features(text).depth == 4


def test_qubits_beyond_those_of_the_operator_are_ancillas() -> None:
    text = "qubit[3] q; qubit a; bit c; h q[0]; cx q[2], a; c = measure a; barrier q; reset q;"
    features = circuit_features(text, operator_qubits=3)
    assert features.num_ancillas == 1
    assert features.gate_counts == {"reset": 3, "cx": 1, "h": 1, "measure": 1}
    assert circuit_features(text).num_ancillas == 0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no qubits"),
        ("OPENQASM 3.0;\n", "no qubits"),
        ("qubit[2] q; if (c[0]) { x q[0]; }", "if"),
        ("qubit[2] q; for int i in [0:3] x q[i];", "for"),
        ("qubit[2] q; x q[2];", "q[2]"),
        ("qubit[2] q; x r[0];", "r[0]"),
        ("qubit[2] q; x q;", "whole register"),
        ("qubit[2] q; x q[0]", "x q[0]"),
    ],
)
def test_a_text_without_fixed_gates_is_refused_naming_the_place(text: str, named: str) -> None:
    with pytest.raises(CircuitTextError) as refused:
        circuit_features(text)
    assert named in str(refused.value)
