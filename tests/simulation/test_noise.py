import numpy as np
import pytest

from simulation.ansatz import UCCSD
from simulation.engines.aer import AerEngine
from simulation.engines.aer_shots import AerShotsEngine
from simulation.engines.base import EngineError
from simulation.engines.choice import choose_engine
from simulation.engines.noise import build_noise, check_noise, fake_backend, noise_label
from simulation.options import VQEOptions
from simulation.problem import OrbitalWindow

RATES = {"one_qubit": 0.001, "two_qubit": 0.01, "readout": 0.02}
TWO_ORBITALS = OrbitalWindow(0, 2, (1, 1))


def options(**given):
    sampled = {"seed": 7, "shots": 4000, "optimizer": "COBYLA", "simulation_method": "density_matrix"}
    return VQEOptions.model_validate(sampled | given).resolved()


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ({"noise": "FakeManilaV2"}, "FakeManilaV2"),
        ({"noise_rates": RATES}, "depolarizing(0.001,0.01) readout(0.02)"),
    ],
)
def test_noise_raises_the_energy_of_the_ground_state(problems, given, label):
    problem, hamiltonian = problems("H2")
    ansatz = UCCSD(problem.num_orbitals, problem.num_particles)
    ground = np.array([0.0, -0.1130])  # at equilibrium only the double excitation has an amplitude
    ideal = AerEngine(ansatz, hamiltonian).energy(ground).energy
    engine = AerShotsEngine(ansatz, hamiltonian, options(**given))
    evaluation = engine.energy(ground)
    assert evaluation.energy > ideal + 5 * evaluation.standard_error
    assert engine.noise_backend == label


@pytest.mark.parametrize("method", ["statevector", "automatic"])
def test_trajectories_and_the_density_matrix_describe_the_same_noise(problems, method):
    problem, hamiltonian = problems("H2")
    ansatz = UCCSD(problem.num_orbitals, problem.num_particles)
    one, other = (
        AerShotsEngine(ansatz, hamiltonian, options(noise_rates=RATES, shots=1000, simulation_method=name)).energy(
            np.full(2, 0.2)
        )
        for name in ("density_matrix", method)
    )
    assert abs(one.energy - other.energy) < 5 * np.hypot(one.standard_error, other.standard_error)


def test_no_errors_are_no_noise(problems):
    problem, hamiltonian = problems("H2")
    ansatz = UCCSD(problem.num_orbitals, problem.num_particles)
    parameters = np.full(2, 0.3)
    silent = {"one_qubit": 0.0, "two_qubit": 0.0, "readout": 0.0}
    evaluation = AerShotsEngine(ansatz, hamiltonian, options(noise_rates=silent)).energy(parameters)
    exact = AerEngine(ansatz, hamiltonian).energy(parameters).energy
    assert abs(evaluation.energy - exact) < 5 * evaluation.standard_error


def test_circuits_are_made_of_the_devices_gates_on_its_couplings(problems):
    problem, hamiltonian = problems("H2")
    ansatz = UCCSD(problem.num_orbitals, problem.num_particles)
    device = fake_backend("FakeManilaV2")
    engine = AerShotsEngine(ansatz, hamiltonian, options(noise="FakeManilaV2"))
    coupled = {tuple(pair) for pair in device.coupling_map.get_edges()}
    for circuit in engine._sampler._circuits:
        for instruction in circuit.data:
            assert instruction.operation.name in device.operation_names
            if instruction.operation.num_qubits == 2:
                assert tuple(circuit.find_bit(qubit).index for qubit in instruction.qubits) in coupled


def test_an_unknown_device_is_refused_with_close_names_before_any_work():
    with pytest.raises(EngineError, match=r"FakeManilla.*FakeManilaV2"):
        choose_engine(options(noise="FakeManilla")).check(TWO_ORBITALS)


def test_a_device_with_too_few_qubits_is_refused_before_any_work():
    with pytest.raises(EngineError, match=r"FakeManilaV2.*5 qubits.*12"):
        choose_engine(options(noise="FakeManilaV2")).check(OrbitalWindow(0, 6, (2, 2)))


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "qiskit_ibm_runtime", None)
    with pytest.raises(EngineError, match=r"qpipe\[ibm\]"):
        check_noise(options(noise="FakeManilaV2"), 4)


def test_without_noise_there_is_no_model_and_the_record_says_so():
    asked = options()
    assert build_noise(asked) is None
    assert noise_label(asked) == "undef"
