"""Energy and gradient of EfficientSU2 as quantum-pipeline 2.5 gets them: a state vector and ReverseEstimatorGradient.

Its newest release has this path for exact runs up to 16 qubits. Run in its environment:
python reverse_gradient.py PROBLEM.npz
"""

import json
import logging
import sys
import warnings

import numpy as np
from finite_differences import BACKEND
from qiskit.quantum_info import SparsePauliOp
from quantum_pipeline.solvers.vqe_solver import VQESolver
from timing import cpu_seconds


def main(path):
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    data = np.load(path)
    operator = SparsePauliOp(list(data["labels"]), data["coefficients"])
    solver = VQESolver(
        operator, BACKEND, max_iterations=None, optimizer="L-BFGS-B", ansatz_reps=int(data["circuit_reps"]),
        default_shots=None, seed=0,
    )  # fmt: skip
    if not solver._fast_path_eligible():
        raise SystemExit("quantum-pipeline does not take its analytic path here")
    ansatz, start = solver._build_ansatz(operator.num_qubits), data["circuit_parameters"]
    energy, gradient = solver._fast_path_objective(start, ansatz, operator)
    cpu, n = cpu_seconds(lambda: solver._fast_path_objective(start, ansatz, operator))
    print(json.dumps({"cpu": cpu, "n": n, "energy": energy, "gradient": gradient.tolist()}))


if __name__ == "__main__":
    main(sys.argv[1])
