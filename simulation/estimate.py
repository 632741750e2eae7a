"""What a run will need, before it is launched: qubits, parameters, memory, time, and whether it can run at all.

Nothing is solved for: the number of orbitals comes from the basis alone, so an estimate takes milliseconds. Qubits,
electrons, orbitals, parameters and determinants are exactly those of the run. Pauli terms and memory are upper bounds:
symmetry of the molecule makes both smaller. Evaluations and seconds are rough (within a factor of 3 for the default
options on the machine they were measured on); `qpipe estimate --measure` compares them with real runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulation import cost_model
from simulation.engines.base import EngineError
from simulation.molecules import Molecule, partition_key
from simulation.problem import ProblemError, plan_problem
from simulation.record import ActiveSpace
from simulation.reference import num_determinants

if TYPE_CHECKING:
    from simulation.ansatz import Ansatz
    from simulation.engines.choice import EngineChoice
    from simulation.options import VQEOptions
    from simulation.problem import OrbitalWindow

_MASK_BITS = 62
_BASE_BYTES = 450_000_000
"""A process with the simulation's packages imported."""

_MATRIX_BYTES = 12
_AMPLITUDE_BYTES = 16
_STORED_ELEMENTS = 50_000_000
_STATES = 4
"""State, image under H, and copies on the way."""


@dataclass(frozen=True)
class Estimate:
    """What a run will need.

    Args:
        molecule: Partition key.
        basis: Basis set.
        ansatz: Name and repetitions, for example 'UCCSD x2'.
        mapper: Fermion-to-qubit mapping.
        engine: What would compute it.
        engine_reason: Why that one.
        qubits: Qubits of the circuit, after the mapping's reduction.
        electrons: Correlated electrons.
        orbitals: Correlated spatial orbitals.
        frozen_orbitals: Doubly occupied orbitals below them.
        parameters: Parameters of the ansatz; None for ADAPT, which grows, and beyond 62 qubits.
        determinants: Dimension of the space of these electrons.
        pauli_terms: Upper bound of the Hamiltonian's Pauli terms, reached by molecules without symmetry.
        memory_bytes: Upper bound of the peak memory.
        evaluations: Energy evaluations, roughly; None where nobody can say.
        seconds: Processor time of one core, imports included, roughly; None where nobody can say.
        feasible: Whether the run would start.
        refusal: Why not.
        fitting: The largest active space that would fit, if the run does not.
        fitting_frozen_core: Whether a frozen core alone would make it fit.
    """

    molecule: str
    basis: str
    ansatz: str
    mapper: str
    engine: str
    engine_reason: str
    qubits: int
    electrons: int
    orbitals: int
    frozen_orbitals: int
    parameters: int | None
    determinants: int
    pauli_terms: int
    memory_bytes: int
    evaluations: int | None
    seconds: float | None
    feasible: bool
    refusal: str | None = None
    fitting: ActiveSpace | None = None
    fitting_frozen_core: bool = False


def estimate(molecule: Molecule, options: VQEOptions) -> Estimate:
    """What a run with these options would need on a molecule.

    Raises:
        ProblemError: the basis lacks an element, or the active space is impossible for the molecule.
        EngineError: no engine can run the ansatz.
    """
    from simulation.encoding import encoding
    from simulation.engines.choice import choose_engine

    choice = choose_engine(options)
    window = _window(molecule, options)
    refusal = _refusal(window, choice)
    qubits = encoding(options.mapper, window.active, window.num_particles).num_qubits
    ansatz = _ansatz(window, options)
    return Estimate(
        molecule=partition_key(molecule),
        basis=options.basis,
        ansatz=f"{options.ansatz} x{options.reps}",
        mapper=options.mapper,
        engine=choice.name,
        engine_reason=choice.reason,
        qubits=qubits,
        electrons=sum(window.num_particles),
        orbitals=window.active,
        frozen_orbitals=window.frozen,
        parameters=None if ansatz is None else ansatz.num_parameters,
        determinants=num_determinants(window.active, window.num_particles),
        pauli_terms=pauli_terms(window.active),
        memory_bytes=_memory(window, qubits, ansatz, choice.name),
        evaluations=None if refusal or ansatz is None else cost_model.evaluations(ansatz, options),
        seconds=None if refusal or ansatz is None else _seconds(molecule, window, ansatz, choice.name, options),
        feasible=refusal is None,
        refusal=refusal,
        fitting=None if refusal is None else _fitting(window, choice),
        fitting_frozen_core=refusal is not None and _fits_with_frozen_core(molecule, options, choice),
    )


