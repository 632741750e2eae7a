"""Which options go together: every refusal with its reason, before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulation.optimizers import get_optimizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulation.options import VQEOptions

EXCITATION_FAMILY = frozenset({"UCCSD", "kUpCCGSD", "ADAPT"})
"""Products of fermionic excitations: they conserve N_alpha and N_beta, so the sector engine can run them."""

SEEDED_START = frozenset({"kUpCCGSD", "EfficientSU2", "RealAmplitudes", "ExcitationPreserving"})
"""Circuits whose Hartree-Fock point is stationary, or so symmetric that repetitions never part (kUpCCGSD): `hf` starts
a small seeded step away from it."""

_CANNOT_SAMPLE = {
    "stabilizer": "it simulates Clifford circuits only, and rotations by an angle are not Clifford",
    "extended_stabilizer": "it simulates Clifford and T gates only, and rotations by an angle are neither",
    "unitary": "it computes the circuit's matrix and does not sample",
    "superop": "it computes the channel's matrix and does not sample",
}
_GPU_METHODS = ("automatic", "statevector", "density_matrix", "tensor_network")


def refusals(options: VQEOptions) -> list[str]:
    """Why these options cannot be run together; empty when they can."""
    checks = (_spaces_and_stops, _ansatz, _start, _engine, _sampling, _optimizer, _method, _gpu)
    return [reason for check in checks for reason in check(options)]


def _spaces_and_stops(o: VQEOptions) -> Iterator[str]:
    if o.max_iterations is not None and o.threshold is not None:
        yield f"max_iterations={o.max_iterations} and threshold={o.threshold} exclude each other: give one"
    if o.frozen_core and o.active_space is not None:
        yield "frozen_core and active_space exclude each other: give one"


def _ansatz(o: VQEOptions) -> Iterator[str]:
    if o.ansatz == "ExcitationPreserving" and o.mapper != "jordan_wigner":
        yield (
            f"ExcitationPreserving conserves the number of ones, which is the number of electrons under jordan_wigner "
            f"only: mapper is {o.mapper!r}"
        )
    if o.ansatz == "ADAPT" and o.ansatz_reps not in (None, 1):
        yield f"ADAPT chooses its own length: ansatz_reps is {o.ansatz_reps}, leave it out"


def _start(o: VQEOptions) -> Iterator[str]:
    if o.init_strategy == "mp2" and o.ansatz not in ("UCCSD", "kUpCCGSD"):
        yield f"init_strategy 'mp2' gives excitation amplitudes, which {o.ansatz} does not have: use 'hf' or 'random'"
    if o.ansatz == "ADAPT" and o.init_strategy not in ("hf", "zeros"):
        yield f"ADAPT starts from the Hartree-Fock state: init_strategy is {o.init_strategy!r}, use 'hf'"
    if o.init_strategy == "previous" and o.previous is None:
        yield "init_strategy 'previous' needs the experiment to start from: give previous"
    if o.init_strategy != "previous" and o.previous is not None:
        yield f"previous is given but init_strategy is {o.init_strategy!r}: use init_strategy 'previous'"


def _engine(o: VQEOptions) -> Iterator[str]:
    if o.engine == "sector" and o.ansatz not in EXCITATION_FAMILY:
        yield f"engine 'sector' runs the UCC family, not {o.ansatz}: use 'aer' or 'auto'"
    if o.ansatz == "ADAPT" and o.engine not in ("auto", "sector"):
        yield f"ADAPT chooses operators by exact gradients of its whole pool: engine is {o.engine!r}, use 'sector'"
    if o.min_qubits is not None and o.engine != "ibm":
        yield f"min_qubits={o.min_qubits} chooses among IBM devices: engine is {o.engine!r}, use 'ibm'"
    if o.gpu and o.ansatz == "ADAPT":
        yield "gpu is for Qiskit Aer, and ADAPT runs in the sector engine: leave out gpu"
    elif o.gpu and o.engine in ("sector", "ibm"):
        yield f"gpu is for Qiskit Aer: engine is {o.engine!r}, use 'aer', 'aer-shots' or 'auto'"


def _sampling(o: VQEOptions) -> Iterator[str]:
    if o.noise is not None and o.noise_rates is not None:
        yield "noise and noise_rates exclude each other: give one"
    if (o.shots is not None or o.noisy) and o.engine in ("aer", "sector"):
        yield f"engine {o.engine!r} is exact and takes neither shots nor noise: use 'aer-shots' or 'auto'"
    if o.noisy and o.engine == "ibm":
        yield "a noise model is for simulation: engine is 'ibm', use 'aer-shots'"
    if o.sampled and o.ansatz == "ADAPT":
        yield "ADAPT needs exact gradients: leave out shots and noise"


def _optimizer(o: VQEOptions) -> Iterator[str]:
    optimizer = get_optimizer(o.optimizer)
    if o.sampled and optimizer.needs == "curvature":
        yield (
            f"optimizer {o.optimizer} differentiates gradients numerically, which under shots yields noise: "
            "use SPSA, COBYLA, or a method that takes gradients by parameter shift such as L-BFGS-B"
        )


def _method(o: VQEOptions) -> Iterator[str]:
    method = o.simulation_method
    if method is not None and o.engine == "ibm":
        yield f"simulation_method {method!r} is for Qiskit Aer: engine is 'ibm', leave it out"
    if method in _CANNOT_SAMPLE:
        yield f"simulation_method {method!r} cannot run VQE: {_CANNOT_SAMPLE[method]}; use 'statevector'"
    elif method == "tensor_network" and not o.gpu:
        yield "simulation_method 'tensor_network' runs on a GPU only: give gpu, or use 'matrix_product_state'"
    elif method not in (None, "automatic", "statevector") and not o.sampled:
        yield f"simulation_method {method!r} is for sampled runs, exact ones use the state vector: give shots"


def _gpu(o: VQEOptions) -> Iterator[str]:
    if o.gpu and o.simulation_method not in (None, *_GPU_METHODS, *_CANNOT_SAMPLE):
        yield f"simulation_method {o.simulation_method!r} does not run on a GPU: expected one of {_GPU_METHODS}"
