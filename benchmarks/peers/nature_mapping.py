"""The Jordan-Wigner Hamiltonian by qiskit-nature.

The mapping alone is the peer's figure; making the fermionic operator that it starts from is told apart. Run in an
environment that has it: python nature_mapping.py PROBLEM.npz
"""

import json
import sys

import numpy as np
from qiskit_nature.second_q.hamiltonians import ElectronicEnergy
from qiskit_nature.second_q.mappers import JordanWignerMapper
from timing import cpu_seconds


def main(path):
    data = np.load(path)
    energy = ElectronicEnergy.from_raw_integrals(data["h1"], data["h2"], auto_index_order=True)
    operator, mapper = energy.second_q_op(), JordanWignerMapper()
    mapped = mapper.map(operator).simplify(atol=1e-12)
    cpu, n = cpu_seconds(lambda: mapper.map(operator), seconds=10, most=5, least=1)
    fermionic, _ = cpu_seconds(energy.second_q_op, seconds=2, most=5, least=1)
    terms = dict(zip(mapped.paulis.to_labels(), mapped.coeffs.real.tolist(), strict=True))
    print(json.dumps({"cpu": cpu, "n": n, "fermionic": fermionic, "terms": terms}))


if __name__ == "__main__":
    main(sys.argv[1])
