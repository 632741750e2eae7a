"""The main job on real molecules: VQE, raw objects, nine tables, ML tables, checked against reference and oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from qpipe_assets.landing import Landing
from qpipe_assets.reading import LakehouseReader
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_cli.demo import MOLECULES
from qpipe_resources.settings import Settings
from simulation.certification import aer_energy
from simulation.molecules import catalogue
from simulation.options import VQEOptions
from simulation.record import ComplexNumber, HamiltonianTerm, VQEDecoratedResult
from simulation.runner import VQERunner
from tests.tables.test_ml_features import assert_features_equal, assert_summary_equal

REFERENCE = Path(__file__).parent / "simulation" / "reference_energies.json"
DRIFTING = VQEOptions(ansatz="EfficientSU2", init_strategy="random", seed=1)


@pytest.fixture(scope="module")
def records() -> dict[str, VQEDecoratedResult]:
    known = catalogue()
    made = {name: VQERunner(molecules=[known[name]]).run()[0] for name in MOLECULES}
    return made | {"HeH+ drifting": VQERunner(molecules=[known["HeH+"]], options=DRIFTING).run()[0]}


@pytest.fixture(scope="module")
def installation(records: dict[str, VQEDecoratedResult], tmp_path_factory: pytest.TempPathFactory) -> Installation:
    home = tmp_path_factory.mktemp("main_job")
    opened = open_installation(Settings(home=home, dagster_home=home / "dagster"))
    for name, record in records.items():
        Landing(opened.store, opened.settings, name.split()[0]).land(record)
    for molecule in MOLECULES:
        opened.ingest().run(molecule)
        opened.ml_features().run(molecule)
    return opened


@pytest.fixture(scope="module")
def reader(installation: Installation) -> LakehouseReader:
    return LakehouseReader(installation)


def of(frame: pd.DataFrame, record: VQEDecoratedResult) -> pd.DataFrame:
    return frame[frame["experiment_id"] == record.experiment_id]


@pytest.mark.parametrize(
    ("molecule", "tolerance_hartree"), [("H2", 1e-6), ("HeH+", 1e-6), ("LiH", 1e-3), ("BeH2", 1e-3), ("H2O", 1e-3)]
)
def test_the_tables_hold_the_right_energy(
    molecule: str, tolerance_hartree: float, records: dict[str, VQEDecoratedResult], reader: LakehouseReader
) -> None:
    origin = ("molecules.thesis.json", "sto3g")
    listed = json.loads(REFERENCE.read_text())["records"]
    published = {r["name"]: r for r in listed if (r["source_file"], r["basis"]) == origin}
    row = of(reader.table("vqe_results").to_pandas(), records[molecule]).iloc[0]
    assert abs(row["total_energy"] - published[molecule]["fci_total"]) < tolerance_hartree
    assert abs(row["fci_energy"] - published[molecule]["fci_total"]) < 1e-8
    assert abs(row["hf_energy"] - published[molecule]["rhf_total"]) < 1e-8
    assert row["total_energy"] == row["minimum_energy"] + row["nuclear_repulsion_energy"]
    assert row["valid"] and row["chemically_accurate"]


@pytest.mark.parametrize("molecule", MOLECULES)
def test_circuit_and_terms_in_the_tables_give_the_energy_in_the_tables(
    molecule: str, records: dict[str, VQEDecoratedResult], reader: LakehouseReader
) -> None:
    record = records[molecule]
    circuit = of(reader.table("ansatz_info").to_pandas(), record)["ansatz"].iloc[0]
    terms = of(reader.table("hamiltonian_terms").to_pandas(), record).sort_values("term_index")
    optimum = of(reader.table("optimal_parameters").to_pandas(), record).sort_values("parameter_index")
    minimum = of(reader.table("vqe_results").to_pandas(), record)["minimum_energy"].iloc[0]
    operator = [
        HamiltonianTerm(label=label, coefficients=ComplexNumber(real=real, imaginary=imaginary))
        for label, real, imaginary in zip(terms["term_label"], terms["coeff_real"], terms["coeff_imag"], strict=True)
    ]
    assert abs(aer_energy(circuit, operator, optimum["optimal_parameter_value"].tolist()) - minimum) < 1e-9


def test_a_result_about_another_molecule_is_stored_as_invalid_with_the_reason(
    records: dict[str, VQEDecoratedResult], reader: LakehouseReader
) -> None:
    row = of(reader.table("vqe_results").to_pandas(), records["HeH+ drifting"]).iloc[0]
    assert row["total_energy"] < row["fci_energy"] - 0.1
    assert not row["valid"] and not row["chemically_accurate"]
    assert "electrons" in row["invalid_reason"]
    summary = of(reader.table("ml_run_summary").to_pandas(), records["HeH+ drifting"]).iloc[0]
    assert not summary["valid"]


def test_the_ml_tables_equal_the_oracle_on_real_runs(
    records: dict[str, VQEDecoratedResult], reader: LakehouseReader
) -> None:
    features = reader.table("ml_iteration_features").to_pandas()
    summaries = reader.table("ml_run_summary").to_pandas()
    for record in records.values():
        plain: dict[str, Any] = record.model_dump()
        mine = of(features, record).sort_values("iteration_step", ignore_index=True)
        assert_features_equal(mine, plain)
        assert_summary_equal(of(summaries, record).iloc[0], plain)


def test_every_record_can_be_had_back_as_it_was(
    records: dict[str, VQEDecoratedResult], reader: LakehouseReader
) -> None:
    for record in records.values():
        assert record.experiment_id is not None
        assert reader.record(record.experiment_id) == record
