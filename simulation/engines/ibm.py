"""The IBM engine: energies from a device of IBM Quantum, through Qiskit Runtime.

Credentials come from the environment alone and never leave this module: no message, representation or log shows the
token. The device is the least busy one that is large enough. Its samples cannot be seeded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from simulation.engines.aer import expectation_of, observables_of
from simulation.engines.aer_backend import state_simulator
from simulation.engines.base import Engine, EngineError, Evaluation
from simulation.engines.circuit_states import CircuitStates, parameter_columns
from simulation.engines.parameter_shift import ParameterShift
from simulation.engines.sampling import TRANSPILER_SEED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.ansatz import Ansatz
    from simulation.mapping import QubitHamiltonian
    from simulation.observables import Observables
    from simulation.options import VQEOptions

CHANNELS = ("ibm_quantum_platform", "ibm_cloud")
CHANNEL, INSTANCE, TOKEN = "IBM_RUNTIME_CHANNEL", "IBM_RUNTIME_INSTANCE", "IBM_RUNTIME_TOKEN"
"""The variables of the environment that hold the credentials."""


@dataclass(frozen=True)
class Credentials:
    """Where to connect and as whom; the token is not shown."""

    channel: str
    instance: str
    token: str = field(repr=False)


class RuntimeService(Protocol):
    """What the engine needs of Qiskit Runtime's service."""

    def least_busy(self, min_num_qubits: int | None = None) -> Any:
        """The device with the shortest queue among those with enough qubits."""


def credentials(environment: Mapping[str, str] = os.environ) -> Credentials:
    """The credentials in the environment.

    Raises:
        EngineError: a variable is missing or the channel is unknown; the message names variables, never the token.
    """
    missing = [name for name in (CHANNEL, INSTANCE, TOKEN) if not environment.get(name)]
    if missing:
        raise EngineError(f"engine 'ibm' needs {', '.join(missing)} in the environment: set them, or use 'aer-shots'")
    if environment[CHANNEL] not in CHANNELS:
        raise EngineError(f"{CHANNEL} is {environment[CHANNEL]!r}, expected one of {CHANNELS}")
    return Credentials(environment[CHANNEL], environment[INSTANCE], environment[TOKEN])


def check_available() -> None:
    """Refuse to run without the package or the credentials; nothing is sent.

    Raises:
        EngineError: the extra `ibm` is not installed, or credentials are missing.
    """
    if find_spec("qiskit_ibm_runtime") is None:
        raise EngineError("engine 'ibm' needs qiskit-ibm-runtime: install the extra qpipe[ibm]")
    credentials()


def connect(account: Credentials) -> RuntimeService:
    """Qiskit Runtime's service.

    Raises:
        EngineError: it cannot be reached or refuses the credentials.
    """
    from qiskit_ibm_runtime import QiskitRuntimeService  # type: ignore[import-untyped]

    try:
        return QiskitRuntimeService(channel=account.channel, instance=account.instance, token=account.token)
    except Exception as error:
        # Raised below, unchained: what the service says may repeat what was sent to it.
        said = f"{type(error).__name__}: {error}".replace(account.token, "<token>")
    raise EngineError(f"cannot connect to {account.channel} with {INSTANCE} and {TOKEN} of the environment: {said}")


class RuntimeEngine(Engine):
    """Energies of a circuit from a device's samples; gradients by parameter shift.

    Args:
        ansatz: Any ansatz.
        hamiltonian: Real Hamiltonian on as many qubits.
        options: Resolved: shots, optimization level and min_qubits.
        service: Finds the device.

    Raises:
        EngineError: no device is large enough.
    """

    name = "ibm"
    exact = False
    gradient_method = "parameter shift"

    def __init__(
        self, ansatz: Ansatz, hamiltonian: QubitHamiltonian, options: VQEOptions, service: RuntimeService
    ) -> None:
        from qiskit.transpiler import generate_preset_pass_manager  # type: ignore[import-untyped]
        from qiskit_ibm_runtime import EstimatorV2, Session

        machine = _least_busy(service, ansatz.num_qubits, options.min_qubits)
        super().__init__(ansatz.num_parameters, backend=machine.name, device="QPU")
        self._encoding = ansatz.encoding
        self._hamiltonian = hamiltonian
        self._shift = ParameterShift(ansatz.program)
        program = self._shift.circuit
        self._states = CircuitStates(program, state_simulator())
        passes = generate_preset_pass_manager(
            optimization_level=options.optimization_level, backend=machine, seed_transpiler=TRANSPILER_SEED
        )
        self._circuit = passes.run(program.to_qiskit())
        self._columns = [column for _, column in parameter_columns(program, self._circuit)]
        self._observable = hamiltonian.to_sparse_pauli_op().apply_layout(self._circuit.layout)
        self._session = Session(backend=machine)
        self._estimator = EstimatorV2(mode=self._session, options={"default_shots": options.shots})

    def _expectation(self, parameters: NDArray[np.float64]) -> float:
        return expectation_of(self._states.at(self._shift.angles(parameters)), self._hamiltonian)

    def _observables(self, parameters: NDArray[np.float64]) -> Observables:
        """<N>, <S_z> and <S^2> of the trial state itself, by Aer: exact, without the device's noise."""
        return observables_of(self._states.at(self._shift.angles(parameters)), self._encoding)

    def close(self) -> None:
        """End the session, so that the device takes other jobs."""
        self._session.close()

    def _energy(self, parameters: NDArray[np.float64]) -> Evaluation:
        energies, errors = self._estimate(self._shift.angles(parameters)[None])
        return Evaluation(float(energies[0]), standard_error=float(errors[0]))

    def _energy_and_gradient(self, parameters: NDArray[np.float64]) -> Evaluation:
        # One job: every job waits in the device's queue.
        energies, errors = self._estimate(
            np.vstack([self._shift.angles(parameters)[None], self._shift.points(parameters)])
        )
        return Evaluation(float(energies[0]), self._shift.gradient(energies[1:]), standard_error=float(errors[0]))

    def _estimate(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        job = self._estimator.run([(self._circuit, self._observable, points[:, self._columns])])
        data = job.result()[0].data
        return np.asarray(data.evs, dtype=np.float64), np.asarray(data.stds, dtype=np.float64)


def _least_busy(service: RuntimeService, num_qubits: int, min_qubits: int | None) -> Any:
    from qiskit.providers import QiskitBackendNotFoundError  # type: ignore[import-untyped]

    needed = max(num_qubits, min_qubits or 0)
    try:
        return service.least_busy(min_num_qubits=needed)
    except QiskitBackendNotFoundError as error:
        raise EngineError(
            f"no IBM device with at least {needed} qubits is available (circuit {num_qubits}, min_qubits "
            f"{min_qubits}): lower min_qubits, or use 'aer-shots'"
        ) from error
