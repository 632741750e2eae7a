"""What a user can ask of a run: the ONE declaration of the options, for Python, the CLI and Dagster."""

from __future__ import annotations

import secrets
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from simulation.record import ActiveSpace

Basis = Literal["sto3g", "6-31g", "cc-pvdz"]
AnsatzName = Literal["UCCSD", "EfficientSU2"]
MapperName = Literal["jordan_wigner"]
InitStrategy = Literal["hf", "zeros", "random"]
OptimizerName = Literal["L-BFGS-B", "COBYLA"]
EngineName = Literal["auto", "aer", "sector"]

MAX_SEED = 2**31 - 1
DEFAULT_REPS: dict[str, int] = {"UCCSD": 1, "EfficientSU2": 2}


class VQEOptions(BaseModel):
    """Everything that distinguishes two runs on the same molecule.

    Defaults give a publishable energy: UCCSD from Hartree-Fock, L-BFGS-B on the exact gradient.

    Raises:
        pydantic.ValidationError: a value is unknown or out of range, or two options exclude each other;
            the message names the value and the expectation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    basis: Basis = Field("sto3g", description="Gaussian basis set.")
    frozen_core: bool = Field(False, description="Freeze the chemical core orbitals of every atom.")
    active_space: ActiveSpace | None = Field(
        None, description="Correlate only this many electrons in this many spatial orbitals."
    )
    mapper: MapperName = Field("jordan_wigner", description="Fermion-to-qubit mapping.")
    ansatz: AnsatzName = Field("UCCSD", description="Parametrised trial state.")
    ansatz_reps: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="Repetitions of the ansatz; UCCSD 1 and EfficientSU2 2 unless given."
    )
    init_strategy: InitStrategy = Field(
        "hf",
        description="Initial point: the Hartree-Fock state, all parameters zero, or uniform in [0, 2 pi).",
    )
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = Field(
        None, description="Seed of the random initial point; drawn and recorded when not given."
    )
    optimizer: OptimizerName = Field("L-BFGS-B", description="Classical optimiser.")
    max_iterations: Annotated[int, Field(ge=1, le=MAX_SEED)] | None = Field(
        None, description="Hard cap on energy evaluations; the best seen is returned with success=false."
    )
    threshold: Annotated[FiniteFloat, Field(gt=0)] | None = Field(
        None, description="Convergence threshold on the energy (Hartree); excludes max_iterations."
    )
    engine: EngineName = Field("auto", description="What computes energies and gradients.")
    certify_max_qubits: Annotated[int, Field(ge=0, le=40)] = Field(
        16, description="Re-evaluate the optimum on Qiskit Aer up to this many qubits."
    )
    replicate: Annotated[int, Field(ge=0, le=MAX_SEED)] = Field(
        0, description="Number of a deliberate repetition of an otherwise identical run."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_iterations is not None and self.threshold is not None:
            raise ValueError(
                f"max_iterations={self.max_iterations} and threshold={self.threshold} exclude each other: give one"
            )
        if self.frozen_core and self.active_space is not None:
            raise ValueError("frozen_core and active_space exclude each other: give one")
        if self.engine == "sector" and self.ansatz != "UCCSD":
            raise ValueError(f"engine 'sector' runs the UCC family, not {self.ansatz}: use 'aer' or 'auto'")
        return self

    @property
    def reps(self) -> int:
        """Repetitions of the ansatz, with the ansatz's default filled in."""
        return self.ansatz_reps if self.ansatz_reps is not None else DEFAULT_REPS[self.ansatz]

    def resolved(self) -> VQEOptions:
        """The same options with nothing left open: repetitions filled in, a seed drawn where one is needed.

        A seed that the run does not use is dropped, so that it cannot make two equal runs look different.
        """
        seed = self.seed
        if self.init_strategy != "random":
            seed = None
        elif seed is None:
            seed = secrets.randbelow(MAX_SEED)
        return self.model_copy(update={"ansatz_reps": self.reps, "seed": seed})
