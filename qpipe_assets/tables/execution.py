"""Which execution a record tells of: a digest of what every table of the field's scripts keeps of it.

Two executions of the same experiment differ in the times that were measured, so a digest of these, the geometry and the
energy names one of them, however it was written down and whatever identity its writer gave it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

TIMES = ("hamiltonian_time", "mapping_time", "vqe_time", "total_time")


def execution_of(row: Mapping[str, Any]) -> str:
    """The execution of a record as a plain row: 64 hexadecimal digits."""
    result, molecule = row["vqe_result"], row["molecule"]["molecule_data"]
    return execution_digest(
        molecule,
        row["basis_set"],
        [*(row[name] for name in TIMES), result["minimization_time"], result["minimum"]],
        len(result["iteration_list"]),
    )


def execution_digest(molecule: Mapping[str, Any], basis_set: str, measured: list[float], evaluations: int) -> str:
    """The same from its parts.

    Args:
        molecule: symbols, coords, charge, multiplicity and units, as the record's schema has them.
        basis_set: of the run.
        measured: TIMES, the optimiser's own time (all in seconds) and the lowest electronic energy (Hartree).
        evaluations: how many energies were recorded.
    """
    # Adding zero makes -0.0 and 0.0 one: JSON cannot always tell them apart.
    coords = [[x + 0.0 for x in position] for position in molecule["coords"]]
    what = [*(molecule[name] for name in ("symbols", "charge", "multiplicity", "units")), coords, basis_set]
    text = json.dumps([what, [value + 0.0 for value in measured], evaluations], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
