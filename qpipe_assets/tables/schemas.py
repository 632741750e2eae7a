"""The ONE declaration of every table: columns, units, keys, partitions, comments, lineage.

The Iceberg schema, the Arrow schema, the asset specs, the checks and docs/tables.md derive from it.
Column order: the seeds' columns in the seeds' order, then qpipe's own.
"""

from __future__ import annotations

from collections.abc import Iterable

from qpipe_assets.tables.declaration import Column, Table

NAMESPACE = "quantum_features"

_EXPERIMENT = Column("experiment_id", "string", "Identity of the run: SHA-256 of what was asked", required=True)
_MOLECULE_ID = Column("molecule_id", "int", "Position of the molecule in the file it was read from")
_BASIS = Column("basis_set", "string", "Gaussian basis set")
_BACKEND = Column("backend", "string", "Simulator or device that computed the energies")
_NUM_QUBITS = Column("num_qubits", "int", "Qubits of the circuit")
_MOLECULE = Column("molecule", "string", "Partition key: catalogue name or Hill formula of the molecule", required=True)
_COMMON = (
    Column("processing_timestamp", "timestamptz", "When the batch was claimed", required=True),
    Column("processing_date", "date", "Day (UTC) of the batch's claim", required=True),
    Column("processing_batch_id", "string", "Batch that wrote the row", required=True),
    Column("processing_name", "string", "Name of the processing that wrote the row"),
)
_ANSATZ_REPS = Column("ansatz_reps", "int", "Repetitions of the ansatz")
_ANSATZ_NAME = Column("ansatz_name", "string", "Name of the ansatz")
_INIT_STRATEGY = Column("init_strategy", "string", "How the initial point was chosen")
_HEADER = (_EXPERIMENT, _MOLECULE_ID, _BASIS, _BACKEND, _NUM_QUBITS)


def _parameter_table(name: str, adjective: str, comment: str) -> Table:
    columns = (
        *_HEADER,
        Column(
            f"{adjective}_parameter_value",
            "double",
            f"The {adjective} value of the parameter",
            "rad",
            required=True,
        ),
        *_COMMON,
        Column("parameter_index", "int", "Position of the parameter, from 0", required=True),
        Column("parameter_id", "string", "Experiment and position", required=True),
        _MOLECULE,
    )
    return Table(name, comment, ("parameter_id",), ("processing_date", "basis_set"), columns)


