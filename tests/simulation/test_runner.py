import dataclasses
import datetime as dt
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from simulation import certification
from simulation.certification import CertificationError, aer_energy, certify
from simulation.engines.base import EngineError
from simulation.identity import experiment_id
from simulation.metrics import accuracy_score, metric_labels
from simulation.molecules import Molecule, MoleculeError, catalogue
from simulation.observables import Observables
from simulation.options import VQEOptions
from simulation.record import ActiveSpace, VQEDecoratedResult
from simulation.runner import VQERunner
from simulation.validity import judge
from tests.simulation.conftest import reference_record


def run(name, **options):
    return VQERunner(molecules=[catalogue()[name]], options=VQEOptions(**options)).run()[0]


@pytest.mark.parametrize("name", ["H2", "HeH+"])
def test_two_electrons_are_exact_by_default(default_runs, name):
    record = default_runs(name)
    assert record.total_energy == pytest.approx(reference_record(name)["fci_total"], abs=1e-6)
    assert record.chemically_accurate and record.valid and record.vqe_result.success


@pytest.mark.parametrize("name", ["LiH", "BeH2", "H2O", "NH3"])
def test_default_run_is_within_0_4_millihartree(default_runs, name):
    record = default_runs(name)
    assert 0 <= record.total_energy - reference_record(name)["fci_total"] < 0.4e-3
    assert record.energy_evaluations <= 40
    assert record.valid


@pytest.mark.parametrize("name", ["H2", "HeH+"])
def test_cobyla_from_hartree_fock(name):
    record = run(name, optimizer="COBYLA")
    assert abs(record.energy_error_mha) < 1e-3
    assert record.gradient == "none" and record.gradient_evaluations == 0
    assert record.energy_evaluations <= 1000


@pytest.mark.parametrize("name", ["H2", "LiH", "BeH2"])
def test_energy_of_the_stored_circuit_at_the_stored_parameters_is_the_minimum(default_runs, name):
    stored = VQEDecoratedResult.model_validate_json(default_runs(name).to_json())
    result = stored.vqe_result
    energy = aer_energy(result.initial_data.ansatz, result.initial_data.hamiltonian, result.optimal_parameters)
    assert energy == pytest.approx(result.minimum, abs=1e-9)
    assert stored.certified_energy == pytest.approx(stored.total_energy, abs=1e-9)


def test_minimum_and_its_parameters_are_of_one_evaluation(default_runs):
    result = default_runs("LiH").vqe_result
    best = min(result.iteration_list, key=lambda row: row.result)
    assert (best.result, best.parameters) == (result.minimum, result.optimal_parameters)
    assert result.nfev == len(result.iteration_list)


def test_total_energy_is_minimum_plus_nuclear_repulsion_in_every_space():
    for options in ({}, {"frozen_core": True}, {"active_space": ActiveSpace(electrons=2, orbitals=3)}):
        record = run("LiH", **options)
        assert record.total_energy == record.vqe_result.minimum + record.vqe_result.nuclear_repulsion_energy
        assert record.hf_energy == pytest.approx(reference_record("LiH")["rhf_total"], abs=1e-9)
        assert record.reference_method == ("CASCI" if options else "FCI")
        assert record.particle_number == pytest.approx(4, abs=1e-9)
        assert abs(record.energy_error_mha) < 0.1


def test_first_evaluation_from_hartree_fock_is_the_hartree_fock_energy(default_runs):
    record = default_runs("H2O")
    electronic = record.hf_energy - record.vqe_result.nuclear_repulsion_energy
    assert record.vqe_result.iteration_list[0].result == pytest.approx(electronic, abs=1e-9)


def test_open_shell_has_its_spin(default_runs):
    record = default_runs("BeH")
    assert record.spin_z == pytest.approx(0.5, abs=1e-12) and record.valid
    assert record.spin_squared == pytest.approx(0.75, abs=1e-3)
    assert record.energy_error_mha < 1.0


def test_molecule_without_excitations_is_evaluated_once(default_runs):
    record = default_runs("He2")
    assert (record.vqe_result.nfev, record.vqe_result.optimal_parameters, record.vqe_result.success) == (1, [], True)
    assert record.energy_error_mha == pytest.approx(0, abs=1e-6)
    assert run("He2", engine="aer").total_energy == pytest.approx(record.total_energy, abs=1e-10)


