"""What a run is called: its identity, its molecule, its method, and how an error is written."""

from __future__ import annotations

from simulation.identity import content_id
from simulation.molecules import partition_key_of
from simulation.record import UNDEFINED_NOISE, VQEDecoratedResult


def experiment_of(record: VQEDecoratedResult) -> str:
    """The run's identity; that of its content where its writer gave none."""
    return record.experiment_id or content_id(record)


def molecule_of(record: VQEDecoratedResult) -> str:
    """Partition key of the run's molecule.

    Raises:
        MoleculeError: it has an unknown element.
    """
    molecule = record.molecule.molecule_data
    return partition_key_of(molecule.symbols, molecule.charge, molecule.multiplicity)


def exact_method(record: VQEDecoratedResult) -> str:
    """Name of the exact energy."""
    return record.reference_method or "FCI"


def method_label(record: VQEDecoratedResult) -> str:
    """What distinguishes the run among others of its molecule, in a few words."""
    initial = record.vqe_result.initial_data
    parts = [f"{ansatz_name(record)} x{initial.ansatz_reps}", initial.optimizer, initial.init_strategy or "random"]
    if initial.seed is not None:
        parts[-1] += f" (seed {initial.seed})"
    if record.mapper not in (None, "jordan_wigner"):
        parts.append(str(record.mapper).replace("_", "-"))
    if not initial.exact_estimator and initial.default_shots:
        parts.append(f"{initial.default_shots} shots")
    if initial.noise_backend != UNDEFINED_NOISE:
        parts.append(initial.noise_backend)
    elif record.noise_rates is not None:
        parts.append("noise rates")
    if record.replicate:
        parts.append(f"replicate {record.replicate}")
    return ", ".join(parts)


def ansatz_name(record: VQEDecoratedResult) -> str:
    """The ansatz; records without a name are of the time when there was one (spec C)."""
    return record.vqe_result.initial_data.ansatz_name or "EfficientSU2"


def space_label(record: VQEDecoratedResult) -> str:
    """Basis set and the orbitals that are correlated."""
    space = record.active_space
    if space is None:
        return f"{record.basis_set}, all orbitals"
    frozen = f", {record.frozen_orbitals} frozen" if record.frozen_orbitals else ""
    return f"{record.basis_set}, {space.electrons} electrons in {space.orbitals} orbitals{frozen}"


def error_text(error_mha: float, std_mha: float | None = None) -> str:
    """An error with its sign and its own standard error where it has one, in mHartree."""
    if std_mha:
        return f"{error_mha:+.2f} ± {std_mha:.2f} mHa"
    return f"{error_mha:+.4f} mHa" if abs(error_mha) >= 1e-4 or not error_mha else f"{error_mha:+.1e} mHa"
