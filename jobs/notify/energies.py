"""The best energies of molecules, as they are told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from qpipe_assets.tables.installation import Installation
from simulation.validity import BELOW_EXACT_STANDARD_ERRORS

MOST_ROWS = 50
"""Rows that are told; a molecule has one for each basis and orbital space."""


def best_energies(installation: Installation, molecules: Sequence[str]) -> list[dict[str, Any]]:
    """The lowest total energy of each molecule, basis and orbital space among the runs that are not known invalid.

    A sampled energy counts with as many standard errors more as a valid one may lie below the exact energy by chance.

    Args:
        installation: whose tables are asked.
        molecules: partition keys.

    Returns:
        Rows with energies in Hartree and, in mHartree, the error against the exact energy of the same orbitals and the
        standard error; None where an energy is unknown, or not sampled.
    """
    if not molecules:
        return []
    quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in molecules)
    rows = installation.lakehouse.sql(
        f"""
        select molecule, basis_set, active_electrons, active_orbitals, count(*) as runs,
            arg_min(struct_pack(e := total_energy, f := fci_energy, d := energy_error_mha, v := valid,
                s := energy_standard_error, a := chemically_accurate),
                total_energy + {BELOW_EXACT_STANDARD_ERRORS} * coalesce(energy_standard_error, 0)) as best
        from vqe_results
        where molecule in ({quoted}) and valid is distinct from false and total_energy is not null
        group by all order by all limit {MOST_ROWS}""",
        ["vqe_results"],
    ).to_pylist()
    return [_row(row) for row in rows]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    best = row["best"]
    electrons, orbitals = row["active_electrons"], row["active_orbitals"]
    return {
        "molecule": row["molecule"],
        "basis": row["basis_set"],
        "orbitals": "all" if orbitals is None else f"({electrons},{orbitals})",
        "runs": row["runs"],
        "best_ha": _known(best["e"]),
        "exact_ha": _known(best["f"]),
        "error_mha": _known(best["d"]),
        "standard_error_mha": None if best["s"] is None else 1000 * best["s"],
        "verdict": _verdict(best["v"], best["a"]),
    }


def _known(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else number


def _verdict(valid: bool | None, accurate: bool | None) -> str:
    if valid is None:
        return "validity unknown"
    return "valid, chemically accurate" if accurate else "valid"
