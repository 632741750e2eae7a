"""Energy and gradient of UCCSD by TenCirChem's civector engine, with the excitations, order and parameters given.

Run in its environment: python civector.py PROBLEM.npz numpy|jax
"""

import json
import os
import sys
import warnings

import numpy as np
from timing import cpu_seconds

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def main(path, backend):
    warnings.simplefilter("ignore")
    import tencirchem

    tencirchem.set_backend(backend)
    tencirchem.set_dtype("complex128")
    data = np.load(path)
    particles = [int(count) for count in data["num_particles"]]
    orbitals = len(data["h1"])
    solver = tencirchem.UCC.from_integral(
        data["h1"],
        data["h2"],
        sum(particles),
        float(data["constant"]),
        engine="civector",
        mo_coeff=np.eye(orbitals),
        init_method="zeros",
        **dict.fromkeys(("run_hf", "run_mp2", "run_ccsd", "run_fci"), False),
    )
    # Their spin orbitals have beta first.
    flip = [(p + orbitals) % (2 * orbitals) for p in range(2 * orbitals)]
    solver.ex_ops = [
        tuple(flip[p] for p in (*reversed(virtual), *reversed(occupied)))
        for occupied, virtual in json.loads(str(data["excitations"]))
    ]
    solver.param_ids = [int(index) for index in data["parameter_indices"]]
    # Their generator is T+ - T of ours.
    parameters = -data["ucc_parameters"]
    energy, gradient = solver.energy_and_grad(parameters)
    cpu, n = cpu_seconds(lambda: solver.energy_and_grad(parameters))
    print(json.dumps({"cpu": cpu, "n": n, "energy": float(energy), "gradient": (-np.array(gradient)).tolist()}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
