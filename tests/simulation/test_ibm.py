import logging

import numpy as np
import pytest

pytest.importorskip("qiskit_ibm_runtime")
from qiskit.providers import QiskitBackendNotFoundError
from qiskit_ibm_runtime.fake_provider import FakeLimaV2, FakeManilaV2, FakeNairobiV2

from simulation.ansatz import UCCSD
from simulation.engines import ibm
from simulation.engines.aer_shots import AerShotsEngine
from simulation.engines.base import EngineError
from simulation.engines.choice import choose_engine
from simulation.options import VQEOptions
from simulation.problem import OrbitalWindow

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*no effect in local testing mode.*"),
    pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Session is not supported in local testing mode.*"),
]

SECRET = "s3cret-t0ken"
ENVIRONMENT = {
    "IBM_RUNTIME_CHANNEL": "ibm_quantum_platform",
    "IBM_RUNTIME_INSTANCE": "crn:v1:some-instance",
    "IBM_RUNTIME_TOKEN": SECRET,
}
TWO_ORBITALS = OrbitalWindow(0, 2, (1, 1))


class LocalService:
    """Fake backends under the real service's interface; no network."""

    def __init__(self, *devices):
        self.devices = devices

    def least_busy(self, min_num_qubits=None):
        large = [device for device in self.devices if device.num_qubits >= min_num_qubits]
        if not large:
            raise QiskitBackendNotFoundError("No backend matches the criteria.")
        return large[0]


def options(**given):
    return VQEOptions.model_validate({"engine": "ibm", "optimizer": "COBYLA", "seed": 1} | given).resolved()


@pytest.fixture
def account(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def h2(problems):
    problem, hamiltonian = problems("H2")
    return UCCSD(problem.num_orbitals, problem.num_particles), hamiltonian


def test_a_device_gives_what_its_noise_model_predicts(h2):
    engine = ibm.RuntimeEngine(*h2, options(shots=4000), LocalService(FakeManilaV2()))
    parameters = np.array([0.1, -0.2])
    measured = engine.energy_and_gradient(parameters)
    predicted = AerShotsEngine(
        *h2, options(engine="aer-shots", shots=40_000, noise="FakeManilaV2", simulation_method="density_matrix")
    ).energy_and_gradient(parameters)
    assert 0 < predicted.standard_error < measured.standard_error < 0.03
    # The fake backend builds a model of its own from the same snapshot, 0.014 Ha from Aer's.
    error = np.hypot(measured.standard_error, predicted.standard_error)
    assert abs(measured.energy - predicted.energy) < 5 * error
    # Four terms of weight up to 0.85 for each of one or two excitations.
    np.testing.assert_allclose(measured.gradient, predicted.gradient, atol=5 * 2 * error)
    assert (engine.backend, engine.device, engine.exact) == ("fake_manila", "QPU", False)
    engine.close()


def test_the_circuit_and_the_hamiltonian_are_laid_out_on_the_device(h2):
    engine = ibm.RuntimeEngine(*h2, options(), LocalService(FakeManilaV2()))
    assert engine._circuit.num_qubits == engine._observable.num_qubits == 5
    assert set(engine._circuit.count_ops()) <= set(FakeManilaV2().operation_names)


def test_more_shots_give_smaller_errors(h2):
    few, many = (
        ibm.RuntimeEngine(*h2, options(shots=shots), LocalService(FakeManilaV2())).energy(np.zeros(2)).standard_error
        for shots in (100, 10_000)
    )
    assert many < few / 5


def test_min_qubits_filters_devices(h2):
    service = LocalService(FakeLimaV2(), FakeNairobiV2())
    assert ibm.RuntimeEngine(*h2, options(), service).backend == "fake_lima"
    assert ibm.RuntimeEngine(*h2, options(min_qubits=6), service).backend == "fake_nairobi"
    with pytest.raises(EngineError, match="at least 50 qubits"):
        ibm.RuntimeEngine(*h2, options(min_qubits=50), service)


def test_a_device_is_never_smaller_than_the_circuit(problems):
    problem, hamiltonian = problems("LiH", frozen_core=True)
    ansatz = UCCSD(problem.num_orbitals, problem.num_particles)
    with pytest.raises(EngineError, match="circuit 10"):
        ibm.RuntimeEngine(ansatz, hamiltonian, options(min_qubits=2), LocalService(FakeManilaV2()))


@pytest.mark.parametrize("missing", list(ENVIRONMENT))
def test_missing_credentials_are_named_before_any_work(account, monkeypatch, missing):
    monkeypatch.delenv(missing)
    with pytest.raises(EngineError, match=missing) as refused:
        choose_engine(options()).check(TWO_ORBITALS)
    assert SECRET not in str(refused.value)
    assert "crn:v1" not in str(refused.value)


def test_an_unknown_channel_is_refused():
    with pytest.raises(EngineError, match=r"ibm_quantum'.*ibm_quantum_platform"):
        ibm.credentials(ENVIRONMENT | {"IBM_RUNTIME_CHANNEL": "ibm_quantum"})


@pytest.mark.parametrize("channel", ["ibm_quantum_platform", "ibm_cloud"])
def test_the_channels_of_the_service_are_known(channel):
    assert ibm.credentials(ENVIRONMENT | {"IBM_RUNTIME_CHANNEL": channel}).channel == channel


def test_the_token_shows_nowhere(account, monkeypatch, caplog):
    import qiskit_ibm_runtime

    def refuse(**given):
        raise ValueError(f"401 for token {given['token']}")

    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", refuse)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(EngineError, match=r"401 for token <token>") as refused:
        ibm.connect(ibm.credentials())
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None
    assert SECRET not in repr(ibm.credentials()) + str(ibm.credentials()) + caplog.text


def test_choosing_the_engine_connects_with_the_environment(account, monkeypatch, problems, h2):
    accounts = []

    def connect(given):
        accounts.append(given)
        return LocalService(FakeManilaV2())

    monkeypatch.setattr(ibm, "connect", connect)
    choice = choose_engine(options())
    choice.check(TWO_ORBITALS)
    assert not accounts
    engine = choice.build(h2[0], problems("H2")[0], h2[1])
    assert (engine.name, accounts) == ("ibm", [ibm.credentials(ENVIRONMENT)])


def test_observables_are_those_of_the_trial_state(h2):
    engine = ibm.RuntimeEngine(*h2, options(), LocalService(FakeManilaV2()))
    assert engine.observables(np.array([0.2, 0.3])).particle_number == pytest.approx(2.0, abs=1e-12)
