"""One molecule from geometry to record: the run that everything else orchestrates."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulation import provenance
from simulation.identity import experiment_id
from simulation.metrics import accuracy, run_metrics
from simulation.molecules import Molecule, MoleculeError, load_molecules, partition_key, select_molecule
from simulation.options import VQEOptions
from simulation.preparation import checked_choice, prepare, trial_state
from simulation.record import VQEDecoratedResult, VQEProcess
from simulation.recording import Circumstances, Findings, Prepared, ScanPosition, Solved, record_of

if TYPE_CHECKING:
    from simulation.ansatz import Ansatz
    from simulation.engines.base import Engine
    from simulation.monitor import PerformanceMonitor
    from simulation.reference import ExactReference
    from simulation.solver import Solution

Sink = Callable[[VQEDecoratedResult], None]
CORRELATION_HARTREE = 1e-4
AT_HARTREE_FOCK = 1e-7
"""A run that ends this close to Hartree-Fock (Hartree), with that much to gain, has found nothing."""

_LOGGER = logging.getLogger(__name__)

Lookup = Callable[[str], VQEDecoratedResult]
"""Gives the record of an experiment by its id; raises `LookupError` or `ValueError` where there is none."""


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
        lookup: Where the experiment comes from that init_strategy 'previous' starts from. Its optimum is carried over
            to the orbitals of the run (see `orbital_matching`).
        checkpoints: Folder in which a run that takes longer than a second notes its evaluations: killed and asked
            again, it goes on from there and ends in the same record. The note goes when the sink has the record.
        monitor: Samples the system while the runs compute.
        scan: Place of the molecule on a potential-energy scan, noted in the record.
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
        lookup: Lookup | None = None,
        checkpoints: Path | None = None,
        monitor: PerformanceMonitor | None = None,
        scan: ScanPosition | None = None,
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
        self._lookup = lookup
        self._checkpoints = checkpoints
        self._monitor = monitor
        self._scan = scan
        self._dagster_run_id = dagster_run_id
        self._campaign = campaign

    def check(self) -> None:
        """Refuse now what `run` would refuse before any work.

        Raises:
            ProblemError: as `run`.
            EngineError: as `run`.
        """
        for _, molecule in self._molecules:
            checked_choice(molecule, self.options.resolved())

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
            if self._sink is not None:
                self._forget(str(result.experiment_id))
            results.append(result)
        return results

    def _process_molecule(self, molecule: Molecule, molecule_id: int = 0) -> VQEDecoratedResult:
        """One molecule from geometry to record."""
        began, started_at = time.perf_counter(), provenance.now()
        with self._monitor or nullcontext():
            found = self._compute(molecule)
        monitor = self._monitor
        return record_of(
            found,
            Circumstances(
                molecule_id=molecule_id,
                started_at=started_at,
                wall_time=time.perf_counter() - began,
                dagster_run_id=self._dagster_run_id,
                campaign=self._campaign,
                scan=self._scan,
                performance_start=monitor.performance_start if monitor else None,
                performance_end=monitor.performance_end if monitor else None,
            ),
        )

    def _compute(self, molecule: Molecule) -> Findings:
        """Everything that is found out about a molecule."""
        from simulation.reference import exact_reference
        from simulation.validity import judge

        prepared = prepare(molecule, self.options.resolved())
        exact = exact_reference(prepared.problem)
        if self._on_prepared is not None:
            self._on_prepared(_run_reference(prepared, exact))
        solved = self._optimise(prepared)
        certified = self._certified_energy(prepared, solved)
        verdict = judge(
            solved.observables,
            num_electrons=molecule.num_electrons,
            multiplicity=molecule.multiplicity,
            total_energy=solved.total_energy(prepared),
            exact_energy=exact.energy if exact else None,
            standard_error=solved.solution.best.std,
        )
        _warn_of_no_correlation(prepared, exact, solved)
        return Findings(prepared, exact, solved, certified, verdict)

    def _certified_energy(self, prepared: Prepared, solved: Solved) -> float | None:
        """Total energy by Aer from the recorded circuit and terms, None above the size that is certified.

        Of a sampled run it is the exact energy of the trial state, which the engine's own state must have, too.
        """
        if solved.ansatz.num_qubits > prepared.options.certify_max_qubits:
            return None
        from simulation.certification import CertificationError, certify

        best, engine = solved.solution.best, solved.engine
        claimed = best.result if engine.exact else engine.expectation(np.array(best.parameters))
        try:
            electronic = certify(solved.ansatz.qasm3(), prepared.terms, best.parameters, claimed)
        except CertificationError:
            # What led here must not be replayed by the next attempt.
            self._forget(experiment_id(prepared.molecule, prepared.options))
            raise
        return electronic + prepared.problem.nuclear_repulsion

    def _forget(self, experiment: str) -> None:
        if self._checkpoints is not None:
            checkpoint_path(self._checkpoints, experiment).unlink(missing_ok=True)

    def _optimise(self, prepared: Prepared) -> Solved:
        from simulation.observables import Observables

        began = time.perf_counter()
        problem = prepared.problem
        ansatz = trial_state(problem, prepared.options)
        with closing(prepared.choice.build(ansatz, problem, prepared.hamiltonian)) as engine:
            with self._checkpointed(engine, prepared) as logged:
                solution, ansatz, start = self._minimise(logged, ansatz, prepared)
            seconds = time.perf_counter() - began
            active = engine.observables(np.array(solution.best.parameters))
        observables = Observables(
            active.particle_number + 2 * problem.frozen_orbitals, active.spin_z, active.spin_squared
        )
        return Solved(ansatz, engine, start, solution, observables, seconds)

    def _checkpointed(self, engine: Engine, prepared: Prepared) -> AbstractContextManager[Engine]:
        if self._checkpoints is None:
            return nullcontext(engine)
        from simulation.checkpoint import checkpointed

        experiment = experiment_id(prepared.molecule, prepared.options)
        path, problem = checkpoint_path(self._checkpoints, experiment), prepared.hamiltonian.digest()
        return checkpointed(engine, path, experiment, problem=problem)

    def _minimise(self, engine: Engine, ansatz: Ansatz, prepared: Prepared) -> tuple[Solution, Ansatz, list[float]]:
        """The optimisation, the ansatz at its end (ADAPT grows it) and the initial parameters of that."""
        from simulation.ansatz import AdaptAnsatz
        from simulation.initial_point import initial_point
        from simulation.optimizers import get_optimizer
        from simulation.solver import VQESolver

        problem, options = prepared.problem, prepared.options
        optimizer = get_optimizer(options.optimizer)
        limits: dict[str, Any] = {
            "max_evaluations": options.max_iterations,
            "threshold": options.threshold,
            "energy_scale": abs(problem.hf_energy - problem.nuclear_repulsion),
            "seed": options.seed,
            "on_evaluation": self._on_evaluation,
        }
        if isinstance(ansatz, AdaptAnsatz):
            from simulation.adapt import AdaptSolver
            from simulation.engines.sector import SectorEngine
            from simulation.excitations import generalised_pool

            assert isinstance(engine, SectorEngine)  # compatibility allows no other
            pool = generalised_pool(problem.num_orbitals, problem.num_particles)
            grown = AdaptSolver(
                engine, ansatz, pool, optimizer, gradient_threshold=options.adapt_threshold, **limits
            ).solve()
            return grown, grown.ansatz, [0.0] * grown.ansatz.num_parameters
        start = initial_point(
            options.init_strategy,
            ansatz,
            seed=options.seed,
            problem=problem,
            previous=self._previous_optimum(prepared, ansatz),
        )
        return VQESolver(engine, optimizer, start, **limits).solve(), ansatz, start.tolist()

    def _previous_optimum(self, prepared: Prepared, ansatz: Ansatz) -> Sequence[float] | None:
        options = prepared.options
        if options.previous is None:
            return None
        from simulation.orbital_matching import optimum_for

        if self._lookup is None:
            raise ValueError(
                f"the run starts from the optimum of experiment {options.previous}, but nothing was given to look it "
                "up: pass lookup"
            )
        partition = partition_key(prepared.molecule)
        return optimum_for(self._lookup(options.previous), partition, options, prepared.problem, ansatz).tolist()

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


def checkpoint_path(folder: Path, experiment: str) -> Path:
    """Where a run notes its evaluations; whoever lands its record without a sink removes it."""
    return folder / f"{experiment}.evaluations"


def _run_reference(prepared: Prepared, exact: ExactReference | None) -> RunReference:
    problem = prepared.problem
    return RunReference(
        num_qubits=prepared.hamiltonian.num_qubits,
        nuclear_repulsion=problem.nuclear_repulsion,
        hf_energy=problem.hf_energy,
        exact_energy=exact.energy if exact else None,
        exact_method=exact.method if exact else None,
    )


def _overridden(options: VQEOptions, overrides: dict[str, Any]) -> VQEOptions:
    given = {key: value for key, value in overrides.items() if value is not None}
    # Built anew rather than copied, so that the values are checked, alone and together.
    return VQEOptions.model_validate(options.model_dump() | given) if given else options


def _warn_of_no_correlation(prepared: Prepared, exact: ExactReference | None, solved: Solved) -> None:
    """Tell of a run that found nothing beyond Hartree-Fock though there is something to find."""
    hf_energy = prepared.problem.hf_energy
    if exact is None or hf_energy - exact.energy < CORRELATION_HARTREE:
        return
    if (
        not (solved.engine.exact and solved.solution.success)
        or abs(solved.total_energy(prepared) - hf_energy) > AT_HARTREE_FOCK
    ):
        return
    _LOGGER.warning(
        "%s: the run ended at the Hartree-Fock energy, %.3f mHa above the exact one: it is a local minimum of "
        "%s; try more ansatz_reps, another mapper, seed or ansatz",
        partition_key(prepared.molecule),
        1000 * (hf_energy - exact.energy),
        prepared.options.ansatz,
    )
