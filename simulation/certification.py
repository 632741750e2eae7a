"""Certification: the energy of an optimum, recomputed from what the record itself holds, by Qiskit Aer alone.

What a stranger with the record could do: read the circuit text, put in the optimal parameters, and let Aer evaluate the
recorded Pauli terms. None of qpipe's engines, matrices or circuits take part.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from simulation.record import HamiltonianTerm

if TYPE_CHECKING:
    from qiskit import QuantumCircuit  # type: ignore[import-untyped]

TOLERANCE_HARTREE = 1e-9

_DEFINITION = re.compile(r"^gate (\w+)", re.MULTILINE)
_INPUT = re.compile(r"^input float\[64\] (\w+);\n", re.MULTILINE)
_HEAD = (("OPENQASM 3.0;", "OPENQASM 2.0;"), ('include "stdgates.inc";', 'include "qelib1.inc";'))
_REGISTER = re.compile(r"^qubit\[(\d+)\] (\w+);$", re.MULTILINE)


class CertificationError(RuntimeError):
    """The optimum does not have the energy that was claimed; both energies are in the message."""


def bound_circuit(qasm3: str, parameters: Sequence[float]) -> QuantumCircuit:
    """The recorded circuit with its parameters filled in, in the alphabetical order of their names.

    Without its inputs the text is OpenQASM 2 but for the head, which Qiskit reads natively; `qiskit.qasm3.loads` reads
    the text as it is, where the package qiskit-qasm3-import is installed.

    Raises:
        ValueError: the number of parameters differs from the text's inputs.
    """
    from qiskit import qasm2

    names = sorted(_INPUT.findall(qasm3))
    if len(names) != len(parameters):
        raise ValueError(f"the circuit has {len(names)} inputs but {len(parameters)} parameters were given")
    values = {name: f"({float(value)!r})" for name, value in zip(names, parameters, strict=True)}
    text = _INPUT.sub("", qasm3)
    for new, old in _HEAD:
        text = text.replace(new, old, 1)
    text = _REGISTER.sub(r"qreg \2[\1];", text)
    text = re.sub(r"\b[A-Za-z_]\w*\b", lambda word: values.get(word.group(), word.group()), text)
    return qasm2.loads(text)


def aer_energy(qasm3: str, terms: Sequence[HamiltonianTerm], parameters: Sequence[float]) -> float:
    """<H> (Hartree) of the recorded circuit and terms at these parameters, by Aer's exact state vector."""
    from qiskit.quantum_info import SparsePauliOp  # type: ignore[import-untyped]
    from qiskit_aer import AerSimulator

    circuit = bound_circuit(qasm3, parameters)
    operator = SparsePauliOp([t.label for t in terms], [t.coefficients.real for t in terms])
    # One thread: with more, Aer sums the expectation value in an order that depends on their number.
    simulator = AerSimulator(method="statevector", max_parallel_threads=1)
    defined = _DEFINITION.findall(qasm3)
    unrolled = circuit.decompose(defined) if defined else circuit  # an empty list would mean every gate
    unrolled.save_expectation_value(operator, range(circuit.num_qubits))
    result = simulator.run(unrolled, shots=1).result()
    if not result.success:
        raise RuntimeError(f"Qiskit Aer failed: {result.status}")
    return float(result.data(0)["expectation_value"])


def certify(
    qasm3: str,
    terms: Sequence[HamiltonianTerm],
    parameters: Sequence[float],
    claimed_energy: float,
    *,
    tolerance: float = TOLERANCE_HARTREE,
) -> float:
    """The energy (Hartree, electronic) that Aer finds at the optimum.

    Raises:
        CertificationError: it differs from `claimed_energy` by more than `tolerance`.
    """
    energy = aer_energy(qasm3, terms, parameters)
    if not abs(energy - claimed_energy) <= tolerance:
        raise CertificationError(
            f"the optimum was found at {claimed_energy!r} Ha but Qiskit Aer evaluates the recorded circuit and "
            f"Hamiltonian to {energy!r} Ha, {abs(energy - claimed_energy):.3g} Ha apart (allowed {tolerance:g}): "
            "the engine and the circuit disagree; run again with engine='aer' and report it"
        )
    return energy
