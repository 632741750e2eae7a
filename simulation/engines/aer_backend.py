"""Qiskit Aer's simulator as the options ask for it: device, method, threads and memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from simulation.engines.base import EngineError

if TYPE_CHECKING:
    from qiskit_aer import AerSimulator
    from qiskit_aer.noise import NoiseModel

    from simulation.options import VQEOptions


def available_devices() -> tuple[str, ...]:
    """The devices that this build of Aer finds on this machine; its CPU build accepts device='GPU' and ignores it."""
    from qiskit_aer import AerSimulator

    return tuple(AerSimulator().available_devices())


def select_device(options: VQEOptions) -> str:
    """'GPU' or 'CPU', the latter only where it was asked for or allowed.

    Raises:
        EngineError: a GPU is needed and Aer finds none.
    """
    if not options.gpu:
        return "CPU"
    found = available_devices()
    if "GPU" in found:
        return "GPU"
    where = f"gpu=True but Qiskit Aer finds only {', '.join(found)}"
    install = "install the extra qpipe[gpu] in place of qiskit-aer, on a machine with an NVIDIA GPU"
    if options.aer_method == "tensor_network":
        raise EngineError(f"{where}, and simulation_method 'tensor_network' runs on a GPU only: {install}")
    if not options.cpu_fallback:
        raise EngineError(f"{where}: {install}, or give cpu_fallback to run on the CPU")
    return "CPU"


def parallel_threads() -> int:
    """Threads that Aer may use: OMP_NUM_THREADS where it is set, else one.

    The state is the same to the last bit with any number of them. One is the default because OpenMP's threads spin
    while they wait: on two cores that others use too, a state of 16 qubits takes 29 ms on one thread and 200 to 500 ms
    on two.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(wanted) if wanted.isdigit() and int(wanted) > 0 else 1


def backend_name(method: str, device: str) -> str:
    """Name under which results are stored, as Aer names its own backends: aer_simulator_statevector[_gpu]."""
    return f"aer_simulator_{method}" + ("_gpu" if device == "GPU" else "")


def state_simulator() -> AerSimulator:
    """The exact state vector on the CPU."""
    from qiskit_aer import AerSimulator

    return AerSimulator(method="statevector", device="CPU", max_parallel_threads=parallel_threads())


def build_simulator(
    options: VQEOptions, device: str, *, method: str = "statevector", noise_model: NoiseModel | None = None
) -> AerSimulator:
    """A simulator whose samples depend on its seed alone.

    Shots are never spread over threads, for each thread would draw from a generator of its own; a large state still is.

    Args:
        options: Asked for; those of the GPU reach Aer on a GPU only.
        device: From `select_device`.
        method: Aer's simulation method.
        noise_model: None for an ideal machine.
    """
    from qiskit_aer import AerSimulator

    settings: dict[str, Any] = {
        "method": method,
        "device": device,
        "max_parallel_threads": parallel_threads(),
        "max_parallel_shots": 1,
    }
    if noise_model is not None:
        settings["noise_model"] = noise_model
    if device == "GPU":
        settings |= {
            "cuStateVec_enable": options.custatevec,
            "blocking_enable": options.blocking,
            "batched_shots_gpu": options.batched_shots_gpu,
            "shot_branching_enable": options.shot_branching,
            "max_memory_mb": options.max_memory_mb,
        }
    return AerSimulator(**settings)
