"""What the figures show: few enough points, the references, the marks; and that they leave no trace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qpipe_assets.reports.asset_metadata import convergence_markdown, convergence_png, errors_mha
from qpipe_assets.reports.circuit_figure import circuit_drawing, excerpt, short_angle
from qpipe_assets.reports.comparison import summarise
from qpipe_assets.reports.convergence_figure import MOST_ERROR_BARS, Curve, overlaid_convergence, run_convergence
from qpipe_assets.reports.drawing import style
from qpipe_assets.reports.energy_figure import (
    EnergyPoint,
    References,
    compared_energies,
    cut_off,
    energy_limits,
    run_energies,
)
from qpipe_assets.reports.hamiltonian_figure import hamiltonian_drawing, sparse_label, spectrum
from qpipe_assets.reports.scan_figure import scan_drawing, scan_image
from qpipe_assets.reports.trajectory import MOST_POINTS, thinned_indices, trajectory
from simulation.circuit_features import read_circuit
from simulation.record import ComplexNumber, HamiltonianTerm, VQEDecoratedResult
from tests.reports.conftest import CIRCUIT, FCI, HF, made, sampled


def drawn(draw: Callable[[Axes], None]) -> Axes:
    axes = Figure().add_subplot()
    draw(axes)
    return axes


def terms(*values: float, first: str = "ZZ") -> list[HamiltonianTerm]:
    labels = [first, *(f"{'I' * 8}{index:010b}".replace("0", "Z").replace("1", "X") for index in range(len(values)))]
    return [
        HamiltonianTerm(label=label, coefficients=ComplexNumber(real=value, imaginary=0.0))
        for label, value in zip(labels, values, strict=False)
    ]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(4, 60))
def test_thinning_keeps_ends_and_extremes_in_order(values: list[float], most: int) -> None:
    kept = thinned_indices(np.array(values), most)
    assert len(kept) <= max(most, 0)
    assert (np.diff(kept) > 0).all()
    assert (kept[0], kept[-1]) == (0, len(values) - 1)
    assert {min(values), max(values)} <= {values[k] for k in kept}


def test_a_long_run_is_drawn_with_at_most_two_thousand_points() -> None:
    axes = drawn(run_convergence(trajectory(made(evaluations=5000)), "FCI"))
    assert max(len(line.get_xdata()) for line in axes.lines) <= MOST_POINTS  # type: ignore[arg-type]
    assert axes.get_yscale() == "log"


def test_convergence_is_the_distance_to_the_exact_energy_in_millihartree() -> None:
    axes = drawn(run_convergence(trajectory(made(error_mha=0.5)), "FCI"))
    assert axes.lines[0].get_ydata()[-1] == pytest.approx(0.5)  # type: ignore[index]
    assert "FCI" in axes.get_ylabel()


def test_sampled_runs_have_error_bars_of_their_standard_error() -> None:
    (bars,) = drawn(run_convergence(trajectory(sampled(std=0.004)), "FCI")).containers
    segments = bars[2][0].get_segments()  # type: ignore[index]
    assert 10 < len(segments) <= MOST_ERROR_BARS + 1
    assert segments[-1][1][1] - segments[-1][0][1] == pytest.approx(8.0)
    assert not drawn(run_convergence(trajectory(made()), "FCI")).containers


def test_evaluations_below_the_exact_energy_are_marked() -> None:
    labels = drawn(run_convergence(trajectory(made(error_mha=-162.0)), "FCI")).get_legend_handles_labels()[1]
    assert "below the exact energy" in labels
    assert (
        "below the exact energy" not in drawn(run_convergence(trajectory(made()), "FCI")).get_legend_handles_labels()[1]
    )


def test_the_energies_show_both_references_with_their_values() -> None:
    texts = [text.get_text() for text in drawn(run_energies(trajectory(made()), References(HF, FCI))).texts]
    assert texts == [f"FCI  {FCI:.8f}", f"Hartree-Fock  {HF:.8f}"]


def test_a_wild_start_is_cut_off_and_counted_not_the_references() -> None:
    run, references = trajectory(made()), References(HF, FCI)
    limits = energy_limits(run.energies, references)
    assert limits is not None
    assert limits[0] < FCI < HF < limits[1] < run.energies[0]
    assert 0 < cut_off(run, references) < len(run.energies)
    assert energy_limits(run.energies, References(None, None)) is None


def test_compared_runs_keep_band_and_error_bars_in_sight() -> None:
    points = [EnergyPoint("a", -5.0, 8.0, 20.6, True), EnergyPoint("b", 0.0, None, None, None)]
    axes = drawn(compared_energies(points))
    low, high = axes.get_xlim()
    assert low < -13.0
    assert high > 20.6
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


def test_the_hamiltonian_without_identity_small_terms_summed() -> None:
    shown = spectrum([*terms(-7.0, first="IIII"), *terms(0.5, -0.25, 0.009, -0.001)])
    assert shown.identity == -7.0
    assert [abs(value) for _, value in shown.largest] == [0.5, 0.25]
    assert (shown.num_terms, shown.others) == (5, 2)
    assert shown.others_norm == pytest.approx(0.010)


def test_at_most_fifty_terms_are_drawn() -> None:
    shown = spectrum(terms(*(1.0 - 0.01 * index for index in range(80))))
    assert (len(shown.largest), shown.others) == (50, 30)
    labels = [label.get_text() for label in drawn(hamiltonian_drawing(shown)).get_yticklabels()]
    assert len(labels) == 51
    assert labels[-1] == "Other (30)"


def test_a_hamiltonian_of_the_identity_alone_is_no_error() -> None:
    drawn(hamiltonian_drawing(spectrum(terms(-7.0, first="II"))))
    drawn(hamiltonian_drawing(spectrum([])))


def test_labels_name_qubits_from_the_right() -> None:
    assert sparse_label("IXIZ") == "Z0 X2"


def test_a_small_circuit_is_drawn_whole_and_a_large_one_begins() -> None:
    whole = excerpt(read_circuit(CIRCUIT.to_qasm3()))
    assert whole.left_out == 0
    assert {text.get_text() for text in drawn(circuit_drawing(whole)).texts} >= {"q0", "x", "ry θ1", "single\n-θ0"}
    text = "qubit[20] q;" + "".join(f"cx q[{i % 20}], q[{(i + 7) % 20}];" for i in range(500))
    begun = excerpt(read_circuit(text))
    assert 0 < len(begun.placed) < 500
    assert begun.left_out == 500 - len(begun.placed)
    assert begun.height < 8


def test_instructions_on_one_qubit_stand_one_after_the_other() -> None:
    shown = excerpt(read_circuit("qubit[3] q; h q[0]; cx q[0], q[2]; x q[1]; h q[2];"))
    assert [item.column for item in shown.placed] == [0, 1, 2, 2]


@pytest.mark.parametrize(
    ("angle", "short"),
    [("-theta_0012", "-θ12"), ("0.5*theta_0000", "0.5θ0"), ("_θ_3_", "θ3"), ("1.23456789012", "1.234567…")],
)
def test_angles_are_short(angle: str, short: str) -> None:
    assert short_angle(angle) == short


def test_pictures_for_metadata_stay_below_sixty_kilobytes() -> None:
    rng = np.random.default_rng(0)
    curves = {f"run {i} " + "x" * 60: np.exp(rng.normal(size=3000).cumsum() / 50).tolist() for i in range(30)}
    assert len(convergence_png(curves)) < 60_000
    assert convergence_markdown("H2", curves).startswith("![convergence of H2](data:image/png;base64,")


@pytest.mark.parametrize("count", [1, 2, 8])
def test_long_labels_take_no_width_from_the_curves_and_are_whole(count: int) -> None:
    label = "sto3g EfficientSU2 x2 random seed 7 L-BFGS-B [80c854fa910c]"
    curve = Curve(label, np.arange(1, 4), np.array([100.0, 1.0, 0.1]))
    with style():
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        overlaid_convergence([curve] * count)(axes)
        figure.draw_without_rendering()
    legend = axes.get_legend()
    assert legend is not None
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert box.y1 <= figure.bbox.height
    assert axes.get_position().width > 0.75
    assert axes.get_position().height > 0.35


def test_errors_need_an_exact_energy() -> None:
    assert errors_mha(made(fci_energy=None)) == []
    assert errors_mha(made(error_mha=-2.0))[-1] == pytest.approx(2.0)


_UNTRACED = """
import hashlib, sys, matplotlib
def settings():  # reading the setting "backend" would import pyplot
    return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}
