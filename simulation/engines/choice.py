"""Which engine runs what: by name, or the best one for the options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulation.compatibility import EXCITATION_FAMILY
from simulation.encoding import encoding
from simulation.engines.active_space_fit import offer
from simulation.engines.base import Engine, EngineError
from simulation.problem import MAX_QUBITS, OrbitalWindow

if TYPE_CHECKING:
    from simulation.ansatz import Ansatz
    from simulation.mapping import QubitHamiltonian
    from simulation.options import VQEOptions
    from simulation.problem import ElectronicProblem

Check = Callable[[OrbitalWindow], None]
Build = Callable[["Ansatz", "ElectronicProblem", "QubitHamiltonian"], Engine]


@dataclass(frozen=True)
class EngineChoice:
    """An engine, why it was taken, and what it can hold.

    Args:
        name: Of the engine.
        reason: For the record.
        max_qubits: Largest problem it takes, counted as two qubits an orbital under every mapping.
        check: Raises `EngineError` before any work: for orbitals and electrons that do not fit (the message says which
            active space would), and for a device, a noise model or credentials that are not there.
        build: The engine for an ansatz, its electronic problem and the Hamiltonian under the mapper asked for.
    """

    name: str
    reason: str
    max_qubits: int
    check: Check
    build: Build


def choose_engine(options: VQEOptions) -> EngineChoice:
    """The engine that the options name, or for `auto` the fastest one that can do what they ask.

    Raises:
        EngineError: the engine cannot run the ansatz.
    """
    name, reason = _name_and_reason(options)
    return _CHOICES[name](options, reason)


def _name_and_reason(options: VQEOptions) -> tuple[str, str]:
    if options.engine != "auto":
        return options.engine, "requested"
    if options.sampled:
        return "aer-shots", "auto: shots or noise were asked for"
    if options.ansatz == "ADAPT":
        return "sector", "auto: ADAPT needs the gradients of its whole pool"
    if options.gpu:
        return "aer", "auto: a GPU was asked for"
    if options.ansatz in EXCITATION_FAMILY:
        return "sector", f"auto: {options.ansatz} conserves N_alpha and N_beta"
    return "aer", f"auto: {options.ansatz} runs as a circuit"


def _sector(options: VQEOptions, reason: str) -> EngineChoice:
    from simulation.engines import sector

    if options.ansatz not in EXCITATION_FAMILY:
        raise EngineError(f"the sector engine runs the UCC family, not {options.ansatz}: use 'aer' or 'auto'")

    def check(window: OrbitalWindow) -> None:
        if 2 * window.active > MAX_QUBITS:
            raise EngineError(f"the problem has {2 * window.active} qubits, at most {MAX_QUBITS} are set up")
        sector.check_fits(window.active, window.num_particles)

    def build(ansatz: Ansatz, problem: ElectronicProblem, hamiltonian: QubitHamiltonian) -> Engine:
        from simulation.mapping import JordanWignerMapper

        # The CI vector knows determinants, whatever the mapping of circuits and of the record.
        jordan_wigner = hamiltonian if options.mapper == "jordan_wigner" else JordanWignerMapper().map(problem)
        return sector.SectorEngine(ansatz, jordan_wigner)

    return EngineChoice("sector", reason, MAX_QUBITS, _offering(check), build)


def _aer(options: VQEOptions, reason: str) -> EngineChoice:
    from simulation.engines import aer
    from simulation.engines.aer_backend import build_simulator, select_device

    def check(window: OrbitalWindow) -> None:
        _offering(lambda part: aer.check_fits(_num_qubits(options, part)))(window)
        select_device(options)

    def build(ansatz: Ansatz, problem: ElectronicProblem, hamiltonian: QubitHamiltonian) -> Engine:
        device = select_device(options)
        simulator = build_simulator(options, device) if device == "GPU" else None
        return aer.AerEngine(ansatz, hamiltonian, simulator, device)

    return EngineChoice("aer", reason, _spin_orbitals(options, aer.MAX_QUBITS), check, build)


def _aer_shots(options: VQEOptions, reason: str) -> EngineChoice:
    from simulation.engines import aer, aer_shots
    from simulation.engines.aer_backend import select_device
    from simulation.engines.noise import check_noise

    density = options.aer_method == "density_matrix"
    max_qubits = aer_shots.MAX_DENSITY_MATRIX_QUBITS if density else aer.MAX_QUBITS

    def check(window: OrbitalWindow) -> None:
        _offering(lambda part: aer.check_fits(_num_qubits(options, part), max_qubits))(window)
        check_noise(options, _num_qubits(options, window))
        select_device(options)

    def build(ansatz: Ansatz, problem: ElectronicProblem, hamiltonian: QubitHamiltonian) -> Engine:
        return aer_shots.AerShotsEngine(ansatz, hamiltonian, options)

    return EngineChoice("aer-shots", reason, _spin_orbitals(options, max_qubits), check, build)


def _ibm(options: VQEOptions, reason: str) -> EngineChoice:
    from simulation.engines import aer, ibm

    def check(window: OrbitalWindow) -> None:
        # The trial state's electrons and spin are found by Aer, whatever the size of the device.
        _offering(lambda part: aer.check_fits(_num_qubits(options, part)))(window)
        ibm.check_available()

    def build(ansatz: Ansatz, problem: ElectronicProblem, hamiltonian: QubitHamiltonian) -> Engine:
        return ibm.RuntimeEngine(ansatz, hamiltonian, options, ibm.connect(ibm.credentials()))

    return EngineChoice("ibm", reason, _spin_orbitals(options, aer.MAX_QUBITS), check, build)


def _num_qubits(options: VQEOptions, window: OrbitalWindow) -> int:
    return encoding(options.mapper, window.active, window.num_particles).num_qubits


def _spin_orbitals(options: VQEOptions, num_qubits: int) -> int:
    """The largest number of spin orbitals that a circuit of so many qubits can hold."""
    return num_qubits + 2 if options.mapper == "parity" else num_qubits


def _offering(check: Check) -> Check:
    """The same check, with the largest active space that passes it in its refusal."""

    def passes(window: OrbitalWindow) -> bool:
        try:
            check(window)
        except EngineError:
            return False
        return True

    def offering(window: OrbitalWindow) -> None:
        try:
            check(window)
        except EngineError as error:
            raise EngineError(f"{error}; {offer(window, passes)}") from None

    return offering


_CHOICES: dict[str, Callable[[VQEOptions, str], EngineChoice]] = {
    "sector": _sector,
    "aer": _aer,
    "aer-shots": _aer_shots,
    "ibm": _ibm,
}
