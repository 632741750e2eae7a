"""One molecule from geometry to record: the run that everything else orchestrates."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulation import provenance
from simulation.identity import experiment_id
from simulation.metrics import CHEMICAL_ACCURACY_MHA, accuracy, run_metrics
from simulation.molecules import Molecule, MoleculeError, load_molecules, partition_key, select_molecule
from simulation.options import VQEOptions
from simulation.record import (
    SCHEMA_VERSION,
    UNDEFINED_NOISE,
    ComplexNumber,
    HamiltonianTerm,
    MoleculeInfo,
    VQEDecoratedResult,
    VQEInitialData,
    VQEProcess,
    VQEResult,
)

if TYPE_CHECKING:
    from simulation.ansatz import Ansatz
    from simulation.engines.base import Engine
    from simulation.engines.choice import EngineChoice
    from simulation.mapping import QubitHamiltonian
    from simulation.observables import Observables
    from simulation.problem import ElectronicProblem
    from simulation.reference import ExactReference
    from simulation.solver import Solution

Sink = Callable[[VQEDecoratedResult], None]


@dataclass(frozen=True)
class RunReference:
    """What is known of a run before its optimisation starts: its size and the energies to compare with (Hartree)."""

    num_qubits: int
    nuclear_repulsion: float
    hf_energy: float
    exact_energy: float | None
    exact_method: str | None


class Runner(ABC):
    """Something that turns molecules into records."""

    @abstractmethod
    def run(self) -> list[VQEDecoratedResult]:
        """Run every molecule, in order."""


@dataclass(frozen=True)
class _Prepared:
    """Everything that is fixed before the optimisation starts, and what it took."""

    problem: ElectronicProblem
    hamiltonian: QubitHamiltonian
    terms: list[HamiltonianTerm]
    hamiltonian_seconds: float
    mapping_seconds: float


@dataclass(frozen=True)
class _Solved:
    """The optimisation, what it ran on, and what was found at the optimum."""

    ansatz: Ansatz
    engine: Engine
    initial_parameters: list[float]
    solution: Solution
    observables: Observables
    vqe_seconds: float


class VQERunner(Runner):
    """Runs VQE on the molecules of a file, or on given ones, and hands every record to a sink as it is made.

    Args:
        filepath: A molecule file; see `molecules.load_molecules`.
        molecules: Molecules instead of a file.
        molecule_index: Run only this molecule (0-based).
        options: What is asked of every run; the arguments below override single values of it.
        basis_set: Gaussian basis set.
        ansatz: Ansatz by name.
        ansatz_reps: Its repetitions.
        optimizer: Optimiser by name.
        max_iterations: Cap on energy evaluations.
        convergence_threshold: Threshold on the energy (Hartree).
        init_strategy: Where to start.
        seed: Seed of a random start.
        on_prepared: Called when the problem stands and its reference energies are known.
        on_evaluation: Called with every energy evaluation as it is made.
        sink: Called with every record as it is made.
        dagster_run_id: Noted in the record.
        campaign: Noted in the record.

    Raises:
        MoleculeError: neither or both of `filepath` and `molecules`, no molecule, or an index out of range.
        pydantic.ValidationError: an option is impossible.
    """

    def __init__(
        self,
        filepath: str | Path | None = None,
        *,
        molecules: Sequence[Molecule] | None = None,
        molecule_index: int | None = None,
        options: VQEOptions | None = None,
        basis_set: str | None = None,
        ansatz: str | None = None,
        ansatz_reps: int | None = None,
        optimizer: str | None = None,
        max_iterations: int | None = None,
        convergence_threshold: float | None = None,
        init_strategy: str | None = None,
        seed: int | None = None,
        on_prepared: Callable[[RunReference], None] | None = None,
        on_evaluation: Callable[[VQEProcess], None] | None = None,
        sink: Sink | None = None,
        dagster_run_id: str | None = None,
        campaign: str | None = None,
    ) -> None:
        if (filepath is None) == (molecules is None):
            raise MoleculeError("give a molecule file or molecules, one of the two")
        chosen = list(load_molecules(filepath) if filepath is not None else molecules or [])
        if not chosen:
            raise MoleculeError(f"no molecules in {filepath or 'the list'}: give at least one")
        self._molecules = list(enumerate(chosen))
        if molecule_index is not None:
            self._molecules = [(molecule_index, select_molecule(chosen, molecule_index))]
        overrides = {
            "basis": basis_set,
            "ansatz": ansatz,
            "ansatz_reps": ansatz_reps,
            "optimizer": optimizer,
            "max_iterations": max_iterations,
            "threshold": convergence_threshold,
            "init_strategy": init_strategy,
            "seed": seed,
        }
        self.options = _overridden(options or VQEOptions.model_validate({}), overrides)
        self._on_prepared = on_prepared
        self._on_evaluation = on_evaluation
        self._sink = sink
        self._dagster_run_id = dagster_run_id
        self._campaign = campaign

    def run(self) -> list[VQEDecoratedResult]:
        """Run every molecule; a record is handed to the sink before the next molecule starts.

        Raises:
            ProblemError: a molecule cannot be set up in this basis and space, or needs too many qubits.
            EngineError: it would not fit in memory.
            CertificationError: Aer disagrees with the optimum's energy.
        """
        results = []
        for molecule_id, molecule in self._molecules:
            result = self._process_molecule(molecule, molecule_id)
            self._stream_result(result)
            results.append(result)
        return results

    def _process_molecule(self, molecule: Molecule, molecule_id: int = 0) -> VQEDecoratedResult:
        """One molecule from geometry to record."""
        from simulation.engines.choice import choose_engine
        from simulation.reference import exact_reference
        from simulation.validity import judge

        began, started_at = time.perf_counter(), provenance.now()
        options = self.options.resolved()
        choice = choose_engine(options.engine, options.ansatz)
        prepared = _prepare(molecule, options, choice)
        problem = prepared.problem
        exact = exact_reference(problem)
        if self._on_prepared is not None:
            self._on_prepared(_run_reference(problem, exact))
        solved = self._optimise(prepared, options, choice)
        total_energy = solved.solution.best.result + problem.nuclear_repulsion
        certified = _certified_energy(prepared, solved, options)
        verdict = judge(
            solved.observables,
            num_electrons=molecule.num_electrons,
            multiplicity=molecule.multiplicity,
            total_energy=total_energy,
            exact_energy=exact.energy if exact else None,
        )
        vqe_result = _vqe_result(prepared, solved, options)
        data = molecule.to_record()
        return VQEDecoratedResult(
            vqe_result=vqe_result,
            molecule=MoleculeInfo(molecule_data=data.model_copy(update={"name": data.name or partition_key(molecule)})),
            basis_set=options.basis,
            hamiltonian_time=prepared.hamiltonian_seconds,
            mapping_time=prepared.mapping_seconds,
            vqe_time=solved.vqe_seconds,
            total_time=prepared.hamiltonian_seconds + prepared.mapping_seconds + solved.vqe_seconds,
            molecule_id=molecule_id,
            schema_version=SCHEMA_VERSION,
            experiment_id=experiment_id(molecule, options),
            total_energy=total_energy,
            hf_energy=problem.hf_energy,
            **_comparison(total_energy, exact, valid=verdict.valid),
            certified_energy=certified,
            particle_number=solved.observables.particle_number,
            spin_z=solved.observables.spin_z,
            spin_squared=solved.observables.spin_squared,
            valid=verdict.valid,
            invalid_reason=verdict.reason,
            engine=choice.name,
            engine_reason=choice.reason,
            mapper=options.mapper,
            active_space=options.active_space,
            gradient=_gradient_method(solved),
            energy_evaluations=solved.engine.energy_evaluations,
            gradient_evaluations=solved.engine.gradient_evaluations,
            optimizer_steps=solved.solution.steps,
            max_evaluations=options.max_iterations,
            threshold=options.threshold,
            replicate=options.replicate,
            wall_time=time.perf_counter() - began,
            versions=provenance.versions(),
            started_at=started_at,
            host=provenance.host(),
            dagster_run_id=self._dagster_run_id,
            campaign=self._campaign,
        )

    def _optimise(self, prepared: _Prepared, options: VQEOptions, choice: EngineChoice) -> _Solved:
        from simulation.ansatz import ANSAETZE
        from simulation.initial_point import initial_point
        from simulation.observables import Observables
        from simulation.optimizers import get_optimizer
        from simulation.solver import VQESolver

        began = time.perf_counter()
        problem = prepared.problem
        ansatz = ANSAETZE[options.ansatz](problem.num_orbitals, problem.num_particles, options.reps)
        start = initial_point(options.init_strategy, ansatz, options.seed)
        engine = choice.engine(ansatz, prepared.hamiltonian)
        solution = VQESolver(
            engine,
            get_optimizer(options.optimizer),
            start,
            max_evaluations=options.max_iterations,
            threshold=options.threshold,
            energy_scale=abs(problem.hf_energy - problem.nuclear_repulsion),
            on_evaluation=self._on_evaluation,
        ).solve()
        seconds = time.perf_counter() - began
        active = engine.observables(np.array(solution.best.parameters))
        observables = Observables(
            active.particle_number + 2 * problem.frozen_orbitals, active.spin_z, active.spin_squared
        )
        return _Solved(ansatz, engine, start.tolist(), solution, observables, seconds)

    def _collect_accuracy_metrics(self, result: VQEDecoratedResult) -> dict[str, float]:
        """Errors and score of a record; see `metrics.accuracy`."""
        return accuracy(result)

    def _build_metrics_data(self, result: VQEDecoratedResult) -> dict[str, float]:
        """The exported metrics of a record; see `metrics.run_metrics`."""
        return run_metrics(result)

    def _stream_result(self, result: VQEDecoratedResult) -> None:
        """Hand a record to the sink, if there is one."""
        if self._sink is not None:
            self._sink(result)


def _run_reference(problem: ElectronicProblem, exact: ExactReference | None) -> RunReference:
    return RunReference(
        num_qubits=problem.num_qubits,
        nuclear_repulsion=problem.nuclear_repulsion,
        hf_energy=problem.hf_energy,
        exact_energy=exact.energy if exact else None,
        exact_method=exact.method if exact else None,
    )


def _overridden(options: VQEOptions, overrides: dict[str, Any]) -> VQEOptions:
    given = {key: value for key, value in overrides.items() if value is not None}
    # Built anew rather than copied, so that the values are checked, alone and together.
    return VQEOptions.model_validate(options.model_dump() | given) if given else options


def _prepare(molecule: Molecule, options: VQEOptions, choice: EngineChoice) -> _Prepared:
    from simulation.mapping import MAPPERS
    from simulation.problem import build_problem, plan_problem

    space: dict[str, Any] = {
        "frozen_core": options.frozen_core,
        "active_space": options.active_space,
        "max_qubits": choice.max_qubits,
    }
    choice.check(plan_problem(molecule, options.basis, **space))
    began = time.perf_counter()
    problem = build_problem(molecule, options.basis, **space)
    built = time.perf_counter()
    hamiltonian = MAPPERS[options.mapper]().map(problem)
    mapped = time.perf_counter()
    terms = [
        HamiltonianTerm(label=label, coefficients=ComplexNumber(real=value, imaginary=0.0))
        for label, value in zip(hamiltonian.to_labels(), hamiltonian.coefficients.tolist(), strict=True)
    ]
    return _Prepared(problem, hamiltonian, terms, built - began, mapped - built)


def _certified_energy(prepared: _Prepared, solved: _Solved, options: VQEOptions) -> float | None:
    """Total energy by Aer from the recorded circuit and terms, None above the size that is certified."""
    if prepared.problem.num_qubits > options.certify_max_qubits:
        return None
    from simulation.certification import certify

    best = solved.solution.best
    electronic = certify(solved.ansatz.qasm3(), prepared.terms, best.parameters, best.result)
    return electronic + prepared.problem.nuclear_repulsion


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


def _gradient_method(solved: _Solved) -> str:
    return solved.engine.gradient_method if solved.engine.gradient_evaluations else "none"


def _vqe_result(prepared: _Prepared, solved: _Solved, options: VQEOptions) -> VQEResult:
    from simulation.engines.aer import BACKEND

    solution = solved.solution
    return VQEResult(
        initial_data=VQEInitialData(
            backend=BACKEND,
            num_qubits=prepared.problem.num_qubits,
            hamiltonian=prepared.terms,
            num_parameters=solved.ansatz.num_parameters,
            initial_parameters=solved.initial_parameters,
            optimizer=options.optimizer,
            ansatz=solved.ansatz.qasm3(),
            noise_backend=UNDEFINED_NOISE,
            default_shots=None,
            ansatz_reps=options.reps,
            init_strategy=options.init_strategy,
            seed=options.seed,
            ansatz_name=options.ansatz,
            exact_estimator=True,
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
