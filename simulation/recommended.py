"""The options that bring each shipped molecule in STO-3G within chemical accuracy, from the Hartree-Fock start.

Most need nothing: the defaults (UCCSD, L-BFGS-B, exact gradient) stay below 0.5 mHa. Two do not:

- N2 has a triple bond. UCCSD once is 2.2 mHa above FCI, twice 0.5 mHa (20 qubits, all orbitals).
- CO2 in all its 15 orbitals (30 qubits) does not fit. The active space leaves the three 1s cores and the two
  combinations of the oxygens' 2s doubly occupied and the two highest sigma* orbitals empty: 12 electrons in the 6
  occupied sigma and pi and the 2 pi* orbitals, 16 qubits. UCCSD three times is 0.3 mHa above that space's CASCI
  (-185.18557561 Ha); once it is 18 mHa above it, twice 4.3 mHa.
"""

from __future__ import annotations

from typing import Any

_RECOMMENDED: dict[str, dict[str, Any]] = {
    "H2": {},
    "HeH+": {},
    "LiH": {},
    "BeH2": {},
    "H2O": {},
    "NH3": {},
    "CO2": {"active_space": {"electrons": 12, "orbitals": 8}, "ansatz_reps": 3},
    "N2": {"ansatz_reps": 2},
    "He2": {},
    "BeH": {},
    "BH": {},
    "CH4": {},
}


def recommended_options(name: str) -> dict[str, Any]:
    """What to ask of VQEOptions beside its defaults, for a molecule of the catalogue in STO-3G.

    Raises:
        ValueError: there is no recommendation for the molecule.
    """
    if name not in _RECOMMENDED:
        raise ValueError(f"no options are recommended for {name!r}, only for {', '.join(_RECOMMENDED)}: give your own")
    return dict(_RECOMMENDED[name])