NORMALIZED: tuple[Table, ...] = (
    Table(
        "molecules",
        "Molecule information for quantum simulations",
        ("experiment_id", "molecule_id"),
        ("processing_date",),
        (
            _EXPERIMENT,
            _MOLECULE_ID,
            Column("atom_symbols", "list<string>", "Chemical symbols of the atoms"),
            Column("molecule_name", "string", "Symbols joined in the order of the atoms"),
            Column("coordinates", "list<list<double>>", "Positions of the atoms, x y z each", "coordinate_units"),
            Column("multiplicity", "int", "Spin multiplicity 2S+1"),
            Column("charge", "int", "Total charge", "e"),
            Column("coordinate_units", "string", "Unit of the coordinates: angstrom or bohr"),
            Column("atomic_masses", "list<double>", "Masses of the atoms where given", "u"),
            *_COMMON,
            _MOLECULE,
        ),
    ),
    Table(
        "ansatz_info",
        "Ansatz configurations for quantum simulations",
        ("experiment_id", "molecule_id"),
        ("processing_date", "basis_set"),
        (
            _EXPERIMENT,
            _MOLECULE_ID,
            _BASIS,
            Column("ansatz", "string", "Parametrised circuit in OpenQASM 3"),
            _ANSATZ_REPS,
            _ANSATZ_NAME,
            _INIT_STRATEGY,
            *_COMMON,
            _MOLECULE,
            Column("mapper", "string", "Fermion-to-qubit mapping"),
            Column("num_parameters", "int", "Variational parameters of the circuit"),
        ),
    ),
    Table(
        "performance_metrics",
        "Performance metrics for quantum simulations",
        ("experiment_id", "molecule_id", "basis_set"),
        ("processing_date", "basis_set"),
        (
            _EXPERIMENT,
            _MOLECULE_ID,
            _BASIS,
            Column("hamiltonian_time", "double", "Building the molecular Hamiltonian", "s"),
            Column("mapping_time", "double", "Mapping it to qubits", "s"),
            Column("vqe_time", "double", "The optimisation with its preparation", "s"),
            Column("total_time", "double", "Sum of the three as the run reported it", "s"),
            Column("minimization_time", "double", "The optimiser alone", "s"),
            Column("computed_total_time", "double", "hamiltonian_time + mapping_time + vqe_time", "s"),
            *_COMMON,
            _MOLECULE,
            Column("wall_time", "double", "Elapsed time of the run from start to record", "s"),
            Column("started_at", "timestamptz", "When the run started"),
            Column("host", "string", "Machine that computed the run"),
        ),
    ),
    Table(
        "vqe_results",
        "VQE optimization results for quantum simulations",
        ("experiment_id", "molecule_id", "basis_set"),
        ("processing_date", "basis_set", "backend"),
        (
            *_HEADER,
            Column("optimizer", "string", "Classical optimiser"),
            Column("noise_backend", "string", "Noise model, 'undef' when none"),
            Column("default_shots", "int", "Measurement shots, null for exact expectation values"),
            _ANSATZ_REPS,
            _ANSATZ_NAME,
            _INIT_STRATEGY,
            Column("seed", "int", "Seed of everything random in the run"),
            Column("minimum_energy", "double", "Lowest electronic energy evaluated", "Hartree", required=True),
            Column("maxcv", "double", "Largest constraint violation the optimiser reported"),
            Column("nuclear_repulsion_energy", "double", "Repulsion of the nuclei", "Hartree"),
            Column("success", "boolean", "The optimiser's own verdict; not validity, not accuracy"),
            Column("nfev", "int", "Function evaluations as the optimiser counted"),
            Column("nit", "int", "Optimiser steps"),
            Column("total_iterations", "int", "Recorded energy evaluations", required=True),
            *_COMMON,
            _MOLECULE,
            Column("total_energy", "double", "minimum_energy + nuclear_repulsion_energy", "Hartree"),
            Column("hf_energy", "double", "Hartree-Fock total energy", "Hartree"),
            Column("fci_energy", "double", "Exact total energy in the same orbital space", "Hartree"),
            Column("reference_method", "string", "Method of fci_energy: FCI or CASCI"),
            Column("energy_error_mha", "double", "total_energy - fci_energy", "mHartree"),
            Column("chemically_accurate", "boolean", "Valid and within 1.6 mHartree of fci_energy"),
            Column(
                "certified_energy",
                "double",
                "Total energy of the optimum re-evaluated on Qiskit Aer",
                "Hartree",
            ),
            Column("particle_number", "double", "<N> at the optimum"),
            Column("spin_z", "double", "<S_z> at the optimum", "hbar"),
            Column("spin_squared", "double", "<S^2> at the optimum", "hbar^2"),
            Column("valid", "boolean", "False when the result is not about the molecule asked; null when unknown"),
            Column("invalid_reason", "string", "Why the result is not valid"),
            Column("engine", "string", "Engine that computed energies and gradients"),
            Column("engine_reason", "string", "Why this engine ran"),
            Column("gradient", "string", "How gradients were computed"),
            Column("active_electrons", "int", "Correlated electrons, null for the full space"),
            Column("active_orbitals", "int", "Correlated spatial orbitals, null for the full space"),
            Column("energy_evaluations", "int", "Energy evaluations of the engine"),
            Column("gradient_evaluations", "int", "Gradient evaluations of the engine"),
            Column("optimizer_steps", "int", "Accepted steps of the optimiser"),
            Column("max_evaluations", "int", "Cap on energy evaluations that was asked"),
            Column("threshold", "double", "Convergence threshold that was asked", "Hartree"),
            Column("replicate", "int", "Number of a deliberate repetition"),
            Column("schema_version", "int", "Version of the record's schema"),
            Column("versions", "string", "Software versions as JSON text"),
            Column("dagster_run_id", "string", "Dagster run that computed the result"),
            Column("campaign", "string", "Campaign the run belongs to"),
            Column("frozen_orbitals", "int", "Doubly occupied orbitals below the correlated ones"),
            Column("energy_standard_error", "double", "Statistical error of a sampled total_energy", "Hartree"),
            Column("optimizer_message", "string", "Why the optimiser stopped, in its own words"),
            Column("one_qubit_error", "double", "Depolarizing probability after a one-qubit gate"),
            Column("two_qubit_error", "double", "Depolarizing probability after a two-qubit gate"),
            Column("readout_error", "double", "Probability to read a qubit wrongly"),
            Column("simulation_method", "string", "Method of Qiskit Aer"),
            Column("optimization_level", "int", "Level of Qiskit's transpiler, where noise or a device made it matter"),
            Column("device", "string", "CPU, GPU or QPU"),
            Column("scan_coordinate", "string", "Bond or angle that a potential-energy scan varies"),
            Column("scan_value", "double", "Its value", "angstrom or degree"),
            Column("previous_experiment", "string", "Experiment whose optimum was the initial point"),
        ),
    ),
    _parameter_table("initial_parameters", "initial", "Initial parameters for VQE optimization"),
    _parameter_table("optimal_parameters", "optimal", "Optimal parameters found by VQE optimization"),
    Table(
        "vqe_iterations",
        "VQE optimization iterations and energy values",
        ("iteration_id",),
        ("processing_date", "basis_set", "backend"),
        (
            *_HEADER,
            Column("iteration_step", "int", "Number of the energy evaluation, from 1", required=True),
            Column("iteration_energy", "double", "Electronic energy of the evaluation", "Hartree", required=True),
            Column("energy_std_dev", "double", "Standard error of the energy", "Hartree"),
            Column("energy_delta", "double", "Change since the previous evaluation", "Hartree"),
            Column("parameter_delta_norm", "double", "Euclidean norm of the parameters' change", "rad"),
            Column("cumulative_min_energy", "double", "Lowest electronic energy so far", "Hartree"),
            *_COMMON,
            Column("iteration_id", "string", "Experiment and step", required=True),
            _MOLECULE,
            Column("gradient_norm", "double", "Euclidean norm of the gradient where computed", "Hartree/rad"),
            Column("energy_variance", "double", "<H^2> - <H>^2 where computed", "Hartree^2"),
        ),
    ),
    Table(
        "iteration_parameters",
        "Parameters at each iteration of VQE optimization",
        ("parameter_id",),
        ("processing_date", "basis_set"),
        (
            *_HEADER,
            Column("iteration_step", "int", "Number of the energy evaluation, from 1", required=True),
            Column("parameter_index", "int", "Position of the parameter, from 0", required=True),
            Column("parameter_value", "double", "Value of the parameter", "rad", required=True),
            *_COMMON,
            Column("iteration_id", "string", "Experiment and step", required=True),
            Column("parameter_id", "string", "Experiment, step and position", required=True),
            _MOLECULE,
        ),
    ),
    Table(
        "hamiltonian_terms",
        "Hamiltonian terms for quantum simulations",
        ("term_id",),
        ("processing_date", "basis_set", "backend"),
        (
            _EXPERIMENT,
            _MOLECULE_ID,
            _BASIS,
            _BACKEND,
            Column("term_label", "string", "Pauli string, highest qubit first", required=True),
            Column("coeff_real", "double", "Real part of the coefficient", "Hartree", required=True),
            Column("coeff_imag", "double", "Imaginary part of the coefficient", "Hartree", required=True),
            *_COMMON,
            Column("term_index", "int", "Position of the term, from 0", required=True),
            Column("term_id", "string", "Experiment and position", required=True),
            _MOLECULE,
        ),
    ),
)

