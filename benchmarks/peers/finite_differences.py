"""One gradient of EfficientSU2 as quantum-pipeline 2.1.0 gets it: scipy's forward differences over AerEstimatorV2.

Its own solver runs, as for `--exact`: transpiled once, then one estimator job an energy, until the first gradient is
complete and the cap on evaluations ends it. Run in its environment: python finite_differences.py PROBLEM.npz REPEATS
"""

import json
import logging
import statistics
import sys
import time
import warnings

import numpy as np
from qiskit.quantum_info import SparsePauliOp
from quantum_pipeline.configs.module.backend import BackendConfig
from quantum_pipeline.solvers.vqe_solver import VQESolver

BACKEND = BackendConfig(
    local=True,
    gpu=False,
    optimization_level=3,
    min_num_qubits=None,
    filters=None,
    simulation_method="statevector",
    gpu_opts=None,
    noise=None,
)


class TimedSolver(VQESolver):
    """Their solver, started at a given point, with the CPU seconds of its optimisation apart from its preparation."""

    def __init__(self, start, *arguments, **options):
        super().__init__(*arguments, **options)
        self._start = start
        self.cpu = 0.0

    def _compute_initial_parameters(self, ansatz):
        return self._start

    def _run_optimization(self, *arguments):
        began = time.process_time()
        result = super()._run_optimization(*arguments)
        self.cpu = time.process_time() - began
        return result


def main(path, repeats):
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    data = np.load(path)
    operator = SparsePauliOp(list(data["labels"]), data["coefficients"])
    start = data["circuit_parameters"]
    samples = []
    for _ in range(repeats):
        solver = TimedSolver(
            start,
            operator,
            BACKEND,
            max_iterations=len(start) + 1,
            optimizer="L-BFGS-B",
            ansatz_reps=int(data["circuit_reps"]),
            default_shots=None,
            seed=0,
        )
        steps = solver.solve().iteration_list
        samples.append(solver.cpu)
    first = steps[0]
    gradient = [
        float((step.result - first.result) / (step.parameters - first.parameters)[index])
        for index, step in enumerate(steps[1:])
    ]
    print(
        json.dumps(
            {
                "cpu": statistics.median(samples),
                "n": repeats,
                "energy": float(first.result),
                "gradient": gradient,
                "energies": len(steps),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
