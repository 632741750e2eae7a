"""The report of one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qpipe_assets.reports import facts, labels
from qpipe_assets.reports.circuit_figure import circuit_drawing, excerpt
from qpipe_assets.reports.convergence_figure import run_convergence
from qpipe_assets.reports.document import Block, Document, Facts, Note, Picture, Section, Table
from qpipe_assets.reports.energy_figure import References, cut_off, run_energies
from qpipe_assets.reports.hamiltonian_figure import THRESHOLD_HARTREE, hamiltonian_drawing, spectrum
from qpipe_assets.reports.molecule_figure import molecule_drawing
from qpipe_assets.reports.molecule_geometry import coords_angstrom, scene
from qpipe_assets.reports.trajectory import MOST_POINTS, total_energy, trajectory
from simulation.circuit_features import CircuitTextError, circuit_features, read_circuit

if TYPE_CHECKING:
    from simulation.record import MoleculeData, VQEDecoratedResult

PLOT_WIDTH = 7.0
PLOT_HEIGHT = 2.5
SHORT_ID = 16


def run_report(record: VQEDecoratedResult) -> Document:
    """Everything that is worth knowing of one run, from its record."""
    experiment, molecule = labels.experiment_of(record), labels.molecule_of(record)
    return Document(
        name=f"{molecule}-{experiment[:SHORT_ID]}",
        title=f"VQE of {molecule}",
        subtitle=f"{labels.space_label(record)}; {labels.method_label(record)}",
        sections=(
            Section("Result", (facts.verdict(record), facts.energies(record)), molecule_picture(record)),
            *energy_sections(record),
            Section("How it was computed", detail_blocks(record)),
            Section("Molecule", (facts.molecule(record), geometry_table(record.molecule.molecule_data))),
            *operator_sections(record),
        ),
    )


def molecule_picture(record: VQEDecoratedResult) -> Picture:
    """The molecule, to be turned where the medium allows it."""
    shown = scene(record.molecule.molecule_data)
    return Picture(molecule_drawing(shown), 3.2, 2.4, "Atoms by covalent radius; bonds by distance", shown)


def energy_sections(record: VQEDecoratedResult) -> tuple[Section, ...]:
    """Energies and convergence over the evaluations."""
    run, method = trajectory(record), labels.exact_method(record)
    references = References(record.hf_energy, record.fci_energy, method)
    caption = "Energy of every evaluation."
    if record.fci_energy is not None:
        caption += " The band is ±1.6 mHa about the exact energy."
    above = cut_off(run, references)
    if above:
        caption += f" Evaluations above the picture: {above}."
    if total_energy(record) is None:
        caption += " The record holds no nuclear repulsion: these are electronic energies."
    energies = Picture(run_energies(run, references), PLOT_WIDTH, PLOT_HEIGHT, caption)
    blocks: tuple[Block, ...] = (Note("The record holds no exact energy, so there is no error to draw."),)
    if run.errors_mha is not None:
        blocks = (Picture(run_convergence(run, method), PLOT_WIDTH, PLOT_HEIGHT, _convergence_caption(record)),)
    return (Section("Energies", (energies,)), Section("Convergence", blocks))


def detail_blocks(record: VQEDecoratedResult) -> tuple[Block, ...]:
    """Method, observables, cost and provenance."""
    groups = (facts.method(record), facts.observables(record), facts.cost(record), facts.provenance(record))
    return tuple(group for group in groups if group.rows)


def operator_sections(record: VQEDecoratedResult) -> tuple[Section, ...]:
    """The Hamiltonian and the circuit."""
    return (Section("Hamiltonian", _hamiltonian_blocks(record)), Section("Circuit", _circuit_blocks(record)))


def geometry_table(molecule: MoleculeData) -> Table:
    """Positions of the atoms."""
    positions = coords_angstrom(molecule).tolist()
    rows = tuple(
        (str(index), symbol, *(f"{value + 0.0:.6f}" for value in position))
        for index, (symbol, position) in enumerate(zip(molecule.symbols, positions, strict=True))
    )
    return Table("Positions (Å)", ("atom", "element", "x", "y", "z"), rows, numeric=frozenset({0, 2, 3, 4}))


def _convergence_caption(record: VQEDecoratedResult) -> str:
    count = len(record.vqe_result.iteration_list)
    caption = "Distance to the exact energy; the band is chemical accuracy."
    if any(step.std for step in record.vqe_result.iteration_list):
        caption += " Bars are standard errors of the samples."
    if count > MOST_POINTS:
        caption += f" {MOST_POINTS} of {count} evaluations are drawn: of each stretch the highest and the lowest."
    return caption


def _hamiltonian_blocks(record: VQEDecoratedResult) -> tuple[Block, ...]:
    initial = record.vqe_result.initial_data
    shown = spectrum(initial.hamiltonian)
    rows = [("Pauli terms", str(shown.num_terms)), ("Qubits", str(initial.num_qubits))]
    rows.append(("Identity", f"{shown.identity.real:.8f} Ha"))
    caption = f"Coefficients of at least {THRESHOLD_HARTREE:g} Ha besides the identity, the largest first."
    if shown.others:
        caption += f" The other {shown.others} add up to {shown.others_norm:.4f} Ha in magnitude."
    return (Facts(tuple(rows)), Picture(hamiltonian_drawing(shown), PLOT_WIDTH, shown.height, caption))


def _circuit_blocks(record: VQEDecoratedResult) -> tuple[Block, ...]:
    initial = record.vqe_result.initial_data
    try:
        written = read_circuit(initial.ansatz)
        features = circuit_features(initial.ansatz, operator_qubits=initial.num_qubits)
    except CircuitTextError as error:
        return (Note(f"The recorded circuit cannot be read: {error}"),)
    gates = ", ".join(f"{name} {count}" for name, count in features.gate_counts.items())
    rows = [
        ("Qubits", str(features.num_qubits)),
        ("Ancillas", str(features.num_ancillas)),
        ("Classical bits", str(features.num_clbits)),
        ("Parameters", str(initial.num_parameters)),
        ("Depth", str(features.depth)),
        ("Gates", f"{features.num_gates} ({gates})"),
    ]
    shown = excerpt(written)
    caption = "The circuit as recorded."
    if written.definitions:
        caption += " Depth and gate counts are of its primitive gates; a box is a gate of the circuit's own."
    if shown.left_out:
        caption += f" Drawn are the first {len(shown.placed)} instructions; {shown.left_out} more are left out."
    return (Facts(tuple(rows)), Picture(circuit_drawing(shown), PLOT_WIDTH, shown.height, caption))
