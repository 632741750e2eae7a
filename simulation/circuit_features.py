"""What a circuit is made of, read from its OpenQASM 3 text: the instructions as written, and its size and gate counts.

The part of the language that parametrised circuits are recorded in: declarations, gate definitions, gates with their
modifiers, measurements, resets and barriers. Control flow is refused, for such a circuit has no fixed gate counts.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from simulation.circuits import ParametrisedCircuit

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_STATEMENT = re.compile(
    r"\s*(?:gate\s+(?P<gate>\w+)\s*(?:\([^)]*\))?\s*(?P<formal>[^{;]*)\{(?P<body>[^{}]*)\}|(?P<plain>[^;{}]*);)"
)
_DECLARATION = re.compile(r"(qubit|bit)\s*(?:\[\s*(\d+)\s*\])?\s*(\w+)")
_OLD_DECLARATION = re.compile(r"([qc])reg\s+(\w+)\s*\[\s*(\d+)\s*\]")
_WITHOUT_GATES = re.compile(r"(?:OPENQASM|include|input|barrier|gphase)\b")
_MEASUREMENT = re.compile(r"(?:(?P<bit>.+?)\s*=\s*)?measure\s+(?P<qubit>.+?)(?:\s*->\s*(?P<old_bit>.+))?")
_MODIFIER = r"(?:ctrl|negctrl|inv|pow)\s*(?:\([^)]*\))?\s*@\s*"
_GATE = re.compile(rf"(?P<name>(?:{_MODIFIER})*\w+)\s*(?:\((?P<angles>.*)\))?\s*(?P<operands>[\w\s,\[\]]+)", re.DOTALL)
_OPERAND = re.compile(r"(\w+)\s*(?:\[\s*(\d+)\s*\])?")


class CircuitTextError(ValueError):
    """A text that is no circuit of fixed gates; the message holds the statement."""


@dataclass(frozen=True)
class Instruction:
    """One instruction as written: name with its modifiers, angles as text, qubits in the written order."""

    name: str
    angles: str
    qubits: tuple[int, ...]


@dataclass(frozen=True)
class WrittenCircuit:
    """A circuit as its text has it; `definitions` are the bodies of its own gates on local qubits from 0."""

    num_qubits: int
    num_clbits: int
    instructions: tuple[Instruction, ...]
    definitions: dict[str, tuple[Instruction, ...]]


@dataclass(frozen=True)
class CircuitFeatures:
    """Size of a circuit whose gate definitions are all expanded.

    `depth` is the longest chain of gates and measurements that share a qubit (barriers do not count), `num_ancillas`
    the qubits beyond those of the operator, `gate_counts` is by name, the most frequent first.
    """

    depth: int
    num_qubits: int
    num_ancillas: int
    num_clbits: int
    gate_counts: dict[str, int]

    @property
    def num_gates(self) -> int:
        """All gates, measurements and resets."""
        return sum(self.gate_counts.values())


def circuit_features(circuit: str | ParametrisedCircuit, *, operator_qubits: int | None = None) -> CircuitFeatures:
    """Depth, qubits, ancillas, classical bits and gate counts of a circuit.

    Args:
        circuit: OpenQASM 3 text, or the circuit itself.
        operator_qubits: Qubits that the measured operator acts on; the circuit's others are ancillas. All when None.

    Raises:
        CircuitTextError: the text is no circuit of fixed gates.
    """
    written = read_circuit(circuit.to_qasm3() if isinstance(circuit, ParametrisedCircuit) else circuit)
    flat: dict[str, tuple[Instruction, ...]] = {}
    for name, body in written.definitions.items():
        # A definition uses only earlier ones, so each is flat before it is used.
        flat[name] = tuple(_expanded(body, flat))
    levels = [0] * written.num_qubits
    counts: Counter[str] = Counter()
    for gate in _expanded(written.instructions, flat):
        counts[gate.name] += 1
        level = 1 + max(levels[qubit] for qubit in gate.qubits)
        for qubit in gate.qubits:
            levels[qubit] = level
    return CircuitFeatures(
        depth=max(levels),
        num_qubits=written.num_qubits,
        num_ancillas=written.num_qubits - (written.num_qubits if operator_qubits is None else operator_qubits),
        num_clbits=written.num_clbits,
        gate_counts=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
    )


def read_circuit(text: str) -> WrittenCircuit:
    """The instructions of an OpenQASM 3 text.

    Raises:
        CircuitTextError: the text declares no qubits, or holds control flow or something that is no statement.
    """
    reader = _Reader()
    text = _COMMENT.sub("", text).strip()
    position = 0
    while position < len(text):
        found = _STATEMENT.match(text, position)
        if found is None:
            raise CircuitTextError(f"expected a declaration or gate, found {text[position : position + 60].strip()!r}")
        if found["gate"] is not None:
            reader.define(found["gate"], found["formal"], found["body"])
        else:
            reader.read(found["plain"].strip())
        position = found.end()
    return reader.circuit()


def _expanded(instructions: tuple[Instruction, ...], flat: dict[str, tuple[Instruction, ...]]) -> list[Instruction]:
    gates: list[Instruction] = []
    for instruction in instructions:
        body = flat.get(instruction.name)
        if body is None:
            gates.append(instruction)
        else:
            gates += [Instruction(g.name, g.angles, tuple(instruction.qubits[q] for q in g.qubits)) for g in body]
    return gates


@dataclass
class _Reader:
    """What has been read of a text so far; registers lie one after another."""

    qubits: dict[str, range] = field(default_factory=dict)
    clbits: int = 0
    instructions: list[Instruction] = field(default_factory=list)
    definitions: dict[str, tuple[Instruction, ...]] = field(default_factory=dict)

    def circuit(self) -> WrittenCircuit:
        if not self.qubits:
            raise CircuitTextError("the circuit's text declares no qubits")
        return WrittenCircuit(self._num_qubits(), self.clbits, tuple(self.instructions), self.definitions)

    def define(self, name: str, formal: str, body: str) -> None:
        local = {qubit.strip(): range(i, i + 1) for i, qubit in enumerate(formal.split(","))}
        statements = [statement.strip() for statement in body.split(";")]
        gates = [_gate(s, local) for s in statements if s and not _WITHOUT_GATES.match(s)]
        self.definitions[name] = tuple(gates)

    def read(self, statement: str) -> None:
        if not statement or _WITHOUT_GATES.match(statement) or self._declare(statement):
            return
        measured = _MEASUREMENT.fullmatch(statement)
        if measured is not None:
            self._each("measure", measured["qubit"])
        elif statement.startswith("reset "):
            self._each("reset", statement.removeprefix("reset "))
        else:
            self.instructions.append(_gate(statement, self.qubits))

    def _declare(self, statement: str) -> bool:
        new, old = _DECLARATION.fullmatch(statement), _OLD_DECLARATION.fullmatch(statement)
        if new is not None:
            kind, size, name = new[1], int(new[2] or 1), new[3]
        elif old is not None:
            kind, size, name = {"q": "qubit", "c": "bit"}[old[1]], int(old[3]), old[2]
        else:
            return False
        if kind == "qubit":
            first = self._num_qubits()
            self.qubits[name] = range(first, first + size)
        else:
            self.clbits += size
        return True

    def _each(self, name: str, operand: str) -> None:
        self.instructions += [Instruction(name, "", (qubit,)) for qubit in _qubits(operand, self.qubits)]

    def _num_qubits(self) -> int:
        return sum(len(register) for register in self.qubits.values())


def _gate(statement: str, registers: dict[str, range]) -> Instruction:
    found = _GATE.fullmatch(statement)
    if found is None:
        raise CircuitTextError(f"expected a gate on qubits, found {statement[:60]!r}")
    qubits: list[int] = []
    for operand in found["operands"].split(","):
        named = _qubits(operand, registers)
        if len(named) != 1:
            raise CircuitTextError(f"{statement[:60]!r} acts on a whole register; expected single qubits like q[0]")
        qubits += named
    return Instruction(" ".join(found["name"].split()), (found["angles"] or "").strip(), tuple(qubits))


def _qubits(operand: str, registers: dict[str, range]) -> range:
    found = _OPERAND.fullmatch(operand.strip())
    register = registers.get(found[1]) if found else None
    if found is None or register is None:
        raise CircuitTextError(f"{operand.strip()[:60]!r} is no declared qubit; expected one of {sorted(registers)}")
    if found[2] is None:
        return register
    index = int(found[2])
    if index >= len(register):
        raise CircuitTextError(f"{operand.strip()!r} is beyond the register's {len(register)} qubits")
    return register[index : index + 1]
