"""Which engine runs what: by name, or the best one for the ansatz."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulation.ansatz import ANSAETZE, ExcitationAnsatz
from simulation.engines import aer, sector
from simulation.engines.base import Engine, EngineError
from simulation.problem import MAX_QUBITS, OrbitalWindow


@dataclass(frozen=True)
class EngineChoice:
    """An engine, why it was taken, and what it can hold.

    Args:
        engine: Its class; called with the ansatz and the Hamiltonian.
        reason: For the record.
        max_qubits: Largest problem it takes.
        check: Raises `EngineError` for orbitals and electrons that do not fit in memory.
    """

    engine: Callable[..., Engine]
    name: str
    reason: str
    max_qubits: int
    check: Callable[[OrbitalWindow], None]


def choose_engine(name: str, ansatz: str) -> EngineChoice:
    """The engine of that name, or for `auto` the fastest exact one for the ansatz.

    Raises:
        EngineError: unknown engine, or one that cannot run the ansatz.
    """
    conserving = issubclass(ANSAETZE[ansatz], ExcitationAnsatz)
    if name == "sector" and not conserving:
        raise EngineError(f"the sector engine runs the UCC family, not {ansatz}: use 'aer' or 'auto'")
    if name == "auto":
        reason = f"auto: {ansatz} conserves N_alpha and N_beta" if conserving else f"auto: {ansatz} leaves the sector"
    else:
        reason = "requested"
    if name == "sector" or (name == "auto" and conserving):
        return EngineChoice(sector.SectorEngine, "sector", reason, MAX_QUBITS, _check_sector)
    if name in ("aer", "auto"):
        return EngineChoice(aer.AerEngine, "aer", reason, aer.MAX_QUBITS, _check_aer)
    raise EngineError(f"engine is {name!r}, expected 'auto', 'aer' or 'sector'")


def _check_sector(window: OrbitalWindow) -> None:
    sector.check_fits(window.active, window.num_particles)


def _check_aer(window: OrbitalWindow) -> None:
    aer.check_fits(2 * window.active)
