"""What every engine offers: energy, gradient and variance of the trial state, and where its state is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulation.record import UNDEFINED_NOISE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.observables import Observables


class EngineError(ValueError):
    """The engine cannot run what was asked: wrong ansatz, or too much memory; the message says what can."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the trial state.

    Args:
        energy: <H> (Hartree), with the frozen core, without nuclear repulsion.
        gradient: dE / d theta (Hartree per radian), shape `(num_parameters,)`, None when not asked for.
        variance: <H^2> - <H>^2 (Hartree squared), None where it would cost extra.
        standard_error: Statistical error of the energy (Hartree), 0 for an exact engine.
    """

    energy: float
    gradient: NDArray[np.float64] | None = None
    variance: float | None = None
    standard_error: float = 0.0


class Engine(ABC):
    """Computes energies of one ansatz under one Hamiltonian, and counts them.

    Args:
        num_parameters: Parameters of the ansatz.
        backend: Where the state is prepared, as the record names it.
        noise_backend: The noise model in words, `UNDEFINED_NOISE` without one.
        device: 'CPU' or 'GPU'.
    """

    name: str
    exact: bool = True
    """Whether energies are expectation values rather than estimates from samples."""
    gradient_method: str = "none"
    """How gradients are computed: 'adjoint' or 'parameter shift', or 'none' where there are none."""

    def __init__(
        self,
        num_parameters: int,
        *,
        backend: str = "aer_simulator_statevector",
        noise_backend: str = UNDEFINED_NOISE,
        device: str = "CPU",
    ) -> None:
        self.num_parameters = num_parameters
        self.backend = backend
        self.noise_backend = noise_backend
        self.device = device
        self.energy_evaluations = 0
        self.gradient_evaluations = 0

    def skip(self, evaluations: int, gradients: int = 0) -> None:
        """Count evaluations that were answered from a log; what follows is as if they had been made here.

        Args:
            evaluations: How many energies, with or without a gradient.
            gradients: How many of them had a gradient.
        """
        self.energy_evaluations += evaluations
        self.gradient_evaluations += gradients

    def close(self) -> None:  # noqa: B027  (most engines hold nothing)
        """Give back what the engine holds outside this process; it cannot be used afterwards."""

    def energy(self, parameters: NDArray[np.float64]) -> Evaluation:
        """The energy at `parameters` (radian), shape `(num_parameters,)`.

        Raises:
            ValueError: another number of parameters.
        """
        self._check_shape(parameters)
        self.energy_evaluations += 1
        return self._energy(parameters)

    def energy_and_gradient(self, parameters: NDArray[np.float64]) -> Evaluation:
        """Energy and gradient in one pass; see `energy`."""
        self._check_shape(parameters)
        self.energy_evaluations += 1
        self.gradient_evaluations += 1
        return self._energy_and_gradient(parameters)

    def observables(self, parameters: NDArray[np.float64]) -> Observables:
        """<N>, <S_z> and <S^2> of the trial state; not counted as an evaluation. See `energy`."""
        self._check_shape(parameters)
        return self._observables(parameters)

    def expectation(self, parameters: NDArray[np.float64]) -> float:
        """Exact energy (Hartree) of the trial state, without samples and noise; not counted. See `energy`."""
        self._check_shape(parameters)
        return self._expectation(parameters)

    def _expectation(self, parameters: NDArray[np.float64]) -> float:
        return self._energy(parameters).energy

    def _check_shape(self, parameters: NDArray[np.float64]) -> None:
        # Compiled kernels read where they are told to, without looking.
        if np.shape(parameters) != (self.num_parameters,):
            raise ValueError(f"parameters have the shape {np.shape(parameters)}, expected ({self.num_parameters},)")

    @abstractmethod
    def _observables(self, parameters: NDArray[np.float64]) -> Observables: ...

    @abstractmethod
    def _energy(self, parameters: NDArray[np.float64]) -> Evaluation: ...

    @abstractmethod
    def _energy_and_gradient(self, parameters: NDArray[np.float64]) -> Evaluation: ...
