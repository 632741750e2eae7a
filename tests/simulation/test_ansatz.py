import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.quantum_info import Statevector

from simulation.ansatz import ANSAETZE, UCCSD, AdaptAnsatz, EfficientSU2, ExcitationPreserving, KUpCCGSD, RealAmplitudes
from simulation.certification import bound_circuit
from simulation.determinants import DeterminantSpace, hartree_fock_word
from simulation.encoding import bravyi_kitaev, encoding, parity
from simulation.engines.sector import SectorEngine
from simulation.excitations import Excitation, generalised_pool
from simulation.mapping import MAPPERS
from simulation.observables import measure
from tests._slow.rotations import generator

MAPPER_NAMES = sorted(MAPPERS)
ENCODED = [
    (name, mapper)
    for name in sorted(ANSAETZE)
    for mapper in MAPPER_NAMES
    if name != "ExcitationPreserving" or mapper == "jordan_wigner"
]
SEEDS = st.integers(0, 2**32 - 1)


def statevector(ansatz, parameters):
    return Statevector(ansatz.circuit().assign_parameters(parameters)).data


def aer_state(circuit):
    from qiskit import transpile
    from qiskit_aer import AerSimulator

    simulator = AerSimulator(method="statevector", max_parallel_threads=1)
    unrolled = transpile(circuit, simulator, optimization_level=0)
    unrolled.save_statevector()
    return np.asarray(simulator.run(unrolled).result().data(0)["statevector"])


def grown(orbitals, particles, seed=0, length=6, code=None):
    """An ADAPT circuit of randomly chosen operators."""
    pool = generalised_pool(orbitals, particles)
    chosen = np.random.default_rng(seed).permutation(len(pool))[:length]
    return AdaptAnsatz(orbitals, particles, [pool[index] for index in chosen], encoding=code)


def excitation_ansaetze(orbitals, particles, seed=0, code=None):
    return [
        UCCSD(orbitals, particles, encoding=code),
        KUpCCGSD(orbitals, particles, 2, encoding=code),
        grown(orbitals, particles, seed, code=code),
    ]


def fermionic_state(ansatz, parameters):
    """The state on all determinants, from dense ladder operators."""
    state = np.zeros(4**ansatz.num_orbitals)
    state[hartree_fock_word(ansatz.num_orbitals, ansatz.num_particles)] = 1.0
    for excitation, index in zip(ansatz.excitations, ansatz.parameter_indices, strict=True):
        slope = generator(2 * ansatz.num_orbitals, excitation.occupied, excitation.virtual)
        once = slope @ state
        state = state + np.sin(parameters[index]) * once + (1 - np.cos(parameters[index])) * (slope @ once)
    return state


def decoded(ansatz, state):
    """A state of the qubits on all determinants."""
    on_determinants = np.zeros(4**ansatz.num_orbitals, dtype=complex)
    on_determinants[ansatz.encoding.decode(np.arange(len(state)))] = state
    return on_determinants


@st.composite
def systems(draw):
    """Up to three orbitals, with any electrons in them, and a seed."""
    orbitals = draw(st.integers(1, 3))
    particles = draw(st.integers(0, orbitals)), draw(st.integers(0, orbitals))
    return orbitals, particles, draw(SEEDS)


@pytest.mark.parametrize("mapper", MAPPER_NAMES)
@pytest.mark.parametrize(("orbitals", "particles"), [(2, (1, 1)), (3, (2, 1))])
def test_own_parameters_give_the_state_of_qiskit_nature(orbitals, particles, mapper):
    from qiskit import transpile
    from qiskit_nature.second_q import mappers
    from qiskit_nature.second_q.circuit import library

    of_nature = {
        "jordan_wigner": mappers.JordanWignerMapper(),
        "parity": mappers.ParityMapper(particles),
        "bravyi_kitaev": mappers.BravyiKitaevMapper(),
    }[mapper]
    start = library.HartreeFock(orbitals, particles, of_nature)
    nature = transpile(
        library.UCCSD(orbitals, particles, of_nature, initial_state=start), basis_gates=["u", "cx"], seed_transpiler=0
    )
    ansatz = UCCSD(orbitals, particles, encoding=encoding(mapper, orbitals, particles), share_spin=False)
    parameters = np.random.default_rng(1).normal(size=ansatz.num_parameters)
    expected = Statevector(nature.assign_parameters(parameters)).data
    np.testing.assert_allclose(statevector(ansatz, parameters), expected, atol=1e-12)


