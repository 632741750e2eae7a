import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from simulation.molecules import Molecule, catalogue
from simulation.problem import ProblemError, build_problem, orbital_window
from simulation.record import ActiveSpace
from simulation.reference import exact_reference
from tests.simulation.conftest import REFERENCE, molecule_of

SMALL = [r for r in REFERENCE["records"] if r["n_orbitals"] <= 11]


@pytest.mark.parametrize("record", SMALL, ids=lambda r: f"{r['name']}-{r['basis']}-{r['source_file']}")
def test_energies_equal_the_reference(record):
    problem = build_problem(molecule_of(record), record["basis"])
    assert problem.hf_energy == pytest.approx(record["rhf_total"], abs=1e-9)
    assert problem.nuclear_repulsion == pytest.approx(record["nuclear_repulsion"], abs=1e-9)
    assert (problem.num_orbitals, list(problem.num_particles)) == (record["n_orbitals"], record["n_electrons"])
    exact = exact_reference(problem)
    assert exact.energy == pytest.approx(record["fci_total"], abs=1e-8)
    assert exact.method == "FCI"


@pytest.mark.parametrize("record", REFERENCE["casci_frozen_core_sto3g"], ids=lambda r: r["name"])
def test_frozen_core_equals_the_reference(record):
    problem = build_problem(catalogue()[record["name"]], frozen_core=True)
    assert (problem.frozen_orbitals, problem.num_qubits) == (record["frozen_core_orbitals"], record["qubits_jw"])
    exact = exact_reference(problem)
    if record["name"] == "CO2":  # 245,025 determinants
        assert exact is None
    else:
        assert exact.energy == pytest.approx(record["casci_total"], abs=1e-8)
        assert exact.method == "CASCI"


def test_frozen_core_and_the_same_active_space_are_one_problem():
    frozen = build_problem(catalogue()["H2O"], frozen_core=True)
    active = build_problem(catalogue()["H2O"], active_space=ActiveSpace(electrons=8, orbitals=6))
    np.testing.assert_array_equal(frozen.h2, active.h2)
    assert frozen.constant == active.constant != 0


def test_energy_of_the_hartree_fock_determinant_is_the_hartree_fock_energy():
    for name, space in (("H2O", {}), ("H2O", {"frozen_core": True}), ("BeH", {}), ("BeH", {"frozen_core": True})):
        problem = build_problem(catalogue()[name], **space)
        alpha, beta = (np.arange(count) for count in problem.num_particles)
        energy = problem.constant + problem.nuclear_repulsion
        for occupied in (alpha, beta):
            energy += problem.h1[occupied, occupied].sum()
            block = problem.h2[np.ix_(occupied, occupied, occupied, occupied)]
            energy += (np.einsum("iijj", block) - np.einsum("ijji", block)) / 2
        energy += np.einsum("iijj", problem.h2[np.ix_(alpha, alpha, beta, beta)])
        assert energy == pytest.approx(problem.hf_energy, abs=1e-9), (name, space)


def test_large_space_has_no_exact_reference_at_once():
    problem = build_problem(catalogue()["CO2"], max_qubits=30)
    assert exact_reference(problem) is None


@pytest.mark.parametrize(
    ("electrons", "orbitals", "named"),
    [(12, 7, "10 electrons"), (3, 3, "even"), (6, 2, "two electrons"), (4, 5, "at most 4")],
)
def test_impossible_active_space_is_refused_with_the_reason(electrons, orbitals, named):
    with pytest.raises(ProblemError, match=named):
        build_problem(catalogue()["H2O"], active_space=ActiveSpace(electrons=electrons, orbitals=orbitals))


def test_unpaired_electrons_must_be_active():
    triplet = Molecule(("O", "O"), np.array([[0, 0, 0], [0, 0, 1.2]]), multiplicity=3)
    with pytest.raises(ProblemError, match="2 alpha electrons do not fit in 1"):
        orbital_window(triplet, 10, active_space=ActiveSpace(electrons=2, orbitals=1))
    assert orbital_window(triplet, 10, active_space=ActiveSpace(electrons=4, orbitals=3)).num_particles == (3, 1)


def test_core_without_valence_electrons_is_not_frozen():
    with pytest.raises(ProblemError, match="no electron"):
        build_problem(Molecule(("Li",), np.zeros((1, 3)), charge=1), frozen_core=True)


def test_unknown_basis_is_refused():
    with pytest.raises(ProblemError, match="sto-99g"):
        build_problem(catalogue()["H2"], "sto-99g")


def test_basis_without_the_element_is_refused():
    with pytest.raises(ProblemError, match="U"):
        build_problem(Molecule(("U",), np.zeros((1, 3)), multiplicity=5), "cc-pvdz")


def test_too_many_qubits_are_refused_with_the_remedy():
    with pytest.raises(ProblemError, match=r"30 qubits.*frozen_core.*24 qubits.*active_space"):
        build_problem(catalogue()["CO2"])


def test_integrals_are_the_same_bytes_in_every_process_and_thread_count():
    program = (
        "import hashlib; from simulation.molecules import catalogue; from simulation.problem import build_problem;"
        "p = [build_problem(catalogue()[n]) for n in ('BeH2', 'NH3', 'N2', 'BeH')];"
        "print(hashlib.sha256(b''.join(q.h1.tobytes() + q.h2.tobytes() for q in p)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
        ).stdout
        for threads in ("1", "3")
    }
    assert len(digests) == 1 and len(digests.pop().strip()) == 2 * hashlib.sha256().digest_size


def test_degenerate_orbitals_follow_the_axes():
    """The two pi orbitals of LiH are degenerate: unless turned onto x and y they mix arbitrarily."""
    h2 = build_problem(catalogue()["LiH"]).h2
    assert np.count_nonzero(np.abs(h2) > 1e-12) == np.count_nonzero(np.abs(h2) > 1e-6)


@pytest.mark.parametrize(
    ("symbols", "distance", "energy"),
    [
        (("Li", "H"), 6.0, -7.566710),
        (("Li", "H"), 7.0, -7.558109),
        (("H", "H"), 50.0, -0.551152),
    ],
)
def test_stretched_bonds_get_the_minimum_of_hartree_fock_not_a_saddle_point(symbols, distance, energy):
    """Golden: PySCF's second-order solver restarted along its stability analysis; H2 by symmetry."""
    molecule = Molecule(symbols=symbols, coords=[[0, 0, 0], [0, 0, distance]])
    assert build_problem(molecule).hf_energy == pytest.approx(energy, abs=2e-6)