PROCESSING_METADATA = Table(
    "processing_metadata",
    "Audit of every processed batch",
    ("processing_batch_id",),
    (),
    (
        Column("processing_batch_id", "string", "The batch", required=True),
        Column("processing_name", "string", "Name of the processing"),
        Column("processing_timestamp", "timestamptz", "When the batch was claimed", required=True),
        Column("processing_date", "date", "Day (UTC) of the batch's claim", required=True),
        Column("table_names", "list<string>", "Tables the batch was offered to"),
        Column("table_versions", "list<string>", "Tag of the batch's snapshot in each, 'no_changes' when none"),
        Column("record_counts", "list<long>", "Rows the batch appended to each"),
        Column("source_data_info", "string", "Where the data came from"),
        _MOLECULE,
    ),
    tuple(table.name for table in NORMALIZED),
)

# The first one is the one that the rows follow.
_ML_SOURCES = ("vqe_iterations", "vqe_results", "ansatz_info", "molecules", "performance_metrics")
_ML_RUN_KEYS = (
    _EXPERIMENT,
    Column("molecule_name", "string", "Symbols joined in the order of the atoms", required=True),
    Column("num_atoms", "int", "Number of atoms"),
    Column("num_qubits", "int", "Qubits of the circuit", required=True),
    Column("charge", "int", "Total charge", "e"),
    Column("multiplicity", "int", "Spin multiplicity 2S+1"),
    Column("basis_set", "string", "Gaussian basis set", required=True),
    Column("optimizer", "string", "Classical optimiser", required=True),
    Column("ansatz_type", "string", "Name of the ansatz"),
    _ANSATZ_REPS,
    _INIT_STRATEGY,
    Column("seed", "int", "Seed of everything random in the run"),
    Column("default_shots", "int", "Measurement shots, null for exact expectation values"),
)
_ML_RUN_OUTCOME = (
    Column("total_iterations", "int", "Recorded energy evaluations of the run"),
    Column("final_energy", "double", "Lowest electronic energy of the run", "Hartree"),
    Column("converged", "boolean", "The optimiser's own verdict; not validity, not accuracy"),
    Column("convergence_iteration", "int", "Last step that reached a new minimum"),
    Column("vqe_time", "double", "The optimisation with its preparation", "s"),
    Column("total_time", "double", "Hamiltonian, mapping and optimisation", "s"),
)
_ML_VERDICT = (
    _MOLECULE,
    Column("processing_batch_id", "string", "Batch whose runs the row is about", required=True),
    Column("total_energy", "double", "Total energy of the run", "Hartree"),
    Column("fci_energy", "double", "Exact total energy in the same orbital space", "Hartree"),
    Column("energy_error_mha", "double", "total_energy - fci_energy", "mHartree"),
    Column("chemically_accurate", "boolean", "Valid and within 1.6 mHartree of fci_energy"),
    Column("valid", "boolean", "False when the result is not about the molecule asked; null when unknown"),
)
_PROCESSING_DATE = _COMMON[1]

