"""The sampled Aer engine: energies estimated from shots, with their standard errors, with or without noise.

The Hamiltonian's terms are measured in commuting groups, each with as many samples as the options ask for. Every
evaluation draws from a generator seeded by (seed, number of the evaluation): a run is the same bytes when it is
repeated or resumed, and no two evaluations share their samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulation.engines.aer import expectation_of, observables_of
from simulation.engines.aer_backend import backend_name, build_simulator, select_device
from simulation.engines.base import Engine, Evaluation
from simulation.engines.circuit_states import CircuitStates
from simulation.engines.measurement import constant_of, measurement_groups
from simulation.engines.noise import build_noise, noise_label
from simulation.engines.parameter_shift import ParameterShift
from simulation.engines.sampling import CircuitSampler, Sampler, StateSampler
from simulation.engines.sampling_kernels import outcome_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.ansatz import Ansatz
    from simulation.engines.measurement import MeasurementGroup
    from simulation.engines.sampling import Samples
    from simulation.mapping import QubitHamiltonian
    from simulation.observables import Observables
    from simulation.options import VQEOptions

MAX_DENSITY_MATRIX_QUBITS = 14
"""Largest density matrix: 4 GiB."""


class AerShotsEngine(Engine):
    """Energies of a circuit from samples; gradients by parameter shift.

    Args:
        ansatz: Any ansatz.
        hamiltonian: Real Hamiltonian on as many qubits.
        options: Resolved: shots, seed, noise, method and device.

    Raises:
        ValueError: the options hold no number of shots or no seed (they are not resolved).
        EngineError: a GPU, a fake backend or its package is missing.
    """

    name = "aer-shots"
    exact = False
    gradient_method = "parameter shift"

    def __init__(self, ansatz: Ansatz, hamiltonian: QubitHamiltonian, options: VQEOptions) -> None:
        if options.shots is None or options.seed is None:
            raise ValueError(f"shots is {options.shots} and seed is {options.seed}: expected resolved options")
        device = select_device(options)
        super().__init__(
            ansatz.num_parameters,
            backend=backend_name(options.aer_method, device),
            noise_backend=noise_label(options),
            device=device,
        )
        self._encoding = ansatz.encoding
        self._hamiltonian = hamiltonian
        self._seed = options.seed
        self._shots = options.shots
        self._constant = constant_of(hamiltonian)
        self._groups = measurement_groups(hamiltonian)
        self._shift = ParameterShift(ansatz.program)
        self._states = CircuitStates(self._shift.circuit, build_simulator(options, device))
        self._sampler = self._choose_sampler(options, device)

    def _expectation(self, parameters: NDArray[np.float64]) -> float:
        return expectation_of(self._states.at(self._shift.angles(parameters)), self._hamiltonian)

    def _observables(self, parameters: NDArray[np.float64]) -> Observables:
        """<N>, <S_z> and <S^2> of the trial state itself: exact, without noise."""
        return observables_of(self._states.at(self._shift.angles(parameters)), self._encoding)

    def _choose_sampler(self, options: VQEOptions, device: str) -> Sampler:
        noise = build_noise(options)
        if noise is None and options.aer_method in ("statevector", "automatic"):
            return StateSampler(self._states, self._groups, self._shots)
        simulator = build_simulator(
            options, device, method=options.aer_method, noise_model=None if noise is None else noise.model
        )
        program, level = self._shift.circuit, options.optimization_level
        return CircuitSampler(program, self._groups, self._shots, simulator, noise, level)

    def _energy(self, parameters: NDArray[np.float64]) -> Evaluation:
        energies, errors = self._estimate(self._shift.angles(parameters)[None], self._generator())
        return Evaluation(float(energies[0]), standard_error=float(errors[0]))

    def _energy_and_gradient(self, parameters: NDArray[np.float64]) -> Evaluation:
        rng = self._generator()
        energies, errors = self._estimate(self._shift.angles(parameters)[None], rng)
        shifted, _ = self._estimate(self._shift.points(parameters), rng)
        gradient = self._shift.gradient(shifted)
        return Evaluation(float(energies[0]), gradient, standard_error=float(errors[0]))

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence((self._seed, self.energy_evaluations)))

    def _estimate(
        self, points: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Energies and standard errors (Hartree) at points of shape `(m, angles)`, each of shape `(m,)`."""
        energies, errors = np.empty(len(points)), np.empty(len(points))
        for index, samples in enumerate(self._sampler.draw(points, rng)):
            moments = [_moments(group, drawn) for group, drawn in zip(self._groups, samples, strict=True)]
            energies[index] = self._constant + sum(mean for mean, _ in moments)
            errors[index] = np.sqrt(sum(variance for _, variance in moments) / self._shots)
        return energies, errors


def _moments(group: MeasurementGroup, samples: Samples) -> tuple[float, float]:
    """Mean (Hartree) and unbiased variance of a group's samples; of a single one its largest possible variance."""
    values = np.empty(len(samples.outcomes))
    outcome_values(samples.outcomes, group.supports, group.coefficients, values)
    shots = int(samples.counts.sum())
    mean = float(np.sum(samples.counts * values)) / shots
    if shots == 1:
        return mean, group.bound**2
    return mean, float(np.sum(samples.counts * (values - mean) ** 2)) / (shots - 1)
