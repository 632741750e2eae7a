"""Before the optimisation: what is refused, the engine, the electronic problem, the Hamiltonian, the trial state."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from simulation.record import ComplexNumber, HamiltonianTerm
from simulation.recording import Prepared

if TYPE_CHECKING:
    from simulation.ansatz import Ansatz
    from simulation.engines.choice import EngineChoice
    from simulation.molecules import Molecule
    from simulation.options import VQEOptions
    from simulation.problem import ElectronicProblem


def trial_state(problem: ElectronicProblem, options: VQEOptions) -> Ansatz:
    """The ansatz that was asked for, on the problem's orbitals; ADAPT's has no operators yet."""
    from simulation.ansatz import ANSAETZE, AdaptAnsatz
    from simulation.encoding import encoding

    qubits = encoding(options.mapper, problem.num_orbitals, problem.num_particles)
    if options.ansatz == AdaptAnsatz.name:
        return AdaptAnsatz(problem.num_orbitals, problem.num_particles, encoding=qubits)
    return ANSAETZE[options.ansatz](problem.num_orbitals, problem.num_particles, options.reps, encoding=qubits)


def checked_choice(molecule: Molecule, options: VQEOptions) -> EngineChoice:
    """The engine, after everything has been refused that can be before any work.

    Raises:
        ProblemError: the molecule cannot be set up in this basis and space.
        EngineError: it would not fit, or something that the engine needs is missing.
    """
    from simulation.engines.choice import choose_engine
    from simulation.problem import plan_problem

    choice = choose_engine(options)
    choice.check(
        plan_problem(molecule, options.basis, frozen_core=options.frozen_core, active_space=options.active_space)
    )
    return choice


def prepare(molecule: Molecule, options: VQEOptions) -> Prepared:
    """The problem and its Hamiltonian.

    Raises:
        ProblemError: the molecule cannot be set up in this basis and space.
        EngineError: it would not fit.
        SCFConvergenceError: Hartree-Fock does not converge.
    """
    from simulation.mapping import MAPPERS
    from simulation.problem import build_problem

    choice = checked_choice(molecule, options)
    began = time.perf_counter()
    problem = build_problem(
        molecule,
        options.basis,
        frozen_core=options.frozen_core,
        active_space=options.active_space,
        max_qubits=choice.max_qubits,
    )
    built = time.perf_counter()
    hamiltonian = MAPPERS[options.mapper]().map(problem)
    mapped = time.perf_counter()
    terms = [
        HamiltonianTerm(label=label, coefficients=ComplexNumber(real=value, imaginary=0.0))
        for label, value in zip(hamiltonian.to_labels(), hamiltonian.coefficients.tolist(), strict=True)
    ]
    return Prepared(molecule, options, choice, problem, hamiltonian, terms, built - began, mapped - built)
