"""Rough predictions of evaluations and seconds: constants measured once, on one core of a server of 2020's kind.

`qpipe estimate --measure` prints prediction and measurement side by side on the machine at hand. Every constant is in
seconds for what its name says; where a count is not known without solving (elements of a matrix that symmetry makes
zero), the bound is used and the constant was fitted to it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simulation.ansatz import ExcitationAnsatz
from simulation.optimizers import get_optimizer
from simulation.reference import MAX_DETERMINANTS, num_determinants

if TYPE_CHECKING:
    from simulation.ansatz import Ansatz
    from simulation.options import VQEOptions
    from simulation.problem import OrbitalWindow

_IMPORTS = 2.0
_HARTREE_FOCK = 0.06
_INTEGRAL = 4e-9
_DETERMINANT_OF_REFERENCE = 3e-5

_SECTOR_OVERHEAD = 1e-5
_SECTOR_ELEMENT = 1.5e-10
_SECTOR_ROTATION = 1.1e-10
_SECTOR_SETUP_ELEMENT = 1.5e-8

_AER_OVERHEAD = 7e-4
_AER_GATE_AMPLITUDE = 7e-9
_AER_SETUP_TERM = 5e-9
_GATES_PER_EXCITATION = 45
_WITHOUT_GRADIENT = 0.6

_SAMPLE_OVERHEAD = 2e-5
_SAMPLED_AMPLITUDE = 2e-8

_CERTIFY_ROTATION = 2.5e-3
_CERTIFY_GATE_AMPLITUDE = 2e-9
_CERTIFY_TERM_AMPLITUDE = 6e-9

TYPICAL_TERMS = 0.3
"""Share of the bound on Pauli terms that the symmetry of a small molecule leaves."""

_ENERGY_ONLY_PER_PARAMETER = 15
_CIRCUIT_PER_PARAMETER = 12
_REPEATED_PER_PARAMETER = 2.5


def evaluations(ansatz: Ansatz, options: VQEOptions) -> int:
    """Energy evaluations until the optimiser stops, roughly."""
    optimizer, parameters = get_optimizer(options.optimizer), ansatz.num_parameters
    if parameters == 0:
        return 1
    if optimizer.needs == "energy":
        expected = _ENERGY_ONLY_PER_PARAMETER * parameters
    elif not isinstance(ansatz, ExcitationAnsatz):
        expected = _CIRCUIT_PER_PARAMETER * parameters
    elif ansatz.reps > 1:
        # Repetitions describe the same state in many ways: a long flat valley.
        expected = math.ceil(_REPEATED_PER_PARAMETER * parameters)
    else:
        expected = math.ceil(5 + 2.3 * math.sqrt(parameters))
    return min(expected, options.max_iterations or expected)


def seconds(
    window: OrbitalWindow,
    num_functions: int,
    num_terms: int,
    ansatz: Ansatz,
    engine: str,
    options: VQEOptions,
) -> float | None:
    """Processor time of a whole run on one core, imports included; None for a device whose queue nobody knows.

    Args:
        window: Correlated orbitals and electrons.
        num_functions: Functions of the basis.
        num_terms: Bound on the Pauli terms.
        ansatz: The circuit.
        engine: Name of the engine.
        options: What is asked.
    """
    if engine == "ibm":
        return None
    determinants = num_determinants(window.active, window.num_particles)
    reference = _DETERMINANT_OF_REFERENCE * determinants if determinants <= MAX_DETERMINANTS else 0.0
    before = _IMPORTS + _HARTREE_FOCK + _INTEGRAL * num_functions**5 + reference
    terms = TYPICAL_TERMS * num_terms
    if engine == "sector":
        setup, each = _sector(window, ansatz, determinants)
    else:
        setup, each = _aer(ansatz, terms)
    if get_optimizer(options.optimizer).needs == "energy":
        each *= _WITHOUT_GRADIENT
    if options.sampled:
        each = _sampled(ansatz, terms, each, options)
    return before + setup + evaluations(ansatz, options) * each + _certificate(ansatz, terms, options)


def _sector(window: OrbitalWindow, ansatz: Ansatz, determinants: int) -> tuple[float, float]:
    from simulation.engines.sector import matrix_elements

    elements = matrix_elements(window.active, window.num_particles)
    rotations = _rotations(ansatz) * determinants
    return _SECTOR_SETUP_ELEMENT * elements, (
        _SECTOR_OVERHEAD + _SECTOR_ELEMENT * elements + _SECTOR_ROTATION * rotations
    )


def _aer(ansatz: Ansatz, terms: float) -> tuple[float, float]:
    amplitudes = 2.0**ansatz.num_qubits
    return 0.1 + _AER_SETUP_TERM * terms * amplitudes, (
        _AER_OVERHEAD + _AER_GATE_AMPLITUDE * _gates(ansatz) * amplitudes
    )


def _sampled(ansatz: Ansatz, terms: float, exact: float, options: VQEOptions) -> float:
    """One evaluation from samples: the state, every group of terms measured, and the same again for each shift."""
    # Groups of terms that are measured together hold about five each.
    groups = terms / 5
    energy = exact + groups * (_SAMPLE_OVERHEAD + _SAMPLED_AMPLITUDE * 2.0**ansatz.num_qubits)
    if get_optimizer(options.optimizer).needs == "energy":
        return energy
    shifts = 4 if isinstance(ansatz, ExcitationAnsatz) else 2
    return energy * (1 + shifts * _rotations(ansatz))


def _certificate(ansatz: Ansatz, terms: float, options: VQEOptions) -> float:
    if ansatz.num_qubits > options.certify_max_qubits:
        return 0.0
    amplitudes = 2.0**ansatz.num_qubits
    reading = _CERTIFY_ROTATION * _rotations(ansatz) if isinstance(ansatz, ExcitationAnsatz) else 0.05
    return reading + amplitudes * (_CERTIFY_GATE_AMPLITUDE * _gates(ansatz) + _CERTIFY_TERM_AMPLITUDE * terms)


def _rotations(ansatz: Ansatz) -> int:
    return len(ansatz.excitations) if isinstance(ansatz, ExcitationAnsatz) else ansatz.num_parameters


def _gates(ansatz: Ansatz) -> int:
    if isinstance(ansatz, ExcitationAnsatz):
        return _GATES_PER_EXCITATION * len(ansatz.excitations)
    return len(ansatz.program.gates)
