"""The record of one VQE run: the ONE declaration from which its JSON, Avro and Arrow forms derive.

Field names, nesting and order are those of the field's existing data (spec/features C); everything that
qpipe adds is nullable with a default, so that old and new records read each other.
Energies are in Hartree, coordinates in the stated unit, times in seconds, angles in radian.
"""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

SCHEMA_VERSION = 3
"""1: seeds v1, 2: seeds v2 (the fields marked as later additions), 3: with qpipe's own fields."""

UNDEFINED_NOISE = "undef"
"""What `noise_backend` holds when there is no noise model."""

Int32 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
ExperimentId = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MoleculeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.+-]{1,64}$")]


class RecordPart(BaseModel):
    """Base of every part of the record: strict types, finite numbers, unknown fields of newer writers ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class ComplexNumber(RecordPart):
    """A complex coefficient."""

    real: FiniteFloat
    imaginary: FiniteFloat


class HamiltonianTerm(RecordPart):
    """One Pauli term of the qubit Hamiltonian; `label` reads from the highest qubit to qubit 0."""

    label: Annotated[str, Field(pattern=r"^[IXYZ]+$")]
    coefficients: ComplexNumber


class VQEProcess(RecordPart):
    """One evaluation of the energy during the optimisation (the field calls it an iteration).

    `result` is the electronic energy (Hartree), `std` its standard error (0 for exact engines),
    `energy_delta` the change since the previous evaluation, `parameter_delta_norm` the Euclidean norm of the
    parameters' change (radian), `cumulative_min_energy` the lowest `result` so far. `gradient_norm` is the
    Euclidean norm of the gradient where the engine computed it (Hartree per radian), `energy_variance` is
    <H^2> - <H>^2 (Hartree squared).
    """

    iteration: Annotated[Int32, Field(ge=1)]
    parameters: list[FiniteFloat]
    result: FiniteFloat
    std: FiniteFloat
    energy_delta: FiniteFloat | None = None
    parameter_delta_norm: FiniteFloat | None = None
    cumulative_min_energy: FiniteFloat | None = None
    gradient_norm: FiniteFloat | None = None
    energy_variance: FiniteFloat | None = None


class VQEInitialData(RecordPart):
    """What the optimisation started from; `ansatz` is the parametrised circuit in OpenQASM 3."""

    backend: str
    num_qubits: Annotated[Int32, Field(ge=1)]
    hamiltonian: list[HamiltonianTerm]
    num_parameters: Annotated[Int32, Field(ge=0)]
    initial_parameters: list[FiniteFloat]
    optimizer: str
    ansatz: str
    noise_backend: str
    default_shots: Int32 | None
    ansatz_reps: Int32
    init_strategy: str | None = "random"
    seed: Int32 | None = None
    ansatz_name: str | None = None
    exact_estimator: bool = False


class VQEResult(RecordPart):
    """The optimisation itself; `minimum` is electronic, `optimal_parameters` come from the same evaluation."""

    initial_data: VQEInitialData
    iteration_list: Annotated[list[VQEProcess], Field(min_length=1)]
    minimum: FiniteFloat
    optimal_parameters: list[FiniteFloat]
    maxcv: FiniteFloat | None = None
    minimization_time: FiniteFloat
    nuclear_repulsion_energy: FiniteFloat | None = None
    success: bool | None = None
    nfev: Int32 | None = None
    nit: Int32 | None = None

    @model_validator(mode="after")
    def _steps_in_order(self) -> VQEResult:
        steps = [step.iteration for step in self.iteration_list]
        for earlier, later in itertools.pairwise(steps):
            if later <= earlier:
                raise ValueError(f"iteration {later} follows {earlier}; expected each evaluation once, in order")
        return self


class MoleculeData(RecordPart):
    """The molecule as it was asked; `coords` are n x 3 in `units`, `masses` in unified atomic mass units."""

    symbols: Annotated[list[str], Field(min_length=1)]
    coords: list[Annotated[list[FiniteFloat], Field(min_length=3, max_length=3)]]
    multiplicity: Annotated[Int32, Field(ge=1)] = 1
    charge: Int32 = 0
    units: str = "angstrom"
    masses: list[FiniteFloat] | None = None
    name: MoleculeName | None = None

    @field_validator("coords", mode="before")
    @classmethod
    def _reshape_flat_coordinates(cls, coords: Any) -> Any:
        """Accept the flattened form x1, y1, z1, x2, ... that some writers produce (spec C4)."""
        if isinstance(coords, list) and coords and not isinstance(coords[0], list):
            if len(coords) % 3:
                raise ValueError(f"flat coords hold {len(coords)} numbers, expected three for each atom")
            return [coords[i : i + 3] for i in range(0, len(coords), 3)]
        return coords

    @field_validator("units", mode="before")
    @classmethod
    def _lower_case_units(cls, units: Any) -> Any:
        lowered = units.lower() if isinstance(units, str) else units
        if lowered not in ("angstrom", "bohr"):
            raise ValueError(f"units is {units!r}, expected 'angstrom' or 'bohr'")
        return lowered

    @model_validator(mode="after")
    def _one_position_per_atom(self) -> MoleculeData:
        if len(self.coords) != len(self.symbols):
            raise ValueError(f"{len(self.symbols)} symbols but {len(self.coords)} positions")
        if self.masses is not None and len(self.masses) != len(self.symbols):
            raise ValueError(f"{len(self.symbols)} symbols but {len(self.masses)} masses")
        return self


class MoleculeInfo(RecordPart):
    """The wire's wrapper around the molecule; a flat molecule is accepted too (spec C, pitfalls section 6)."""

    molecule_data: MoleculeData

    @model_validator(mode="before")
    @classmethod
    def _wrap_flat_molecule(cls, value: Any) -> Any:
        if isinstance(value, dict) and "molecule_data" not in value and "symbols" in value:
            return {"molecule_data": value}
        return value


