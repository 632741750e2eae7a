"""Noise models without a network: of a named fake backend (a device's snapshot), or from explicit error rates."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from simulation.engines.base import EngineError
from simulation.record import UNDEFINED_NOISE, NoiseRates

if TYPE_CHECKING:
    from qiskit.providers import BackendV2  # type: ignore[import-untyped]
    from qiskit_aer.noise import NoiseModel

    from simulation.options import VQEOptions

NOISY_BASIS = ("u", "cx")
"""What circuits are made of where rates are given: every gate is noisy, so there are as few kinds as possible."""


@dataclass(frozen=True)
class Noise:
    """A noise model, and what a circuit must be made of for the model to apply.

    Args:
        model: Aer's noise model.
        basis_gates: Gates that the model knows.
        device: The fake backend whose connectivity circuits must respect, None where any two qubits interact.
    """

    model: NoiseModel
    basis_gates: tuple[str, ...]
    device: BackendV2 | None = None


def check_noise(options: VQEOptions, num_qubits: int) -> None:
    """Refuse a noise model that does not exist or a device that is too small, before any work.

    Raises:
        EngineError: the name is unknown, the device has too few qubits, or the extra `ibm` is not installed.
    """
    if options.noise is None:
        return
    device = fake_backend(options.noise)
    if device.num_qubits < num_qubits:
        raise EngineError(
            f"noise {options.noise!r} is a device of {device.num_qubits} qubits, the circuit has {num_qubits}: "
            "name a larger one, use a smaller active_space, or give noise_rates"
        )


def build_noise(options: VQEOptions) -> Noise | None:
    """The noise model that the options ask for, None for an ideal machine.

    Raises:
        EngineError: as `check_noise`.
    """
    if options.noise is not None:
        return _from_device(options.noise)
    if options.noise_rates is not None:
        return _from_rates(options.noise_rates)
    return None


def noise_label(options: VQEOptions) -> str:
    """What the record's `noise_backend` says of these options."""
    if options.noise is not None:
        return options.noise
    if options.noise_rates is None:
        return UNDEFINED_NOISE
    rates = options.noise_rates
    return f"depolarizing({rates.one_qubit!r},{rates.two_qubit!r}) readout({rates.readout!r})"


def fake_backend(name: str) -> Any:
    """The fake backend of that class name, for example FakeManilaV2.

    Raises:
        EngineError: there is none (close names are offered), or the extra `ibm` is not installed.
    """
    try:
        from qiskit_ibm_runtime import fake_provider  # type: ignore[import-untyped]
        from qiskit_ibm_runtime.fake_provider.fake_backend import FakeBackendV2  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise EngineError(
            f"noise {name!r} is a fake backend of qiskit-ibm-runtime, which is not installed: "
            "install the extra qpipe[ibm], or give noise_rates"
        ) from error
    known = {
        kind: value
        for kind, value in vars(fake_provider).items()
        if isinstance(value, type) and issubclass(value, FakeBackendV2) and value is not FakeBackendV2
    }
    if name not in known:
        close = get_close_matches(name, known, n=3, cutoff=0.5) or sorted(known)[:3]
        raise EngineError(
            f"noise is {name!r}, expected one of the {len(known)} fake backends, such as {', '.join(close)}"
        )
    return known[name]()


def _from_device(name: str) -> Noise:
    from qiskit_aer.noise import NoiseModel

    device = fake_backend(name)
    return Noise(NoiseModel.from_backend(device), tuple(device.operation_names), device)


def _from_rates(rates: NoiseRates) -> Noise:
    """Depolarizing with the given probability after every gate, and symmetric errors of reading."""
    from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

    model = NoiseModel(basis_gates=list(NOISY_BASIS))
    model.add_all_qubit_quantum_error(depolarizing_error(rates.one_qubit, 1), ["u"])
    model.add_all_qubit_quantum_error(depolarizing_error(rates.two_qubit, 2), ["cx"])
    p = rates.readout
    model.add_all_qubit_readout_error(ReadoutError([[1 - p, p], [p, 1 - p]]))
    return Noise(model, NOISY_BASIS)
