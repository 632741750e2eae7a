"""The figures of a run in words: energies, verdict, method, observables, cost and provenance."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from qpipe_assets.reports.document import Facts, Grade, Verdict
from qpipe_assets.reports.labels import ansatz_name, error_text, exact_method, experiment_of, space_label
from qpipe_assets.reports.molecule_geometry import bond_lengths
from qpipe_assets.reports.trajectory import energy_error_mha, total_energy
from simulation.metrics import CHEMICAL_ACCURACY_MHA
from simulation.record import UNDEFINED_NOISE, VQEDecoratedResult

_BYTES_PER_MIB = 1024**2
_SMALLEST_CORRELATION_HARTREE = 1e-9


def verdict(record: VQEDecoratedResult) -> Verdict:
    """Whether the run's energy can be used, with the recorded reason where it cannot."""
    error = energy_error_mha(record)
    method = exact_method(record)
    if record.valid is False:
        return Verdict(Grade.BAD, f"Not valid: {record.invalid_reason or 'no reason recorded'}")
    known = "Valid" if record.valid else "No verdict recorded"
    if error is None:
        return Verdict(Grade.UNKNOWN, f"{known}; without an exact energy the accuracy is unknown")
    accurate = abs(error) <= CHEMICAL_ACCURACY_MHA
    distance = error_text(error, _std_mha(record))
    text = f"{known}; {'' if accurate else 'not '}chemically accurate: {distance} to {method}"
    if record.valid is None:
        return Verdict(Grade.UNKNOWN, text)
    return Verdict(Grade.GOOD if accurate else Grade.FAIR, text)


def energies(record: VQEDecoratedResult) -> Facts:
    """The energies and how they compare."""
    error, total = energy_error_mha(record), total_energy(record)
    method = exact_method(record)
    rows: list[tuple[str, str | None]] = [
        ("VQE total energy", _hartree(total, record.energy_standard_error)),
        ("Hartree-Fock", _hartree(record.hf_energy)),
        (f"{method} (exact in these orbitals)", _hartree(record.fci_energy)),
        (f"Error to {method}", None if error is None else error_text(error, _std_mha(record))),
        ("Correlation recovered", _recovered(record, total)),
        _on_aer(record, total),
        ("Nuclear repulsion", _hartree(record.vqe_result.nuclear_repulsion_energy)),
        ("Electronic energy", _hartree(record.vqe_result.minimum)),
    ]
    return _facts(rows, "Energies")


def method(record: VQEDecoratedResult) -> Facts:
    """What was computed, how, and with which options."""
    initial = record.vqe_result.initial_data
    rates = record.noise_rates
    rows: list[tuple[str, Any]] = [
        ("Basis and orbitals", space_label(record)),
        ("Qubits", initial.num_qubits),
        ("Mapping", record.mapper),
        ("Ansatz", f"{ansatz_name(record)} x{initial.ansatz_reps}, {initial.num_parameters} parameters"),
        ("Initial point", _start(record)),
        ("Optimizer", initial.optimizer),
        ("Gradient", record.gradient),
        ("Threshold", None if record.threshold is None else f"{record.threshold:g} Ha"),
        ("Most evaluations", record.max_evaluations),
        ("Engine", _joined(record.engine, record.engine_reason)),
        ("Backend", _joined(initial.backend, record.device)),
        ("Simulation method", record.simulation_method),
        ("Energies", "exact" if initial.exact_estimator else _shots(initial.default_shots)),
        ("Noise of", None if initial.noise_backend == UNDEFINED_NOISE else initial.noise_backend),
        ("Noise rates", None if rates is None else ", ".join(f"{k} {v:g}" for k, v in rates.model_dump().items())),
        ("Transpiler level", record.optimization_level),
        ("Seed", initial.seed),
        ("Replicate", record.replicate or None),
    ]
    return _facts(rows, "Method")


def observables(record: VQEDecoratedResult) -> Facts:
    """Electrons and spin at the optimum, and what they ought to be."""
    molecule = record.molecule.molecule_data
    spin = (molecule.multiplicity - 1) / 2
    rows = [
        ("<N>", _expectation(record.particle_number)),
        ("<S_z>", _expectation(record.spin_z, f"{spin:g} expected")),
        ("<S^2>", _expectation(record.spin_squared, f"{spin * (spin + 1):g} expected")),
    ]
    return _facts(rows, "Observables at the optimum")


def cost(record: VQEDecoratedResult) -> Facts:
    """Evaluations, times and resources."""
    result = record.vqe_result
    rows: list[tuple[str, Any]] = [
        ("Recorded evaluations", len(result.iteration_list)),
        ("Energy evaluations", record.energy_evaluations),
        ("Gradient evaluations", record.gradient_evaluations),
        ("Optimizer steps", record.optimizer_steps),
        ("Optimizer ended", _ended(record)),
        ("Hamiltonian", _seconds(record.hamiltonian_time)),
        ("Mapping", _seconds(record.mapping_time)),
        ("Optimisation", _seconds(record.vqe_time)),
        ("In all", _seconds(record.wall_time if record.wall_time is not None else record.total_time)),
        *_resources(record),
    ]
    return _facts(rows, "Cost")