def pauli_terms(num_orbitals: int) -> int:
    r"""Pauli terms of a real Hamiltonian on n spatial orbitals without any symmetry of space.

    .. math:: 1 + 2n + \binom{2n}{2} + 4 (2n - 1) \binom n2 + 4 \binom n2^2 + 12 \binom n4

    One and two numbers; a hop of either spin, alone or beside a number (XX and YY); a hop of each spin; two hops of one
    spin between four orbitals (for each spin the six strings with two Y; XXXX and YYYY cancel by antisymmetry).
    """
    n, pairs = num_orbitals, math.comb(num_orbitals, 2)
    return 1 + 2 * n + math.comb(2 * n, 2) + 4 * (2 * n - 1) * pairs + 4 * pairs**2 + 12 * math.comb(num_orbitals, 4)


def _window(molecule: Molecule, options: VQEOptions, *, frozen_core: bool | None = None) -> OrbitalWindow:
    """The correlated orbitals, whatever their number."""
    return plan_problem(
        molecule,
        options.basis,
        frozen_core=options.frozen_core if frozen_core is None else frozen_core,
        active_space=options.active_space,
    )


def _refusal(window: OrbitalWindow, choice: EngineChoice) -> str | None:
    """What the run itself would say before any work, None where it would start."""
    try:
        choice.check(window)
    except EngineError as error:
        return str(error)
    return None


def _fitting(window: OrbitalWindow, choice: EngineChoice) -> ActiveSpace | None:
    from simulation.engines.active_space_fit import largest_fit

    part = largest_fit(window, lambda smaller: _refusal(smaller, choice) is None)
    return None if part is None else ActiveSpace(electrons=sum(part.num_particles), orbitals=part.active)


def _fits_with_frozen_core(molecule: Molecule, options: VQEOptions, choice: EngineChoice) -> bool:
    if options.frozen_core or options.active_space is not None:
        return False
    try:
        return _refusal(_window(molecule, options, frozen_core=True), choice) is None
    except ProblemError:  # nothing but core
        return False


def _ansatz(window: OrbitalWindow, options: VQEOptions) -> Ansatz | None:
    from simulation.ansatz import ANSAETZE
    from simulation.encoding import encoding

    if options.ansatz not in ANSAETZE or 2 * window.active > _MASK_BITS:
        return None
    qubits = encoding(options.mapper, window.active, window.num_particles)
    return ANSAETZE[options.ansatz](window.active, window.num_particles, options.reps, encoding=qubits)


def _seconds(
    molecule: Molecule, window: OrbitalWindow, ansatz: Ansatz, engine: str, options: VQEOptions
) -> float | None:
    functions = plan_problem(molecule, options.basis).active
    return cost_model.seconds(window, functions, pauli_terms(window.active), ansatz, engine, options)


def _memory(window: OrbitalWindow, qubits: int, ansatz: Ansatz | None, engine: str) -> int:
    """Upper bound of the peak memory in bytes."""
    from simulation.ansatz import ExcitationAnsatz
    from simulation.engines.sector import matrix_elements

    if engine == "sector":
        determinants = num_determinants(window.active, window.num_particles)
        # The matrix is built in pieces that are joined: for a moment it is there twice.
        matrix = 2 * _MATRIX_BYTES * matrix_elements(window.active, window.num_particles)
        excitations = len(ansatz.excitations) if isinstance(ansatz, ExcitationAnsatz) else 0
        return _BASE_BYTES + matrix + (8 * _STATES + excitations) * determinants
    amplitudes = 1 << qubits
    stored = min(pauli_terms(window.active) * amplitudes, _STORED_ELEMENTS)
    return _BASE_BYTES + _STATES * _AMPLITUDE_BYTES * amplitudes + 2 * _MATRIX_BYTES * stored
