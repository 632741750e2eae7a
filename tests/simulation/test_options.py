"""The options refuse what cannot work, with the reason, and settle what is left open."""

import pytest
from pydantic import ValidationError

from simulation.identity import experiment_id
from simulation.molecules import catalogue
from simulation.options import VQEOptions

PREVIOUS = "ab" * 32


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"basis": "sto-9g"}, "sto-9g"),
        ({"ansatz_reps": 0}, "ansatz_reps"),
        ({"shots": 0}, "shots"),
        ({"threshold": float("nan")}, "threshold"),
        ({"max_iterations": 10, "threshold": 1e-6}, "max_iterations=10 and threshold=1e-06 exclude each other"),
        ({"frozen_core": True, "active_space": {"electrons": 2, "orbitals": 2}}, "exclude each other"),
        ({"optimizer": "dogleg"}, "dogleg"),
        ({"optimizer": "Newton-CG", "shots": 100}, "differentiates gradients numerically"),
        ({"engine": "sector", "shots": 100}, "takes neither shots nor noise"),
        ({"engine": "aer", "noise": "FakeManilaV2"}, "takes neither shots nor noise"),
        ({"engine": "sector", "ansatz": "EfficientSU2"}, "runs the UCC family, not EfficientSU2"),
        ({"noise": "FakeManilaV2", "noise_rates": {"one_qubit": 0.1, "two_qubit": 0.1}}, "exclude each other"),
        ({"noise": "FakeManilaV2", "engine": "ibm"}, "a noise model is for simulation"),
        ({"noise_rates": {"one_qubit": 1.5, "two_qubit": 0.1}}, "1.5"),
        ({"min_qubits": 5}, "min_qubits=5 chooses among IBM devices"),
        ({"init_strategy": "mp2", "ansatz": "EfficientSU2"}, "which EfficientSU2 does not have"),
        ({"init_strategy": "previous"}, "give previous"),
        ({"previous": PREVIOUS}, "use init_strategy 'previous'"),
        ({"ansatz": "ADAPT", "init_strategy": "random"}, "ADAPT starts from the Hartree-Fock state"),
        ({"ansatz": "ADAPT", "shots": 10}, "ADAPT needs exact gradients"),
        ({"ansatz": "ADAPT", "engine": "aer"}, "use 'sector'"),
        ({"ansatz": "ADAPT", "ansatz_reps": 3}, "ansatz_reps is 3"),
        ({"ansatz": "ExcitationPreserving", "mapper": "parity"}, "mapper is 'parity'"),
        ({"simulation_method": "tensor_network", "shots": 10}, "on a GPU only"),
        ({"simulation_method": "stabilizer", "shots": 10}, "not Clifford"),
        ({"simulation_method": "unitary", "shots": 10}, "does not sample"),
        ({"simulation_method": "density_matrix"}, "give shots"),
        ({"simulation_method": "matrix_product_state", "shots": 10, "gpu": True}, "does not run on a GPU"),
        ({"gpu": True, "engine": "sector"}, "gpu is for Qiskit Aer"),
        ({"gpu": True, "ansatz": "ADAPT"}, "ADAPT runs in the sector engine"),
        ({"engine": "ibm", "simulation_method": "density_matrix"}, "'density_matrix' is for Qiskit Aer"),
    ],
)
def test_options_that_cannot_work_are_refused_with_the_reason(asked, named):
    with pytest.raises(ValidationError) as caught:
        VQEOptions(**asked)
    assert named in str(caught.value)


def test_all_reasons_are_given_at_once():
    with pytest.raises(ValidationError) as caught:
        VQEOptions(max_iterations=1, threshold=1e-6, init_strategy="previous")
    assert "exclude each other" in str(caught.value) and "give previous" in str(caught.value)


def test_an_option_without_effect_does_not_make_another_experiment():
    molecule = catalogue()["H2"]
    plain = experiment_id(molecule, VQEOptions().resolved())
    for asked in ({"seed": 4}, {"optimization_level": 0}, {"adapt_threshold": 1e-5}, {"max_memory_mb": 99}):
        assert experiment_id(molecule, VQEOptions(**asked).resolved()) == plain


@pytest.mark.parametrize(
    "asked",
    [
        {"shots": 1024, "seed": 1},
        {"noise": "FakeManilaV2", "seed": 1},
        {"noise_rates": {"one_qubit": 0.001, "two_qubit": 0.01}, "seed": 1},
        {"engine": "ibm", "seed": 1},
        {"mapper": "parity"},
        {"ansatz": "ADAPT"},
        {"init_strategy": "previous", "previous": PREVIOUS},
    ],
)
def test_what_changes_the_result_makes_another_experiment(asked):
    molecule = catalogue()["H2"]
    assert experiment_id(molecule, VQEOptions(**asked).resolved()) != experiment_id(molecule, VQEOptions().resolved())


def test_a_device_and_a_simulator_are_different_experiments():
    molecule, seeded = catalogue()["H2"], {"shots": 100, "seed": 1}
    ids = {experiment_id(molecule, VQEOptions(**seeded, engine=e).resolved()) for e in ("ibm", "aer-shots", "auto")}
    assert len(ids) == 2


def test_identities_of_earlier_versions_stay():
    """Golden: computed by the version before sampling, ADAPT and the other mappers existed."""
    asked = {
        "H2": ({}, "7048bf5b0ca6e0ae20f6b4bf5a47ca0988202fde3d896911559cfbfddd3bb938"),
        "LiH": (
            {"ansatz": "EfficientSU2", "init_strategy": "random", "seed": 7, "max_iterations": 100},
            "a1fac7c9ea7be22ab871f5a06c0f412475403bf16965aa3dae693464baa46104",
        ),
        "H2O": (
            {"frozen_core": True, "optimizer": "COBYLA", "threshold": 1e-6},
            "648070a2766d1ddd51051b9d11824d065613381159d2311e4d889ea063b77690",
        ),
    }
    for name, (options, identity) in asked.items():
        assert experiment_id(catalogue()[name], VQEOptions(**options).resolved()) == identity


def test_sampling_has_shots_and_a_seed_once_resolved():
    options = VQEOptions(noise="FakeManilaV2").resolved()
    assert options.sampled and options.shots == 1024 and options.seed is not None


def test_a_displaced_hartree_fock_start_is_the_same_experiment_every_time():
    first, second = (VQEOptions(ansatz="EfficientSU2", init_strategy="hf").resolved() for _ in range(2))
    assert first == second and first.seed == 0


def test_a_random_start_without_a_seed_draws_one():
    assert VQEOptions(init_strategy="random").resolved().seed is not None


def test_resolving_twice_changes_nothing():
    once = VQEOptions(init_strategy="random", shots=10).resolved()
    assert once.resolved() == once