def provenance(record: VQEDecoratedResult) -> Facts:
    """Where the record comes from."""
    rows: list[tuple[str, Any]] = [
        ("Experiment", experiment_of(record)),
        ("Started", _moment(record.started_at)),
        ("Host", record.host),
        ("Versions", _versions(record.versions)),
        ("Dagster run", record.dagster_run_id),
        ("Campaign", record.campaign),
        ("Scan", _scan(record)),
        ("Started from", record.previous_experiment),
        ("Record schema", record.schema_version),
    ]
    return _facts(rows, "Provenance")


def molecule(record: VQEDecoratedResult) -> Facts:
    """The molecule as it was asked."""
    data = record.molecule.molecule_data
    masses = None if data.masses is None else ", ".join(f"{mass:g}" for mass in data.masses)
    rows: list[tuple[str, Any]] = [
        ("Name", data.name),
        ("Atoms", " ".join(data.symbols)),
        ("Bonds", bond_lengths(data) or None),
        ("Charge", data.charge),
        ("Multiplicity", data.multiplicity),
        ("Masses (u)", masses),
    ]
    return _facts(rows, "Molecule")


def _facts(rows: list[tuple[str, Any]], title: str) -> Facts:
    return Facts(tuple((name, str(value)) for name, value in rows if value is not None), title)


def _hartree(value: float | None, standard_error: float | None = None) -> str | None:
    if value is None:
        return None
    return f"{value:.8f} Ha" if not standard_error else f"{value:.6f} ± {standard_error:.6f} Ha"


def _std_mha(record: VQEDecoratedResult) -> float | None:
    return None if not record.energy_standard_error else 1000 * record.energy_standard_error


def _recovered(record: VQEDecoratedResult, total: float | None) -> str | None:
    if record.valid is False or record.energy_standard_error:
        return None
    if total is None or record.hf_energy is None or record.fci_energy is None:
        return None
    correlation = record.hf_energy - record.fci_energy
    if correlation < _SMALLEST_CORRELATION_HARTREE:
        return None
    return f"{100 * (record.hf_energy - total) / correlation:.3f} %"


def _on_aer(record: VQEDecoratedResult, total: float | None) -> tuple[str, str | None]:
    """What Aer says: of samples, which scatter and may be noisy, its energy confirms nothing and stands beside them."""
    if not record.vqe_result.initial_data.exact_estimator:
        energy = _hartree(record.certified_energy)
        return "Exact energy of the circuit", energy and f"{energy} (Qiskit Aer)"
    if record.certified_energy is None or total is None:
        return "Certified on Qiskit Aer", "no"
    return "Certified on Qiskit Aer", f"yes, to within {abs(record.certified_energy - total):.1e} Ha"


def _start(record: VQEDecoratedResult) -> str:
    initial = record.vqe_result.initial_data
    return (initial.init_strategy or "random") + ("" if initial.seed is None else f", seed {initial.seed}")


def _shots(shots: int | None) -> str:
    return "sampled" if shots is None else f"sampled, {shots} shots"


def _joined(value: str | None, detail: str | None) -> str | None:
    return value if value is None or not detail else f"{value} ({detail})"


def _expectation(value: float | None, expected: str = "") -> str | None:
    if value is None:
        return None
    return f"{round(value, 6) + 0.0:.6f}" + (f" ({expected})" if expected else "")


def _ended(record: VQEDecoratedResult) -> str | None:
    success = record.vqe_result.success
    text = None if success is None else ("converged" if success else "stopped before convergence")
    return _joined(text, record.optimizer_message)


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value < 100 else f"{value:.0f} s"


def _moment(text: str | None) -> str | None:
    if text is None:
        return None
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC).isoformat(" ", "seconds").replace("+00:00", " UTC")


def _versions(text: str | None) -> str | None:
    found = _json_object(text)
    return text if not found else ", ".join(f"{name} {version}" for name, version in found.items() if version)


def _scan(record: VQEDecoratedResult) -> str | None:
    if record.scan_coordinate is None or record.scan_value is None:
        return None
    return f"{record.scan_coordinate} = {record.scan_value:g}"


def _resources(record: VQEDecoratedResult) -> list[tuple[str, str]]:
    """Processor time and peak memory of the process, where a monitor's snapshots hold them."""
    before, after = (_process(text) for text in (record.performance_start, record.performance_end))
    rows = []
    if "cpu_seconds" in before and "cpu_seconds" in after:
        rows.append(("Processor time", _seconds(after["cpu_seconds"] - before["cpu_seconds"])))
    if "peak_rss_bytes" in after:
        rows.append(("Peak memory", f"{after['peak_rss_bytes'] / _BYTES_PER_MIB:.0f} MiB"))
    return rows


def _process(snapshot: str | None) -> dict[str, float]:
    process = _json_object(snapshot).get("process")
    found = process if isinstance(process, dict) else {}
    return {key: value for key, value in found.items() if isinstance(value, int | float)}


def _json_object(text: str | None) -> dict[str, Any]:
    """The object that a text holds; records of other writers hold any text, which then tells nothing."""
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
