"""The record of a finished run: everything that is known at its end, put where the record has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulation import provenance
from simulation.identity import experiment_id
from simulation.metrics import CHEMICAL_ACCURACY_MHA
from simulation.molecules import Molecule, partition_key
from simulation.record import (
    SCHEMA_VERSION,
    ActiveSpace,
    HamiltonianTerm,
    MoleculeInfo,
    VQEDecoratedResult,
    VQEInitialData,
    VQEResult,
)

if TYPE_CHECKING:
    from simulation.ansatz import Ansatz
    from simulation.engines.base import Engine
    from simulation.engines.choice import EngineChoice
    from simulation.mapping import QubitHamiltonian
    from simulation.observables import Observables
    from simulation.options import VQEOptions
    from simulation.problem import ElectronicProblem
    from simulation.reference import ExactReference
    from simulation.solver import Solution
    from simulation.validity import Verdict

UNJUDGED_BACKEND = "qpipe_sector"
"""Backend of results that no simulator of Qiskit has seen: of the sector engine, too large to certify."""


@dataclass(frozen=True)
class Prepared:
    """Everything that is fixed before the optimisation starts, and what it took (seconds).

    Args:
        molecule: What is computed.
        options: What was asked, resolved.
        choice: The engine and why.
        problem: Integrals.
        hamiltonian: On qubits.
        terms: The same, as recorded.
        hamiltonian_seconds: For the problem.
        mapping_seconds: For the Hamiltonian.
    """

    molecule: Molecule
    options: VQEOptions
    choice: EngineChoice
    problem: ElectronicProblem
    hamiltonian: QubitHamiltonian
    terms: list[HamiltonianTerm]
    hamiltonian_seconds: float
    mapping_seconds: float


@dataclass(frozen=True)
class Solved:
    """The optimisation, what it ran on, and what was found at the optimum (frozen electrons included)."""

    ansatz: Ansatz
    engine: Engine
    initial_parameters: list[float]
    solution: Solution
    observables: Observables
    vqe_seconds: float

    def total_energy(self, prepared: Prepared) -> float:
        """Energy of the optimum with nuclear repulsion (Hartree)."""
        return self.solution.best.result + prepared.problem.nuclear_repulsion


@dataclass(frozen=True)
class Findings:
    """All that a run found out.

    Args:
        prepared: What was asked, problem and Hamiltonian.
        exact: The exact energy in the same orbitals, if known.
        solved: The optimisation.
        certified_energy: Total energy by Aer (Hartree), None when not evaluated.
        verdict: Whether the result is about the molecule.
    """

    prepared: Prepared
    exact: ExactReference | None
    solved: Solved
    certified_energy: float | None
    verdict: Verdict


@dataclass(frozen=True)
class ScanPosition:
    """Where on a potential-energy scan a molecule stands: the coordinate's name, its value (angstrom or degree)."""

    coordinate: str
    value: float


@dataclass(frozen=True)
class Circumstances:
    """What the record notes of a run beside its science.

    Args:
        molecule_id: Position in the molecule file.
        started_at: ISO 8601 in UTC.
        wall_time: Whole run (seconds).
        dagster_run_id: Dagster run that computed it.
        campaign: Campaign it belongs to.
        scan: Its place on a scan.
        performance_start: System snapshot before the run, JSON text.
        performance_end: System snapshot after it.
    """

    molecule_id: int
    started_at: str
    wall_time: float
    dagster_run_id: str | None = None
    campaign: str | None = None
    scan: ScanPosition | None = None
    performance_start: str | None = None
    performance_end: str | None = None


