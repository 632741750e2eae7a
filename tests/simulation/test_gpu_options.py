import numpy as np
import pytest

from simulation.ansatz import EfficientSU2
from simulation.engines import aer_backend
from simulation.engines.aer_backend import available_devices, build_simulator, parallel_threads, select_device
from simulation.engines.base import EngineError
from simulation.engines.choice import choose_engine
from simulation.options import VQEOptions
from simulation.problem import OrbitalWindow

TWO_ORBITALS = OrbitalWindow(0, 2, (1, 1))


def options(**given):
    return VQEOptions.model_validate(given).resolved()


@pytest.fixture
def with_gpu(monkeypatch):
    monkeypatch.setattr(aer_backend, "available_devices", lambda: ("CPU", "GPU"))


@pytest.fixture
def without_gpu(monkeypatch):
    monkeypatch.setattr(aer_backend, "available_devices", lambda: ("CPU",))


def test_aer_is_asked_what_it_has():
    assert "CPU" in available_devices()


def test_defaults_on_a_gpu_reach_aer(with_gpu):
    simulator = build_simulator(options(gpu=True), "GPU")
    found = simulator.options
    assert (found.device, found.method) == ("GPU", "statevector")
    assert (found.cuStateVec_enable, found.blocking_enable) == (False, False)
    assert (found.batched_shots_gpu, found.shot_branching_enable) == (True, True)
    assert found.max_memory_mb == 5500


def test_every_option_of_the_gpu_reaches_aer(with_gpu):
    given = {"custatevec": True, "blocking": True, "batched_shots_gpu": False, "shot_branching": False}
    found = build_simulator(options(gpu=True, max_memory_mb=4096, **given), "GPU").options
    assert (found.cuStateVec_enable, found.blocking_enable) == (True, True)
    assert (found.batched_shots_gpu, found.shot_branching_enable) == (False, False)
    assert found.max_memory_mb == 4096


def test_options_of_the_gpu_stay_away_from_the_cpu():
    assert build_simulator(options(), "CPU").options.max_memory_mb is None


def test_without_a_gpu_the_run_is_refused_before_any_work(without_gpu):
    with pytest.raises(EngineError, match=r"only CPU.*qpipe\[gpu\].*cpu_fallback"):
        choose_engine(options(gpu=True)).check(TWO_ORBITALS)
    with pytest.raises(EngineError, match="cpu_fallback"):
        choose_engine(options(gpu=True, shots=10, optimizer="COBYLA")).check(TWO_ORBITALS)


def test_the_cpu_is_used_and_named_where_that_is_allowed(without_gpu, problems):
    problem, hamiltonian = problems("H2")
    choice = choose_engine(options(gpu=True, cpu_fallback=True, ansatz="EfficientSU2"))
    choice.check(TWO_ORBITALS)
    engine = choice.build(EfficientSU2(problem.num_orbitals, problem.num_particles), problem, hamiltonian)
    assert (engine.device, engine.backend) == ("CPU", "aer_simulator_statevector")
    assert np.isfinite(engine.energy(np.zeros(engine.num_parameters)).energy)


def test_the_gpu_is_taken_and_named_where_there_is_one(with_gpu):
    assert select_device(options(gpu=True, cpu_fallback=True)) == "GPU"
    assert aer_backend.backend_name("statevector", "GPU") == "aer_simulator_statevector_gpu"
    assert choose_engine(options(gpu=True)).name == "aer"


def test_a_tensor_network_has_no_form_for_the_cpu(without_gpu):
    asked = options(
        gpu=True, cpu_fallback=True, shots=10, simulation_method="tensor_network", optimizer="COBYLA", seed=1
    )
    with pytest.raises(EngineError, match="tensor_network"):
        choose_engine(asked).check(TWO_ORBITALS)


@pytest.mark.parametrize(("variable", "threads"), [("3", 3), ("2,1", 2), ("", 1), ("many", 1), ("0", 1)])
def test_aer_obeys_the_threads_of_the_environment(monkeypatch, variable, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert parallel_threads() == threads
    assert build_simulator(options(), "CPU").options.max_parallel_threads == threads


def test_one_thread_is_the_default(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert parallel_threads() == 1
