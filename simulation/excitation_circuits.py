r"""The circuit of one fermionic excitation, in any linear encoding.

:math:`\exp(\theta (T - T^\dagger))` mixes pairs of determinants that differ in the excitation's orbitals, with a sign
from the electrons between them. On the qubits of a linear encoding the difference is a mask of flips, and what decides
(whether a determinant takes part, and with which sign) are parities of qubits. So CX gates reduce the flips to one
target qubit and gather every deciding parity in one qubit; what remains is an RY rotation of the target controlled by
at most three qubits, and everything else is undone.

A parity is held as an integer: the mask of its qubits, and bit `num_qubits` (`inverted`) where the parity is inverted.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from itertools import pairwise
from operator import xor
from typing import TYPE_CHECKING

import numpy as np

from simulation.circuits import Gate, GateDefinition

if TYPE_CHECKING:
    from simulation.encoding import Encoding
    from simulation.excitations import Excitation


def excitation_call(excitation: Excitation, parameter: int, encoding: Encoding) -> tuple[GateDefinition, Gate]:
    """The definition that an excitation needs, and its call with the parameter as angle theta.

    Once CX gates from the target flip the other qubits, the target's bit is part of every orbital's occupation, and of
    no sum of two: those are the conditions, as occupied orbitals must be equal and virtual ones opposite to the first.

    Raises:
        ValueError: the excitation vanishes in the electron numbers that the encoding is made for.
    """
    strings, inverted = encoding.orbital_strings, 1 << encoding.num_qubits
    orbitals = (*excitation.occupied, *excitation.virtual)
    flips = _sum(strings[p].flips for p in orbitals)
    target = flips & -flips
    first = strings[orbitals[0]].phases
    wanted = [strings[p].phases ^ first ^ (inverted if p in excitation.virtual else 0) for p in orbitals[1:]]
    conditions = _independent((parity & ~target for parity in wanted), inverted)
    if conditions is None:
        raise ValueError(f"{excitation} vanishes in the electron numbers of the {encoding.name} encoding")
    # Where the rest of `first` is odd the target is 0, not 1, in the determinants that T leads to.
    sign = _reduced((_sum(strings[p].phases for p in _between(orbitals)) ^ first) & ~target, conditions)
    factor = _convention_sign(excitation) * (-1.0 if sign & inverted else 1.0)
    sign &= ~inverted
    head = [target.bit_length() - 1, *conditions]
    involved = functools.reduce(int.__or__, conditions.values(), flips | sign)
    qubits = [*head, *(q for q in range(encoding.num_qubits) if involved >> q & 1 and q not in head)]
    definition = _definition(
        len(qubits),
        _positions(flips & ~target, qubits),
        _positions(sign, qubits),
        tuple((_positions(parity, qubits), parity >= inverted) for parity in conditions.values()),
    )
    return definition, Gate(definition.name, tuple(qubits), parameter, factor)


@functools.cache
def _definition(
    num_qubits: int,
    flipped: tuple[int, ...],
    sign: tuple[int, ...],
    conditions: tuple[tuple[tuple[int, ...], bool], ...],
) -> GateDefinition:
    """RY(2 t) on qubit 0, on local qubits: `flipped` with it, its angle inverted by the parity of `sign`.

    Condition k is (qubits, value): the parity of the qubits, gathered in qubit k + 1, must have this value.
    """
    prepare = [Gate("cx", (0, qubit)) for qubit in flipped]
    controls = {}
    for control, (qubits, value) in enumerate(conditions, start=1):
        prepare += [Gate("cx", (qubit, control)) for qubit in qubits if qubit != control]
        controls[control] = int(value)
    prepare += [Gate("cx", pair) for pair in pairwise(sign)]
    if sign:
        prepare.append(Gate("cz", (sign[-1], 0)))
    body = (*prepare, *_controlled_rotation(0, controls), *reversed(prepare))
    parts = (_mask(flipped), _mask(sign), *(_mask(qubits) | value for qubits, value in conditions))
    return GateDefinition(f"exc{num_qubits}_" + "_".join(f"{part:x}" for part in parts), num_qubits, body)


def _controlled_rotation(target: int, controls: dict[int, int]) -> list[Gate]:
    """RY(2 t) on the target where every control has its value, as a Gray-code sequence of RY and CX.

    Uniformly controlled rotations, Mottonen et al., Phys. Rev. Lett. 93, 130502 (2004): a CX before and after turns RY
    into its inverse, so the angles +-2 t / 2^k add up for the wanted values of the k controls and cancel for others.
    """
    qubits = list(controls)
    wanted = sum(value << position for position, value in enumerate(controls.values()))
    count = 1 << len(qubits)
    gates = []
    for step in range(count):
        code, following = (s % count ^ s % count >> 1 for s in (step, step + 1))
        parity = (code & wanted).bit_count() & 1
        gates.append(Gate("ry", (target,), 0, (2 - 4 * parity) / count))
        if code != following:
            gates.append(Gate("cx", (qubits[(code ^ following).bit_length() - 1], target)))
    return gates


def _independent(parities: Iterable[int], inverted: int) -> dict[int, int] | None:
    """The conditions that all parities are even, in reduced echelon form by pivot qubit; None if they contradict."""
    rows: dict[int, int] = {}
    for parity in parities:
        row = _reduced(parity, rows)
        if row == inverted:
            return None
        if row:
            pivot = (row & -row).bit_length() - 1
            rows = {p: other ^ row if other >> pivot & 1 else other for p, other in rows.items()} | {pivot: row}
    return rows


def _reduced(parity: int, rows: dict[int, int]) -> int:
    """The same parity, where all rows are even, without their pivot qubits."""
    return parity ^ _sum(row for pivot, row in rows.items() if parity >> pivot & 1)


def _convention_sign(excitation: Excitation) -> float:
    """Sign of T on the determinant of its virtual orbitals alone."""
    word = np.array([sum(1 << orbital for orbital in excitation.virtual)], dtype=np.int64)
    return float(excitation.applied(word)[2][0])


def _between(orbitals: tuple[int, ...]) -> list[int]:
    """The orbitals whose electrons decide the sign: those between the first and second, third and fourth."""
    ordered = sorted(orbitals)
    return [p for low, high in zip(ordered[::2], ordered[1::2], strict=True) for p in range(low + 1, high)]


def _positions(mask: int, qubits: list[int]) -> tuple[int, ...]:
    return tuple(position for position, qubit in enumerate(qubits) if mask >> qubit & 1)


def _sum(parities: Iterable[int]) -> int:
    return functools.reduce(xor, parities, 0)


def _mask(qubits: tuple[int, ...]) -> int:
    return sum(1 << qubit for qubit in qubits)