ML: tuple[Table, ...] = (
    Table(
        "ml_iteration_features",
        "One row for each energy evaluation, with the features of the trajectory up to it",
        ("experiment_id", "iteration_step"),
        ("processing_date",),
        (
            _ML_RUN_KEYS[0],
            Column("iteration_step", "int", "Number of the energy evaluation, from 1", required=True),
            *_ML_RUN_KEYS[1:],
            Column("energy", "double", "Electronic energy of the evaluation", "Hartree"),
            Column("energy_std", "double", "Standard error of the energy", "Hartree"),
            Column("energy_delta", "double", "Change since the previous evaluation", "Hartree"),
            Column("parameter_delta_norm", "double", "Euclidean norm of the parameters' change", "rad"),
            Column("cumulative_min_energy", "double", "Lowest electronic energy so far", "Hartree"),
            Column("relative_iteration", "double", "iteration_step / total_iterations"),
            Column(
                "energy_improvement_rate",
                "double",
                "(first energy - lowest so far) / iteration_step",
                "Hartree",
            ),
            Column("normalized_energy", "double", "(energy - lowest so far) / |lowest so far|, 0 where that is 0"),
            Column("is_new_minimum", "boolean", "The evaluation is lower than all before it"),
            Column("steps_since_improvement", "int", "Evaluations since the last new minimum"),
            Column(
                "energy_moving_avg_5",
                "double",
                "Mean energy of this and up to four evaluations before",
                "Hartree",
            ),
            Column(
                "energy_moving_std_5",
                "double",
                "Sample standard deviation of the same; null on step 1",
                "Hartree",
            ),
            Column("mean_param_change", "double", "Cumulative parameter_delta_norm / iteration_step", "rad"),
            *_ML_RUN_OUTCOME,
            _PROCESSING_DATE,
            *_ML_VERDICT,
        ),
        _ML_SOURCES,
    ),
    Table(
        "ml_run_summary",
        "One row for each run, with aggregates of its trajectory",
        ("experiment_id",),
        ("processing_date", "basis_set"),
        (
            *_ML_RUN_KEYS,
            *_ML_RUN_OUTCOME,
            Column("mean_energy_delta", "double", "Mean of energy_delta", "Hartree"),
            Column("std_energy_delta", "double", "Sample standard deviation of energy_delta", "Hartree"),
            Column("min_energy", "double", "Lowest electronic energy", "Hartree"),
            Column("max_energy", "double", "Highest electronic energy", "Hartree"),
            Column("energy_range", "double", "max_energy - min_energy", "Hartree"),
            Column("mean_param_delta_norm", "double", "Mean of parameter_delta_norm", "rad"),
            Column("std_param_delta_norm", "double", "Sample standard deviation of parameter_delta_norm", "rad"),
            Column("total_param_distance", "double", "Sum of parameter_delta_norm", "rad"),
            Column("num_new_minima", "long", "Evaluations that reached a new minimum"),
            Column("longest_plateau", "int", "Largest steps_since_improvement"),
            Column("improvement_ratio", "double", "num_new_minima / total_iterations"),
            _PROCESSING_DATE,
            Column("first_10_mean_energy", "double", "Mean energy of the first ten evaluations", "Hartree"),
            Column("first_10_energy_slope", "double", "Slope of the energy over the first ten steps", "Hartree"),
            Column("last_10_mean_energy", "double", "Mean energy of the last ten evaluations", "Hartree"),
            Column("time_per_iteration", "double", "vqe_time / total_iterations", "s"),
            *_ML_VERDICT,
        ),
        ("ml_iteration_features",),
    ),
)

ALL: tuple[Table, ...] = (*NORMALIZED, PROCESSING_METADATA, *ML)
NORMALIZED_NAMES: tuple[str, ...] = tuple(table.name for table in NORMALIZED)
ML_NAMES: tuple[str, ...] = tuple(table.name for table in ML)


def table(name: str) -> Table:
    """The declaration of one table.

    Raises:
        KeyError: there is no such table; names the ones there are.
    """
    for declared in ALL:
        if declared.name == name:
            return declared
    raise KeyError(f"no table {name!r}; there are {', '.join(t.name for t in ALL)}")


def names(tables: Iterable[Table]) -> list[str]:
    """Names of tables in their order."""
    return [declared.name for declared in tables]


def driving_source(ml_name: str) -> str:
    """The source whose rows an ML table follows: it never has more rows than that."""
    return table(ml_name).sources[0]
