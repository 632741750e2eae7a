"""What a user can ask of a run: the ONE declaration of the options, for Python, the CLI and Dagster."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from simulation.compatibility import SEEDED_START, refusals
from simulation.optimizers import get_optimizer, optimizer_names
from simulation.record import ActiveSpace, ExperimentId, NoiseRates

Basis = Literal["sto3g", "6-31g", "cc-pvdz"]
AnsatzName = Literal["UCCSD", "kUpCCGSD", "ADAPT", "EfficientSU2", "RealAmplitudes", "ExcitationPreserving"]
MapperName = Literal["jordan_wigner", "parity", "bravyi_kitaev"]
InitStrategy = Literal["hf", "zeros", "random", "mp2", "previous"]
EngineName = Literal["auto", "aer", "aer-shots", "sector", "ibm"]
SimulationMethod = Literal[
    "automatic",
    "statevector",
    "density_matrix",
    "stabilizer",
    "extended_stabilizer",
    "matrix_product_state",
    "unitary",
    "superop",
    "tensor_network",
]

MAX_SEED = 2**31 - 1
DEFAULT_SHOTS = 1024
DISPLACEMENT_SEED = 0
"""Seed of the small displacement from the Hartree-Fock point when none is given: asked twice, it is one experiment."""

DEFAULT_REPS: dict[str, int] = {
    "UCCSD": 1,
    "kUpCCGSD": 2,
    "ADAPT": 1,
    "EfficientSU2": 2,
    "RealAmplitudes": 2,
    "ExcitationPreserving": 2,
}

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Count = Annotated[int, Field(ge=1, le=MAX_SEED)]


class VQEOptions(BaseModel):
    """Everything that distinguishes two runs on the same molecule, and how they are to be computed.

    Defaults give a publishable energy: UCCSD from Hartree-Fock, L-BFGS-B on the exact gradient.

    Raises:
        pydantic.ValidationError: a value is unknown or out of range, or options do not go together;
            the message names the values and the reason.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    basis: Basis = Field("sto3g", description="Gaussian basis set.")
    frozen_core: bool = Field(False, description="Freeze the chemical core orbitals of every atom.")
    active_space: ActiveSpace | None = Field(
        None, description="Correlate only this many electrons in this many spatial orbitals."
    )
    mapper: MapperName = Field(
        "jordan_wigner", description="Fermion-to-qubit mapping; parity saves two qubits by N_alpha and N_beta."
    )
    ansatz: AnsatzName = Field("UCCSD", description="Parametrised trial state.")
    ansatz_reps: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="Repetitions of the ansatz; UCCSD 1, the others 2 unless given."
    )
    adapt_threshold: Annotated[FiniteFloat, Field(gt=0)] = Field(
        1e-3, description="ADAPT stops growing when no gradient of its pool is larger (Hartree per radian)."
    )
    init_strategy: InitStrategy = Field(
        "hf",
        description="Initial point: the Hartree-Fock state, all parameters zero, uniform in [0, 2 pi), "
        "MP2 amplitudes, or the optimum of another experiment.",
    )
    previous: ExperimentId | None = Field(
        None, description="The experiment whose optimum is the initial point of init_strategy 'previous'."
    )
    seed: Seed | None = Field(
        None, description="Seed of everything random in the run; drawn and recorded when needed and not given."
    )
    optimizer: str = Field("L-BFGS-B", description=f"Classical optimizer: {', '.join(optimizer_names())}.")
    max_iterations: Count | None = Field(
        None, description="Hard cap on energy evaluations; the best seen is returned with success=false."
    )
    threshold: Annotated[FiniteFloat, Field(gt=0)] | None = Field(
        None, description="Convergence threshold on the energy (Hartree); excludes max_iterations."
    )
    engine: EngineName = Field("auto", description="What computes energies and gradients.")
    shots: Count | None = Field(
        None, description="Samples of every measured group of Pauli terms; exact expectation values when not given."
    )
    noise: str | None = Field(None, description="Noise of this fake backend, offline, for example FakeManilaV2.")
    noise_rates: NoiseRates | None = Field(None, description="Depolarizing and readout error rates instead.")
    simulation_method: SimulationMethod | None = Field(
        None, description="Method of Qiskit Aer for sampled runs; statevector, under noise automatic unless given."
    )
    optimization_level: Annotated[int, Field(ge=0, le=3)] = Field(
        3, description="Level of Qiskit's transpiler, where noise or a device makes it matter."
    )
    min_qubits: Count | None = Field(None, description="Only IBM devices with at least this many qubits.")
    gpu: bool = Field(False, description="Let Qiskit Aer simulate on a GPU.")
    cpu_fallback: bool = Field(False, description="Where there is no GPU use the CPU and record it, not an error.")
    custatevec: bool = Field(False, description="Aer's cuStateVec_enable, on a GPU.")
    blocking: bool = Field(False, description="Aer's blocking_enable, on a GPU.")
    batched_shots_gpu: bool = Field(True, description="Aer's batched_shots_gpu, on a GPU.")
    shot_branching: bool = Field(True, description="Aer's shot_branching_enable, on a GPU.")
    max_memory_mb: Count = Field(5500, description="Memory that Aer may use on a GPU (MiB).")
    certify_max_qubits: Annotated[int, Field(ge=0, le=40)] = Field(
        16, description="Re-evaluate the optimum on Qiskit Aer up to this many qubits."
    )
    replicate: Annotated[int, Field(ge=0, le=MAX_SEED)] = Field(
        0, description="Number of a deliberate repetition of an otherwise identical run."
    )

    @field_validator("optimizer")
    @classmethod
    def _known_optimizer(cls, name: str) -> str:
        return get_optimizer(name).name

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found = refusals(self)
        if found:
            raise ValueError("; ".join(found))
        return self

    @property
    def reps(self) -> int:
        """Repetitions of the ansatz, with the ansatz's default filled in."""
        return self.ansatz_reps if self.ansatz_reps is not None else DEFAULT_REPS[self.ansatz]

    @property
    def sampled(self) -> bool:
        """Whether energies are estimated from samples rather than exact."""
        return self.shots is not None or self.noisy or self.engine in ("aer-shots", "ibm")

    @property
    def noisy(self) -> bool:
        """Whether a noise model was asked for."""
        return self.noise is not None or self.noise_rates is not None

    @property
    def aer_method(self) -> SimulationMethod:
        """Method of Qiskit Aer; under noise its own choice, since a state vector would run every shot by itself."""
        return self.simulation_method or self._default_method

    @property
    def _default_method(self) -> SimulationMethod:
        return "automatic" if self.noisy else "statevector"

    @property
    def transpiled(self) -> bool:
        """Whether the circuit is transpiled, so that the level of it can matter."""
        return self.noisy or self.engine == "ibm" or self.aer_method not in ("automatic", "statevector")

    def resolved(self) -> VQEOptions:
        """The same options with nothing left open, and what the run does not use back at its default.

        Repetitions and shots are filled in and a seed is drawn where one is needed; an option without effect must not
        make two equal runs look different.
        """
        unused = [] if self.transpiled else ["optimization_level"]
        if not self.sampled or self.simulation_method == self._default_method:
            unused.append("simulation_method")
        if self.ansatz != "ADAPT":
            unused.append("adapt_threshold")
        if not self.gpu:
            unused += ["cpu_fallback", "custatevec", "blocking", "batched_shots_gpu", "shot_branching", "max_memory_mb"]
        settled: dict[str, Any] = {name: VQEOptions.model_fields[name].default for name in unused}
        settled |= {"ansatz_reps": self.reps, "seed": self._settled_seed()}
        if self.sampled:
            settled["shots"] = self.shots or DEFAULT_SHOTS
        return self.model_copy(update=settled)

    def _settled_seed(self) -> int | None:
        displaced = self.init_strategy == "hf" and self.ansatz in SEEDED_START
        stochastic = self.init_strategy == "random" or self.sampled or get_optimizer(self.optimizer).stochastic
        if not stochastic and not displaced:
            return None
        if self.seed is not None:
            return self.seed
        return secrets.randbelow(MAX_SEED) if stochastic else DISPLACEMENT_SEED
