"""Runs with the options beyond the default: what lands in the record, and that nothing is lost by a kill."""

import os
import signal
import subprocess
import sys
import time

import pytest

from simulation.engines.base import EngineError
from simulation.metrics import CHEMICAL_ACCURACY_MHA
from simulation.molecules import Molecule, catalogue
from simulation.options import VQEOptions
from simulation.record import VQEDecoratedResult
from simulation.recording import UNJUDGED_BACKEND, ScanPosition
from simulation.runner import VQERunner, checkpoint_path


def run(name, *, runner=None, **options):
    return VQERunner(molecules=[catalogue()[name]], options=VQEOptions(**options), **(runner or {})).run()[0]


@pytest.mark.parametrize(("mapper", "qubits"), [("jordan_wigner", 12), ("parity", 10), ("bravyi_kitaev", 12)])
def test_every_mapper_gives_the_same_certified_energy(mapper, qubits):
    record = run("LiH", mapper=mapper)
    assert record.vqe_result.initial_data.num_qubits == qubits
    assert record.mapper == mapper and record.valid
    assert record.certified_energy == pytest.approx(record.total_energy, abs=1e-9)
    assert abs(record.energy_error_mha) < 0.1


@pytest.mark.parametrize("basis", ["sto3g", "6-31g"])
@pytest.mark.parametrize("name", ["H2", "HeH+", "LiH"])
def test_small_molecules_reach_chemical_accuracy_from_hartree_fock_in_both_bases(name, basis):
    record = run(name, basis=basis, certify_max_qubits=10)
    assert record.valid and abs(record.energy_error_mha) < CHEMICAL_ACCURACY_MHA


@pytest.mark.parametrize("ansatz", ["UCCSD", "kUpCCGSD", "ADAPT"])
def test_the_ucc_family_keeps_electrons_and_is_certified(ansatz):
    record = run("HeH+", ansatz=ansatz)
    assert record.certified_energy == pytest.approx(record.total_energy, abs=1e-9)
    assert record.energy_error_mha == pytest.approx(0, abs=0.01)
    assert record.particle_number == pytest.approx(2, abs=1e-12) and record.spin_z == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("ansatz", ["EfficientSU2", "RealAmplitudes", "ExcitationPreserving"])
def test_hardware_efficient_circuits_run_from_hartree_fock_and_are_certified(ansatz):
    record = run("H2", ansatz=ansatz)
    first = record.vqe_result.iteration_list[0].result + record.vqe_result.nuclear_repulsion_energy
    assert first == pytest.approx(record.hf_energy, abs=1e-3)
    assert record.vqe_result.initial_data.seed == 0, "the displacement is recorded"
    assert record.total_energy <= first and record.engine == "aer"
    assert record.certified_energy == pytest.approx(record.total_energy, abs=1e-9)


def test_adapt_records_every_evaluation_with_the_final_number_of_parameters():
    result = run("LiH", ansatz="ADAPT").vqe_result
    assert result.initial_data.num_parameters > 5
    assert {len(step.parameters) for step in result.iteration_list} == {result.initial_data.num_parameters}
    assert result.initial_data.initial_parameters == [0.0] * result.initial_data.num_parameters


def test_a_sampled_run_measures_its_optimum_again_and_states_its_error():
    record = run("H2", shots=2000, seed=3, optimizer="COBYLA", max_iterations=40)
    result = record.vqe_result
    last = result.iteration_list[-1]
    assert (last.result, last.parameters) == (result.minimum, result.optimal_parameters)
    assert len(result.iteration_list) <= 40
    assert record.energy_standard_error == last.std > 0
    assert (result.initial_data.default_shots, result.initial_data.exact_estimator) == (2000, False)
    assert record.engine == "aer-shots"
    assert abs(record.certified_energy - record.total_energy) < 6 * last.std


def test_a_run_of_few_shots_is_kept_however_far_chance_took_it():
    # Ten shots put this energy 0.19 Ha from its expectation, more than six of its own standard errors.
    record = run("H2", shots=10, seed=4, init_strategy="random", max_iterations=4, optimizer="SPSA")
    assert abs(record.total_energy - record.certified_energy) > 5 * record.energy_standard_error


def test_another_spin_is_not_valid():
    molecule = Molecule(symbols=("H", "H"), coords=[[0, 0, 0], [0, 0, 2.0]])
    options = VQEOptions(ansatz="EfficientSU2", init_strategy="random", seed=0)
    record = VQERunner(molecules=[molecule], options=options).run()[0]
    assert record.spin_squared == pytest.approx(2, abs=1e-3) and record.particle_number == pytest.approx(2, abs=1e-3)
    assert record.valid is False and "<S^2> is 2.0" in record.invalid_reason