def test_all_fields_of_the_record_are_filled(default_runs):
    record = default_runs("H2")
    later = {"performance_start", "performance_end", "dagster_run_id", "campaign"}
    not_asked = {"invalid_reason", "active_space", "max_evaluations", "threshold", "previous_experiment"}
    not_asked |= {"scan_coordinate", "scan_value", "noise_rates", "energy_standard_error", "optimization_level"}
    not_asked |= {"simulation_method"}  # the sector engine uses none of Aer
    empty = {name for name in type(record).model_fields if getattr(record, name) is None}
    assert empty == later | not_asked
    assert record.total_time == record.hamiltonian_time + record.mapping_time + record.vqe_time
    assert dt.datetime.fromisoformat(record.started_at).tzinfo is not None
    assert json.loads(record.versions).keys() == {
        "python", "qpipe", "qiskit", "qiskit-aer", "pyscf", "numpy", "scipy",
    }  # fmt: skip
    assert record.molecule.molecule_data.name == "H2"
    assert (record.engine, record.gradient, record.replicate) == ("sector", "adjoint", 0)
    assert record.vqe_result.initial_data.backend == "aer_simulator_statevector"
    assert record.experiment_id == experiment_id(catalogue()["H2"], VQEOptions().resolved())


def test_two_seeded_runs_are_identical_in_any_process_and_thread_count():
    program = (
        "from simulation.runner import VQERunner; from simulation.molecules import catalogue;"
        "r = VQERunner(molecules=[catalogue()['HeH+']], ansatz='EfficientSU2', init_strategy='random', seed=4,"
        "max_iterations=20).run()[0];"
        "print(r.experiment_id, [p.model_dump_json() for p in r.vqe_result.iteration_list])"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": threads},
        ).stdout
        for threads in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) > 1000


def test_repeated_run_in_one_process_is_identical(default_runs):
    again = run("BeH2")
    assert again.vqe_result.iteration_list == default_runs("BeH2").vqe_result.iteration_list
    assert again.experiment_id == default_runs("BeH2").experiment_id


def test_both_engines_are_one_experiment(default_runs):
    aer = run("H2", engine="aer")
    assert aer.experiment_id == default_runs("H2").experiment_id
    assert aer.engine == "aer"
    assert aer.total_energy == pytest.approx(default_runs("H2").total_energy, abs=1e-10)


@pytest.mark.parametrize("seed", [1, 2])
def test_cation_that_drifts_to_the_neutral_molecule_is_invalid_though_converged(seed):
    record = run("HeH+", ansatz="EfficientSU2", init_strategy="random", seed=seed)
    assert record.total_energy == pytest.approx(-3.013390, abs=1e-5)
    assert record.vqe_result.success and record.valid is False
    assert "<N> is 3.0000" in record.invalid_reason and "below" in record.invalid_reason
    assert record.certified_energy == pytest.approx(record.total_energy, abs=1e-9)


def test_unseeded_random_run_records_the_seed_it_drew():
    record = run("H2", ansatz="EfficientSU2", init_strategy="random", max_iterations=3)
    drawn = record.vqe_result.initial_data.seed
    expected = np.random.default_rng(drawn).uniform(0, 2 * np.pi, 24)
    assert record.vqe_result.initial_data.initial_parameters == expected.tolist()


def test_cap_is_on_evaluations_and_is_no_success():
    record = run("LiH", max_iterations=5)
    assert (record.vqe_result.nfev, record.vqe_result.success, record.max_evaluations) == (5, False, 5)


def test_threshold_needs_fewer_evaluations(default_runs):
    record = run("LiH", threshold=1e-4)
    assert record.energy_evaluations < default_runs("LiH").energy_evaluations
    assert record.vqe_result.success and record.chemically_accurate


def test_too_large_a_molecule_is_refused_before_computing():
    with pytest.raises(EngineError, match=r"30 qubits.*active_space of \d+ electrons in \d+ orbitals fits"):
        run("CO2")
    with pytest.raises(EngineError, match=r"38 qubits.*active_space of \d+ electrons in \d+ orbitals fits"):
        run("LiH", basis="cc-pvdz")
    with pytest.raises(EngineError, match=r"at most 20.*fits"):
        run("LiH", basis="6-31g", ansatz="EfficientSU2")


def test_molecule_above_the_certified_size_is_not_certified():
    assert run("H2", certify_max_qubits=3).certified_energy is None


def test_file_index_sink_and_callback(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps([catalogue()[name].to_record().model_dump() for name in ("LiH", "H2")]))
    records, evaluations = [], []
    runner = VQERunner(
        path,
        molecule_index=1,
        optimizer="COBYLA",
        max_iterations=4,
        sink=records.append,
        on_evaluation=evaluations.append,
        dagster_run_id="run-1",
        campaign="spring",
    )
    assert runner.run() == records
    (record,) = records
    assert (record.molecule_id, record.molecule.molecule_data.name) == (1, "H2")
    assert (record.dagster_run_id, record.campaign) == ("run-1", "spring")
    assert evaluations == record.vqe_result.iteration_list
    assert len(evaluations) == 4