def record_of(found: Findings, circumstances: Circumstances) -> VQEDecoratedResult:
    """The record of a run."""
    prepared, solved, verdict = found.prepared, found.solved, found.verdict
    molecule, options, choice = prepared.molecule, prepared.options, prepared.choice
    problem, data, scan = prepared.problem, molecule.to_record(), circumstances.scan
    total_energy = solved.total_energy(prepared)
    return VQEDecoratedResult(
        vqe_result=_vqe_result(found),
        molecule=MoleculeInfo(molecule_data=data.model_copy(update={"name": data.name or partition_key(molecule)})),
        basis_set=options.basis,
        hamiltonian_time=prepared.hamiltonian_seconds,
        mapping_time=prepared.mapping_seconds,
        vqe_time=solved.vqe_seconds,
        total_time=prepared.hamiltonian_seconds + prepared.mapping_seconds + solved.vqe_seconds,
        molecule_id=circumstances.molecule_id,
        performance_start=circumstances.performance_start,
        performance_end=circumstances.performance_end,
        schema_version=SCHEMA_VERSION,
        experiment_id=experiment_id(molecule, options),
        total_energy=total_energy,
        hf_energy=problem.hf_energy,
        **_comparison(total_energy, found.exact, valid=verdict.valid),
        certified_energy=found.certified_energy,
        particle_number=solved.observables.particle_number,
        spin_z=solved.observables.spin_z,
        spin_squared=solved.observables.spin_squared,
        valid=verdict.valid,
        invalid_reason=verdict.reason,
        engine=choice.name,
        engine_reason=choice.reason,
        mapper=options.mapper,
        active_space=_active_space(problem),
        frozen_orbitals=problem.frozen_orbitals,
        gradient=solved.engine.gradient_method if solved.engine.gradient_evaluations else "none",
        energy_evaluations=solved.engine.energy_evaluations,
        gradient_evaluations=solved.engine.gradient_evaluations,
        optimizer_steps=solved.solution.steps,
        optimizer_message=solved.solution.message,
        max_evaluations=options.max_iterations,
        threshold=options.threshold,
        replicate=options.replicate,
        energy_standard_error=solved.solution.best.std if options.sampled else None,
        noise_rates=options.noise_rates,
        simulation_method=options.aer_method if choice.name in ("aer", "aer-shots") else None,
        optimization_level=options.optimization_level if options.transpiled else None,
        device=solved.engine.device,
        scan_coordinate=scan.coordinate if scan else None,
        scan_value=scan.value if scan else None,
        previous_experiment=options.previous,
        wall_time=circumstances.wall_time,
        versions=provenance.versions(),
        started_at=circumstances.started_at,
        host=provenance.host(),
        dagster_run_id=circumstances.dagster_run_id,
        campaign=circumstances.campaign,
    )


def _active_space(problem: ElectronicProblem) -> ActiveSpace | None:
    if problem.full_space:
        return None
    return ActiveSpace(electrons=sum(problem.num_particles), orbitals=problem.num_orbitals)


def _comparison(total_energy: float, exact: ExactReference | None, *, valid: bool) -> dict[str, Any]:
    if exact is None:
        return {}
    error = 1000.0 * (total_energy - exact.energy)
    return {
        "fci_energy": exact.energy,
        "reference_method": exact.method,
        "energy_error_mha": error,
        "chemically_accurate": valid and abs(error) <= CHEMICAL_ACCURACY_MHA,
    }


def _vqe_result(found: Findings) -> VQEResult:
    prepared, solved, options = found.prepared, found.solved, found.prepared.options
    solution, engine = solved.solution, solved.engine
    unjudged = engine.name == "sector" and found.certified_energy is None
    return VQEResult(
        initial_data=VQEInitialData(
            backend=UNJUDGED_BACKEND if unjudged else engine.backend,
            num_qubits=solved.ansatz.num_qubits,
            hamiltonian=prepared.terms,
            num_parameters=solved.ansatz.num_parameters,
            initial_parameters=solved.initial_parameters,
            optimizer=options.optimizer,
            ansatz=solved.ansatz.qasm3(),
            noise_backend=engine.noise_backend,
            default_shots=options.shots,
            ansatz_reps=options.reps,
            init_strategy=options.init_strategy,
            seed=options.seed,
            ansatz_name=options.ansatz,
            exact_estimator=engine.exact,
        ),
        iteration_list=solution.iterations,
        minimum=solution.best.result,
        optimal_parameters=solution.best.parameters,
        maxcv=solution.maxcv,
        minimization_time=solution.seconds,
        nuclear_repulsion_energy=prepared.problem.nuclear_repulsion,
        success=solution.success,
        nfev=len(solution.iterations),
        nit=solution.steps,
    )
