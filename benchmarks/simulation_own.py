"""qpipe's own side of the comparisons: a command runs in a process of its own and prints one JSON object.

python -m benchmarks.simulation_own COMMAND ARGUMENT... with the functions below as commands.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

CIRCUIT_REPS = 3
SEED = 7
UCC_SPREAD = 0.1
"""Standard deviation (radian) of the point at which UCCSD is evaluated: no amplitude is zero there."""


def problem(name: str, path: str) -> dict[str, Any]:
    """Write a molecule's STO-3G problem, its Pauli terms, and the points to evaluate, for the peers."""
    import numpy as np

    problem, hamiltonian, ansatz = _uccsd(name)
    circuit = _efficient_su2(problem)
    rng = np.random.default_rng(SEED)
    np.savez(
        path,
        name=name,
        h1=problem.h1,
        h2=problem.h2,
        constant=problem.constant,
        num_particles=problem.num_particles,
        num_qubits=problem.num_qubits,
        labels=hamiltonian.to_labels(),
        coefficients=hamiltonian.coefficients,
        circuit_reps=CIRCUIT_REPS,
        circuit_parameters=rng.uniform(0, 2 * np.pi, circuit.num_parameters),
        excitations=json.dumps([(e.occupied, e.virtual) for e in ansatz.excitations]),
        parameter_indices=ansatz.parameter_indices,
        ucc_parameters=rng.normal(scale=UCC_SPREAD, size=ansatz.num_parameters),
    )
    return {
        "qubits": problem.num_qubits,
        "terms": len(hamiltonian),
        "excitations": len(ansatz.excitations),
        "parameters": ansatz.num_parameters,
    }


def circuit(name: str, path: str) -> dict[str, Any]:
    """The Aer engine on EfficientSU2."""
    import numpy as np

    from simulation.engines.aer import AerEngine

    problem, hamiltonian, _ = _uccsd(name)
    return _timed(AerEngine(_efficient_su2(problem), hamiltonian), np.load(path)["circuit_parameters"])


def ucc(name: str, path: str) -> dict[str, Any]:
    """The sector engine on UCCSD."""
    import numpy as np

    from simulation.engines.sector import SectorEngine

    _, hamiltonian, ansatz = _uccsd(name)
    return _timed(SectorEngine(ansatz, hamiltonian), np.load(path)["ucc_parameters"])


def mapping(name: str, path: str) -> dict[str, Any]:
    """The Jordan-Wigner mapping, from integrals to summed Pauli terms."""
    from benchmarks.peers.timing import cpu_seconds
    from simulation.mapping import JordanWignerMapper

    problem, hamiltonian, _ = _uccsd(name)
    cpu, n = cpu_seconds(lambda: JordanWignerMapper().map(problem))
    terms = dict(zip(hamiltonian.to_labels(), hamiltonian.coefficients.tolist(), strict=True))
    return {"cpu": cpu, "n": n, "terms": terms}


def cold(names: str) -> dict[str, Any]:
    """Every molecule to its certified energy in this process; the caller accounts for all of the process."""
    from simulation.molecules import catalogue
    from simulation.runner import VQERunner

    shipped = catalogue()
    records = VQERunner(molecules=[shipped[name] for name in names.split(",")]).run()
    return {"runs": [_summary(record) for record in records]}


def run(name: str, options: str) -> dict[str, Any]:
    """One run with options, in Python's own time."""
    from simulation.molecules import catalogue
    from simulation.options import VQEOptions
    from simulation.runner import VQERunner

    began, wall = time.process_time(), time.perf_counter()
    asked = VQEOptions.model_validate(json.loads(options))
    (record,) = VQERunner(molecules=[catalogue()[name]], options=asked).run()
    return _summary(record) | {"cpu": time.process_time() - began, "wall": time.perf_counter() - wall}


def parallel(workers: str, threads: str, runs: str) -> dict[str, Any]:
    """Wall seconds of EfficientSU2 runs of LiH on a warm pool, each from a seed of its own."""
    from qpipe_resources.simulation_task import SimulationTask, simulate
    from qpipe_resources.simulation_workers import Finished, WorkerPool
    from simulation.molecules import catalogue
    from simulation.options import VQEOptions

    def tasks(seeds: range, evaluations: int) -> list[SimulationTask]:
        asked = {"ansatz": "EfficientSU2", "init_strategy": "random", "max_iterations": evaluations}
        return [SimulationTask(catalogue()["LiH"], VQEOptions.model_validate(asked | {"seed": seed})) for seed in seeds]

    pool = WorkerPool(simulate, int(workers), int(threads), preload=("simulation.runner", "pyscf", "qiskit_aer"))
    list(pool.run(tasks(range(int(workers)), 2)))  # every worker has compiled and imported
    wall = time.perf_counter()
    outcomes = list(pool.run(tasks(range(int(runs)), 200)))
    wall = time.perf_counter() - wall
    pool.close()
    if not all(isinstance(outcome, Finished) for outcome in outcomes):
        raise SystemExit(f"a run failed: {outcomes}")
    return {"wall": wall}


def _uccsd(name: str) -> tuple[Any, Any, Any]:
    from simulation.ansatz import UCCSD
    from simulation.mapping import JordanWignerMapper
    from simulation.molecules import catalogue
    from simulation.problem import build_problem

    problem = build_problem(catalogue()[name])
    return problem, JordanWignerMapper().map(problem), UCCSD(problem.num_orbitals, problem.num_particles)


def _efficient_su2(problem: Any) -> Any:
    from simulation.ansatz import EfficientSU2

    return EfficientSU2(problem.num_orbitals, problem.num_particles, CIRCUIT_REPS)


def _timed(engine: Any, parameters: Any) -> dict[str, Any]:
    from benchmarks.peers.timing import cpu_seconds

    found = engine.energy_and_gradient(parameters)
    cpu, n = cpu_seconds(lambda: engine.energy_and_gradient(parameters))
    return {"cpu": cpu, "n": n, "energy": found.energy, "gradient": found.gradient.tolist()}


def _summary(record: Any) -> dict[str, Any]:
    return {
        "molecule": record.molecule.molecule_data.name,
        "qubits": record.vqe_result.initial_data.num_qubits,
        "error_mha": record.energy_error_mha,
        "reference": record.reference_method,
        "evaluations": record.energy_evaluations,
        "engine": record.engine,
        "certified": record.certified_energy is not None,
        "valid": record.valid,
        "vqe_seconds": record.vqe_time,
    }


COMMANDS = {command.__name__: command for command in (problem, circuit, ucc, mapping, cold, run, parallel)}

if __name__ == "__main__":
    print(json.dumps(COMMANDS[sys.argv[1]](*sys.argv[2:])))