class ActiveSpace(RecordPart):
    """Electrons and spatial orbitals that are correlated; the core below them is frozen."""

    electrons: Annotated[Int32, Field(ge=1)]
    orbitals: Annotated[Int32, Field(ge=1)]


class NoiseRates(RecordPart):
    """Error probabilities of a simple noise model: depolarizing after every gate, and of reading a qubit wrongly."""

    one_qubit: Annotated[FiniteFloat, Field(ge=0, le=1)]
    two_qubit: Annotated[FiniteFloat, Field(ge=0, le=1)]
    readout: Annotated[FiniteFloat, Field(ge=0, le=0.5)] = 0.0


class VQEDecoratedResult(RecordPart):
    """One VQE run with its provenance and its verdict.

    `total_energy` = minimum + nuclear repulsion (with the frozen core's energy inside the Hamiltonian's constant);
    `fci_energy` is the exact energy in the same orbital space by `reference_method` ('FCI' or 'CASCI'), None when
    infeasible; `energy_error_mha` = 1000 (total_energy - fci_energy). `certified_energy` is the total energy of the
    optimum re-evaluated on Qiskit Aer from the recorded circuit and Hamiltonian. `particle_number`, `spin_z` and
    `spin_squared` are expectation values at the optimum. `valid` is False, with `invalid_reason`, when the result
    is not about the molecule asked. `versions` is JSON text, `started_at` ISO 8601 in UTC.
    `energy_standard_error` is the statistical error of a sampled `total_energy` (Hartree). `active_space` holds the
    correlated electrons and orbitals whenever some are not, `frozen_orbitals` the doubly occupied ones below them.
    `device` is CPU, GPU or QPU. `scan_coordinate` and `scan_value` (angstrom or degree) place a point of a
    potential-energy scan, `previous_experiment` is the experiment whose optimum the run started from.
    """

    vqe_result: VQEResult
    molecule: MoleculeInfo
    basis_set: str
    hamiltonian_time: FiniteFloat
    mapping_time: FiniteFloat
    vqe_time: FiniteFloat
    total_time: FiniteFloat
    molecule_id: Int32
    performance_start: str | None = None
    performance_end: str | None = None
    schema_version: Int32 | None = None
    experiment_id: ExperimentId | None = None
    total_energy: FiniteFloat | None = None
    hf_energy: FiniteFloat | None = None
    fci_energy: FiniteFloat | None = None
    reference_method: str | None = None
    energy_error_mha: FiniteFloat | None = None
    chemically_accurate: bool | None = None
    certified_energy: FiniteFloat | None = None
    particle_number: FiniteFloat | None = None
    spin_z: FiniteFloat | None = None
    spin_squared: FiniteFloat | None = None
    valid: bool | None = None
    invalid_reason: str | None = None
    engine: str | None = None
    engine_reason: str | None = None
    mapper: str | None = None
    active_space: ActiveSpace | None = None
    gradient: str | None = None
    energy_evaluations: Int32 | None = None
    gradient_evaluations: Int32 | None = None
    optimizer_steps: Int32 | None = None
    max_evaluations: Int32 | None = None
    threshold: FiniteFloat | None = None
    replicate: Int32 | None = None
    wall_time: FiniteFloat | None = None
    versions: str | None = None
    started_at: str | None = None
    host: str | None = None
    dagster_run_id: str | None = None
    campaign: str | None = None
    frozen_orbitals: Int32 | None = None
    energy_standard_error: FiniteFloat | None = None
    optimizer_message: str | None = None
    noise_rates: NoiseRates | None = None
    simulation_method: str | None = None
    optimization_level: Int32 | None = None
    device: str | None = None
    scan_coordinate: str | None = None
    scan_value: FiniteFloat | None = None
    previous_experiment: ExperimentId | None = None

    @field_validator("started_at")
    @classmethod
    def _aware_start(cls, started_at: str | None) -> str | None:
        if started_at is not None and dt.datetime.fromisoformat(started_at).tzinfo is None:
            raise ValueError(f"started_at is {started_at!r}, expected ISO 8601 with a time zone")
        return started_at

    def to_json(self) -> bytes:
        """The record as UTF-8 JSON, the form in which it lands in the object store."""
        return self.model_dump_json().encode()