def test_a_run_that_finds_no_correlation_says_so(caplog):
    record = run("H2", ansatz="RealAmplitudes")
    assert record.total_energy == pytest.approx(record.hf_energy, abs=1e-7)
    assert "H2: the run ended at the Hartree-Fock energy, 20.586 mHa above the exact one" in caplog.text
    caplog.clear()
    run("H2")
    assert caplog.text == ""


def test_check_refuses_what_run_would_before_any_work():
    with pytest.raises(EngineError, match="30 qubits"):
        VQERunner(molecules=[catalogue()["CO2"]]).check()
    VQERunner(molecules=[catalogue()["N2"]]).check()


def test_two_sampled_runs_with_one_seed_are_identical():
    first, second = (run("H2", shots=500, seed=3, optimizer="SPSA", max_iterations=30) for _ in range(2))
    assert first.vqe_result.iteration_list == second.vqe_result.iteration_list
    assert first.experiment_id == second.experiment_id


def test_a_noisy_run_names_its_noise():
    rates = {"one_qubit": 0.002, "two_qubit": 0.02, "readout": 0.01}
    record = run("H2", noise_rates=rates, shots=500, seed=1, optimizer="COBYLA", max_iterations=5)
    assert record.noise_rates.model_dump() == rates
    assert record.vqe_result.initial_data.noise_backend != "undef"
    assert record.optimization_level == 3


def test_frozen_core_is_in_the_record_as_the_space_that_was_correlated():
    record = run("LiH", frozen_core=True)
    assert (record.active_space.electrons, record.active_space.orbitals, record.frozen_orbitals) == (2, 5, 1)


def test_a_run_starts_from_the_optimum_of_another():
    first = run("LiH")
    again = run(
        "LiH",
        init_strategy="previous",
        previous=first.experiment_id,
        runner={"lookup": {first.experiment_id: first}.__getitem__},
    )
    start = again.vqe_result.initial_data.initial_parameters
    assert start == pytest.approx(first.vqe_result.optimal_parameters, abs=1e-9)
    assert again.energy_evaluations < 5 and again.previous_experiment == first.experiment_id


def test_a_previous_experiment_that_nobody_can_look_up_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="ab" * 32):
        run("H2", init_strategy="previous", previous="ab" * 32)


def test_a_scan_point_is_noted_in_the_record():
    record = run("H2", runner={"scan": ScanPosition("bond 0-1", 0.7414)})
    assert (record.scan_coordinate, record.scan_value) == ("bond 0-1", 0.7414)


def test_results_that_no_simulator_judged_do_not_carry_its_name():
    record = run("H2", certify_max_qubits=3)
    assert record.certified_energy is None
    assert record.vqe_result.initial_data.backend == UNJUDGED_BACKEND


_PROGRAM = """
import sys, pathlib
from simulation.molecules import Molecule, catalogue
from simulation.options import VQEOptions
from simulation.runner import VQERunner
folder = pathlib.Path(sys.argv[1])
options = VQEOptions(ansatz="EfficientSU2", init_strategy="random", seed=5, max_iterations=250, certify_max_qubits=0)
VQERunner(
    molecules=[catalogue()["BeH2"]],
    options=options,
    checkpoints=folder,
    sink=lambda record: (folder / "record.json").write_bytes(record.to_json()),
).run()
"""
_ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
_TIMINGS = {
    **dict.fromkeys(("hamiltonian_time", "mapping_time", "vqe_time", "total_time", "wall_time", "started_at"), True),
    "vqe_result": {"minimization_time"},
}


def _undisturbed(folder):
    subprocess.run([sys.executable, "-c", _PROGRAM, str(folder)], check=True, env=_ENVIRONMENT)
    record = VQEDecoratedResult.model_validate_json((folder / "record.json").read_bytes())
    return record.model_dump(exclude=_TIMINGS), record.experiment_id


def test_a_killed_run_goes_on_and_ends_in_the_same_record(tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    whole.mkdir(), resumed.mkdir()
    expected, experiment = _undisturbed(whole)
    noted = checkpoint_path(resumed, experiment)
    process = subprocess.Popen([sys.executable, "-c", _PROGRAM, str(resumed)], env=_ENVIRONMENT)
    deadline = time.monotonic() + 60
    while not noted.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert noted.stat().st_size > 0 and not (resumed / "record.json").exists()
    found, _ = _undisturbed(resumed)
    assert found == expected
    assert not noted.exists(), "the note goes when the record has landed"