@pytest.mark.parametrize("mapper", MAPPER_NAMES)
@settings(max_examples=20, deadline=None)
@given(systems())
def test_circuits_of_every_encoding_are_the_product_of_fermionic_rotations(mapper, system):
    orbitals, particles, seed = system
    for ansatz in excitation_ansaetze(orbitals, particles, seed, encoding(mapper, orbitals, particles)):
        parameters = np.random.default_rng(seed).normal(size=ansatz.num_parameters)
        found = decoded(ansatz, statevector(ansatz, parameters))
        np.testing.assert_allclose(found, fermionic_state(ansatz, parameters), atol=1e-12)


@pytest.mark.parametrize("mapper", MAPPER_NAMES)
def test_circuits_of_every_encoding_have_the_sector_engines_state(problems, mapper):
    problem, hamiltonian = problems("LiH", frozen_core=True)
    orbitals, particles = problem.num_orbitals, problem.num_particles
    for ansatz in excitation_ansaetze(orbitals, particles, code=encoding(mapper, orbitals, particles)):
        parameters = np.random.default_rng(4).normal(size=ansatz.num_parameters)
        state = statevector(ansatz, parameters)
        words = ansatz.encoding.encode(DeterminantSpace.sector(orbitals, particles).words)
        np.testing.assert_allclose(state[words], SectorEngine(ansatz, hamiltonian).state(parameters), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(systems())
def test_excitations_conserve_electrons_and_spin_projection(system):
    orbitals, particles, seed = system
    for ansatz in excitation_ansaetze(orbitals, particles, seed):
        parameters = np.random.default_rng(seed).normal(size=ansatz.num_parameters)
        state = statevector(ansatz, parameters)
        found = measure(np.arange(len(state)), state, orbitals)
        assert found.particle_number == pytest.approx(sum(particles), abs=1e-12)
        assert found.spin_z == pytest.approx((particles[0] - particles[1]) / 2, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(systems())
def test_paired_excitations_conserve_total_spin(system):
    orbitals, particles, seed = system
    ansatz = KUpCCGSD(orbitals, particles, 2)
    state = statevector(ansatz, np.random.default_rng(seed).normal(size=ansatz.num_parameters))
    spin_z = abs(particles[0] - particles[1]) / 2
    found = measure(np.arange(len(state)), state, orbitals)
    assert found.spin_squared == pytest.approx(spin_z * (spin_z + 1), abs=1e-12)


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_uccsd_of_one_pair_in_two_orbitals_conserves_total_spin(seed):
    ansatz = UCCSD(2, (1, 1), 2)
    state = statevector(ansatz, np.random.default_rng(seed).normal(size=ansatz.num_parameters))
    assert measure(np.arange(16), state, 2).spin_squared == pytest.approx(0.0, abs=1e-12)


def spin_adapted_amplitudes(ansatz, rng):
    """Parameters of a singlet T = sum t_ia E_ai + 1/2 sum t_ijab E_ai E_bj with t_ijab = t_jiba."""
    n = ansatz.num_orbitals
    singles, doubles = rng.normal(size=(n, n)), rng.normal(size=(n,) * 4)
    doubles = doubles + doubles.transpose(1, 0, 3, 2)
    parameters = np.zeros(ansatz.num_parameters)
    for excitation, index in zip(ansatz.excitations, ansatz.parameter_indices, strict=True):
        i, *j = (p % n for p in excitation.occupied)
        a, *b = (p % n for p in excitation.virtual)
        if not j:
            parameters[index] = singles[i, a]
        elif excitation.occupied[0] // n != excitation.occupied[1] // n:
            parameters[index] = doubles[i, j[0], a, b[0]]
        else:
            parameters[index] = doubles[i, j[0], a, b[0]] - doubles[i, j[0], b[0], a]
    return parameters


def test_spin_of_uccsd_is_pure_to_second_order_for_singlet_amplitudes_only():
    ansatz, rng = UCCSD(4, (2, 2)), np.random.default_rng(2)

    def spin_squared(parameters):
        state = statevector(ansatz, parameters)
        return measure(np.arange(len(state)), state, 4).spin_squared

    singlet, arbitrary = spin_adapted_amplitudes(ansatz, rng), rng.normal(size=ansatz.num_parameters)
    # <S^2> is quadratic in the amplitudes of other spins, which are of third order in the angles, or of first.
    for direction, order in ((singlet, 6), (arbitrary, 2)):
        coarse, fine = (spin_squared(scale * direction) for scale in (2e-2, 1e-2))
        assert coarse > 1e-9
        assert np.log2(coarse / fine) == pytest.approx(order, abs=0.2)


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_excitation_preserving_conserves_electrons(seed):
    ansatz = ExcitationPreserving(3, (2, 1))
    state = statevector(ansatz, np.random.default_rng(seed).normal(size=ansatz.num_parameters))
    weights = np.abs(state) ** 2
    # Not only on average: no determinant has another number of electrons.
    assert weights[np.bitwise_count(np.arange(64)) != 3].sum() == pytest.approx(0.0, abs=1e-12)


def test_paired_excitations_are_counted_by_the_formula():
    assert KUpCCGSD(6, (2, 2), 3).num_parameters == 3 * 6 * 5
    assert KUpCCGSD(4, (2, 2)).num_parameters == 4 * 3


def test_what_the_electrons_forbid_has_no_parameter():
    assert KUpCCGSD(2, (2, 1)).num_parameters == 1
    assert KUpCCGSD(2, (2, 2)).num_parameters == 0


def test_closed_shell_partners_share_a_parameter():
    shared, own = UCCSD(6, (2, 2)), UCCSD(6, (2, 2), share_spin=False)
    assert (shared.num_parameters, own.num_parameters) == (50, 92)
    by_excitation = dict(zip(shared.excitations, shared.parameter_indices, strict=True))
    for excitation, index in by_excitation.items():
        assert by_excitation[excitation.spin_flipped(6)] == index


def test_sharing_is_own_parameters_set_equal():
    shared, own = UCCSD(3, (1, 1)), UCCSD(3, (1, 1), share_spin=False)
    parameters = np.random.default_rng(0).normal(size=shared.num_parameters)
    spread = parameters[shared.parameter_indices]
    np.testing.assert_allclose(statevector(shared, parameters), statevector(own, spread), atol=1e-14)


def test_open_shells_share_nothing():
    assert UCCSD(6, (3, 2)).num_parameters == len(UCCSD(6, (3, 2)).excitations)


@pytest.mark.parametrize("ansatz", [UCCSD, KUpCCGSD])
def test_repetition_has_parameters_of_its_own(ansatz):
    once, twice = ansatz(2, (1, 1)), ansatz(2, (1, 1), reps=2)
    assert twice.num_parameters == 2 * once.num_parameters
    parameters = np.array([0.1, 0.2])
    later = statevector(twice, np.append(np.zeros(2), parameters))
    np.testing.assert_allclose(statevector(twice, np.append(parameters, np.zeros(2))), later, atol=1e-14)
    np.testing.assert_allclose(statevector(once, parameters), later, atol=1e-14)


def test_appending_an_operator_with_angle_zero_changes_nothing():
    long = grown(3, (2, 1), length=5)
    short = AdaptAnsatz(3, (2, 1), long.operators[:3])
    assert (long.num_parameters, short.num_parameters) == (5, 3)
    parameters = np.array([0.3, -0.5, 0.2])
    padded = np.append(parameters, [0.0, 0.0])
    np.testing.assert_allclose(statevector(long, padded), statevector(short, parameters), atol=1e-14)
    assert AdaptAnsatz(3, (2, 1)).num_parameters == 0


def qiskit_counterpart(ansatz):
    from qiskit import QuantumCircuit
    from qiskit.circuit import library

    n, reps = ansatz.num_qubits, ansatz.reps
    if ansatz.name == "EfficientSU2":
        return library.efficient_su2(n, reps=reps)
    if ansatz.name == "RealAmplitudes":
        return library.real_amplitudes(n, reps=reps)
    start = QuantumCircuit(n)
    start.x(ansatz.occupied_qubits)
    return start.compose(library.excitation_preserving(n, mode="iswap", entanglement="full", reps=reps))


@pytest.mark.parametrize(
    ("ansatz", "count"), [(EfficientSU2, 24), (RealAmplitudes, 12), (ExcitationPreserving, 24)], ids=lambda x: str(x)
)
def test_hardware_efficient_circuits_are_those_of_qiskit(ansatz, count):
    built = ansatz(2, (1, 1), reps=2)
    assert built.num_parameters == count
    parameters = np.random.default_rng(3).uniform(0, 2 * np.pi, count)
    expected = Statevector(qiskit_counterpart(built).assign_parameters(parameters)).data
    np.testing.assert_allclose(statevector(built, parameters), expected, atol=1e-12)


@pytest.mark.parametrize(("name", "mapper"), ENCODED)
@pytest.mark.parametrize(("orbitals", "particles"), [(2, (1, 1)), (3, (2, 1)), (3, (2, 0))])
def test_hartree_fock_point_is_exactly_the_determinant(name, orbitals, particles, mapper):
    ansatz = ANSAETZE[name](orbitals, particles, 2, encoding=encoding(mapper, orbitals, particles))
    state = decoded(ansatz, statevector(ansatz, ansatz.hartree_fock_parameters()))
    assert abs(state[hartree_fock_word(orbitals, particles)]) == pytest.approx(1.0, abs=1e-14)


def written_ansaetze(mapper, orbitals, particles):
    code = encoding(mapper, orbitals, particles)
    named = [ANSAETZE[name](orbitals, particles, 2, encoding=code) for name, other in ENCODED if other == mapper]
    return [*named, grown(orbitals, particles, code=code)]


@pytest.mark.parametrize("mapper", MAPPER_NAMES)
def test_aer_reproduces_every_text(mapper):
    for ansatz in written_ansaetze(mapper, 3, (2, 1)):
        parameters = np.random.default_rng(5).normal(size=ansatz.num_parameters)
        found = aer_state(bound_circuit(ansatz.qasm3(), parameters))
        np.testing.assert_allclose(found, statevector(ansatz, parameters), atol=1e-12, err_msg=ansatz.name)


@pytest.mark.parametrize("mapper", MAPPER_NAMES)
def test_text_is_openqasm3_with_inputs_in_index_order(mapper):
    pytest.importorskip("qiskit_qasm3_import")
    from qiskit import qasm3

    for ansatz in written_ansaetze(mapper, 2, (1, 1)):
        circuit = qasm3.loads(ansatz.qasm3())
        names = [parameter.name for parameter in circuit.parameters]
        assert names == sorted(names) == ansatz.program.parameter_names()
        parameters = np.random.default_rng(6).normal(size=ansatz.num_parameters)
        found = Statevector(circuit.assign_parameters(parameters)).data
        np.testing.assert_allclose(found, statevector(ansatz, parameters), atol=1e-12, err_msg=ansatz.name)


def shifted_slopes(circuit, angles, energy):
    """Derivatives by the general parameter-shift rule for the frequencies 1 to R of each angle."""
    slopes = np.zeros(len(angles))
    for index, frequencies in enumerate(circuit.frequencies):
        for term in range(2 * frequencies):
            shift = (2 * term + 1) * np.pi / (2 * frequencies)
            moved = angles.copy()
            moved[index] += shift
            slopes[index] += (-1) ** term * energy(moved) / (4 * frequencies * np.sin(shift / 2) ** 2)
    return slopes


@pytest.mark.parametrize("mapper", MAPPER_NAMES)
def test_parameter_shift_of_unshared_circuits_is_the_gradient(problems, mapper):
    problem, _ = problems("H2")
    matrix = MAPPERS[mapper]().map(problem).csr().toarray()
    for ansatz in written_ansaetze(mapper, 2, (1, 1)):
        unshared = ansatz.program.unshared()
        parameters = np.random.default_rng(8).normal(size=ansatz.num_parameters)

        def energy(program, at, matrix=matrix):
            state = Statevector(program.to_qiskit().assign_parameters(at)).data
            return np.vdot(state, matrix @ state).real

        angles = unshared.factors * parameters[unshared.parameters]
        slopes = shifted_slopes(unshared.circuit, angles, lambda at, u=unshared: energy(u.circuit, at))
        found = np.bincount(unshared.parameters, unshared.factors * slopes, minlength=ansatz.num_parameters)
        steps = 1e-5 * np.eye(ansatz.num_parameters)
        program = ansatz.program
        expected = [(energy(program, parameters + s) - energy(program, parameters - s)) / 2e-5 for s in steps]
        np.testing.assert_allclose(found, expected, atol=1e-8, err_msg=ansatz.name)


@pytest.mark.parametrize("name", sorted(ANSAETZE))
def test_impossible_ansatz_is_refused(name):
    with pytest.raises(ValueError, match="reps is 0"):
        ANSAETZE[name](2, (1, 1), 0)
    with pytest.raises(ValueError, match=r"\(3, 1\)"):
        ANSAETZE[name](2, (3, 1))


def test_encoding_of_another_problem_is_refused():
    with pytest.raises(ValueError, match="3 orbitals"):
        UCCSD(2, (1, 1), encoding=bravyi_kitaev(3))
    with pytest.raises(ValueError, match=r"\(2, 1\) electrons contradict"):
        UCCSD(3, (2, 1), encoding=parity(3, (1, 1)))
    with pytest.raises(ValueError, match="'bravyi_kitaev'"):
        ExcitationPreserving(2, (1, 1), encoding=bravyi_kitaev(2))


def test_operators_that_do_nothing_or_leave_the_sector_are_refused():
    with pytest.raises(ValueError, match="empty"):
        AdaptAnsatz(2, (1, 1), [()])
    with pytest.raises(ValueError, match="vanishes"):
        AdaptAnsatz(2, (2, 1), [(Excitation((0,), (1,)),)])
    with pytest.raises(ValueError, match="conserve"):
        AdaptAnsatz(2, (1, 1), [(Excitation((0,), (3,)),)])