before = settings()
from qpipe_assets.reports.html import to_html
from qpipe_assets.reports.pdf import to_pdf
from qpipe_assets.reports.run_report import run_report
from qpipe_assets.reports.molecule_figure import molecule_png
from tests.reports.conftest import made
report = run_report(made())
data = to_html(report).encode() + to_pdf(report) + molecule_png(made().molecule.molecule_data)
assert "matplotlib.pyplot" not in sys.modules, "pyplot keeps figures"
assert settings() == before, "settings leaked"
assert not {"dagster", "qiskit", "pyscf"} & set(sys.modules), "a report needs none of them"
print(hashlib.sha256(data).hexdigest())
"""


def test_a_report_leaves_no_trace_and_is_the_same_in_every_process() -> None:
    digests = set()
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", _UNTRACED], env={"PYTHONHASHSEED": seed, "PATH": ""}, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        digests.add(run.stdout)
    assert len(digests) == 1


def scanned(number: int, value: float, **changes: object) -> VQEDecoratedResult:
    return made(number, scan_coordinate="bond 0-1", scan_value=value, **changes)


def test_a_scan_shows_energies_with_the_errors_and_their_band_below() -> None:
    points = [scanned(0, 1.2), scanned(1, 0.6, error_mha=4.0, valid=False), scanned(2, 0.9, energy_standard_error=3e-4)]
    energies, errors = drawn(scan_drawing([summarise(record) for record in points])).child_axes
    named = dict(zip(*reversed(energies.get_legend_handles_labels()), strict=True))
    assert set(named) == {"Hartree-Fock", "FCI", "VQE", "VQE, not valid"}
    assert list(named["VQE"].lines[0].get_xdata()) == [0.9, 1.2]
    assert list(named["VQE, not valid"].lines[0].get_xdata()) == [0.6]
    shown = {x: y for bars in errors.containers for x, y in zip(*bars.lines[0].get_data(), strict=True)}
    assert shown == pytest.approx({0.6: 4.0, 0.9: 0.5, 1.2: 0.5})
    low, high = errors.get_ylim()
    assert low <= -1.6 and high >= 4.0 and errors.get_yscale() == "linear"
    assert errors.get_xlim() == energies.get_xlim()
    assert errors.get_xlabel() == "bond 0-1  (Å)"


def test_errors_of_a_scan_far_from_the_band_are_all_in_sight_on_a_logarithmic_axis() -> None:
    points = [summarise(scanned(k, 0.5 + k, error_mha=error)) for k, error in enumerate((0.1, 70.0, -20.0))]
    _, errors = drawn(scan_drawing(points)).child_axes
    low, high = errors.get_ylim()
    assert low < -20 and high > 70 and errors.get_yscale() == "symlog"


@pytest.mark.parametrize(("form", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_scan_becomes_a_file_whose_bytes_do_not_depend_on_the_order_of_its_points(form: str, start: bytes) -> None:
    points = [scanned(k, 0.5 + k) for k in range(3)]
    image = scan_image("H2", points, form)
    assert image.startswith(start)
    assert image == scan_image("H2", points[::-1], form)


def test_a_scan_without_points_or_in_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="no point"):
        scan_image("H2", [])
    with pytest.raises(ValueError, match="bmp"):
        scan_image("H2", [scanned(0, 1.0)], "bmp")