def test_unnamed_molecule_is_stored_under_its_partition_key():
    molecule = Molecule(("H", "H"), np.array([[0, 0, 0], [0, 0, 0.9]]))
    (record,) = VQERunner(molecules=[molecule]).run()
    assert record.molecule.molecule_data.name == "H2"


def test_impossible_requests_are_refused():
    with pytest.raises(MoleculeError, match="one of the two"):
        VQERunner()
    with pytest.raises(MoleculeError, match="at least one"):
        VQERunner(molecules=[])
    with pytest.raises(MoleculeError, match="-1"):
        VQERunner(molecules=[catalogue()["H2"]], molecule_index=-1)
    with pytest.raises(ValidationError, match="exclude each other"):
        VQERunner(molecules=[catalogue()["H2"]], max_iterations=3, convergence_threshold=1e-3)
    with pytest.raises(ValidationError, match="sto-99g"):
        VQERunner(molecules=[catalogue()["H2"]], basis_set="sto-99g")


def test_certification_refuses_another_energy_and_names_both(default_runs):
    result = default_runs("H2").vqe_result
    data = result.initial_data
    with pytest.raises(CertificationError, match=r"-1\.85.*-1\.85"):
        certify(data.ansatz, data.hamiltonian, result.optimal_parameters, result.minimum + 2e-9)
    with pytest.raises(ValueError, match="2 inputs but 1"):
        certification.bound_circuit(data.ansatz, [0.0])


def test_runner_does_not_return_what_aer_denies(monkeypatch):
    monkeypatch.setattr("simulation.certification.aer_energy", lambda *_: -1.0)
    with pytest.raises(CertificationError):
        run("H2")


def test_metrics_have_the_sixteen_names(default_runs):
    runner = VQERunner(molecules=[catalogue()["LiH"]])
    record = default_runs("LiH")
    metrics = runner._build_metrics_data(record)
    assert metrics.keys() == {
        f"qp_vqe_{name}"
        for name in (
            "total_time", "hamiltonian_time", "mapping_time", "vqe_time", "minimum_energy", "iterations_count",
            "optimal_parameters_count", "reference_energy", "energy_error_hartree", "energy_error_millihartree",
            "accuracy_score", "iterations_per_second", "time_per_iteration", "overhead_ratio", "efficiency",
            "setup_ratio",
        )
    }  # fmt: skip
    assert metrics["qp_vqe_reference_energy"] == record.fci_energy
    assert metrics["qp_vqe_efficiency"] == record.vqe_time / record.total_time
    assert metric_labels(record)["molecule_symbols"] == "LiH"
    without = record.model_copy(update={"fci_energy": None, "hf_energy": None})
    assert "qp_vqe_reference_energy" not in runner._build_metrics_data(without)


def test_accuracy_is_scored_against_the_exact_energy(default_runs):
    record = default_runs("H2")
    runner = VQERunner(molecules=[catalogue()["H2"]])
    assert runner._collect_accuracy_metrics(record)["accuracy_score"] == pytest.approx(100.0, abs=1e-3)
    hartree_fock = record.model_copy(update={"total_energy": record.hf_energy})
    assert runner._collect_accuracy_metrics(hartree_fock)["accuracy_score"] == pytest.approx(73.3, abs=0.1)


@pytest.mark.parametrize(("error", "score"), [(0.0, 100.0), (9.0, 80.0), (-9.0, 80.0), (1e6, 0.0)])
def test_accuracy_score_formula(error, score):
    assert accuracy_score(error) == pytest.approx(score)


GOOD = Observables(2.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("observables", "energy", "reason"),
    [
        (GOOD, -1.0, None),
        (GOOD, -1.0 - 9e-7, None),
        (GOOD, -1.0 - 2e-6, "below"),
        (dataclasses.replace(GOOD, particle_number=2.002), -1.0, "<N>"),
        (dataclasses.replace(GOOD, spin_z=0.5), -1.0, "<S_z>"),
    ],
)
def test_verdict(observables, energy, reason):
    verdict = judge(observables, num_electrons=2, multiplicity=1, total_energy=energy, exact_energy=-1.0)
    assert verdict.valid is (reason is None)
    assert reason is None or reason in verdict.reason
