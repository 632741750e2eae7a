"""Parametrised trial states, and those that options can name."""

from __future__ import annotations

from simulation.ansatz.base import Ansatz
from simulation.ansatz.excitation import UCCSD, AdaptAnsatz, ExcitationAnsatz, KUpCCGSD
from simulation.ansatz.hardware_efficient import EfficientSU2, ExcitationPreserving, RealAmplitudes

__all__ = [
    "ANSAETZE",
    "UCCSD",
    "AdaptAnsatz",
    "Ansatz",
    "EfficientSU2",
    "ExcitationAnsatz",
    "ExcitationPreserving",
    "KUpCCGSD",
    "RealAmplitudes",
]

ANSAETZE: dict[str, type[Ansatz]] = {
    ansatz.name: ansatz for ansatz in (UCCSD, KUpCCGSD, EfficientSU2, RealAmplitudes, ExcitationPreserving)
}
"""Every ansatz that stands before the run, by its name in the options; all take (orbitals, electrons, reps, encoding).

ADAPT is not among them: it has no circuit until the run has grown one (`AdaptAnsatz`).
"""
