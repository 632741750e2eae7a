r"""An optimum carried to a neighbouring geometry: parameters follow the orbitals they act on.

Orbitals of two geometries are columns over orthogonalised atomic orbitals (Loewdin), which move with the atoms, so that

.. math:: M_{pq} = \sum_\mu C_{\mu p} C'_{\mu q}

is nearly the identity, but for orbitals that changed sign, changed places, or mixed with others of like energy. Taken
over unchanged, the amplitudes of such an orbital would have the wrong sign or belong to another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulation.ansatz import ExcitationAnsatz
from simulation.molecules import Molecule, partition_key
from simulation.problem import build_problem
from simulation.record import VQEDecoratedResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from simulation.ansatz import Ansatz
    from simulation.excitations import Excitation
    from simulation.options import VQEOptions
    from simulation.problem import ElectronicProblem


class CarryOverError(ValueError):
    """The optimum of one experiment cannot be where another one starts; the message says how they differ."""


def optimum_for(
    previous: VQEDecoratedResult, partition: str, options: VQEOptions, problem: ElectronicProblem, ansatz: Ansatz
) -> NDArray[np.float64]:
    """The optimum of a record as the initial parameters of a run on another geometry of its molecule.

    Amplitudes of excitations are carried over to the orbitals of the new geometry; parameters of other circuits are
    taken as they are.

    Args:
        previous: The record to start from.
        partition: Partition key of the molecule of the run that starts.
        options: Of the run that starts.
        problem: Of the run that starts.
        ansatz: Of the run that starts.

    Returns:
        Parameters (radian), shape `(num_parameters,)`.

    Raises:
        CarryOverError: molecule, basis, mapper, orbitals, electrons or ansatz differ.
    """
    initial = previous.vqe_result.initial_data
    optimum = np.array(previous.vqe_result.optimal_parameters)
    molecule = Molecule.from_record(previous.molecule.molecule_data)
    _check_same("the molecule", partition_key(molecule), partition)
    _check_same("the basis", previous.basis_set, options.basis)
    _check_same("the mapper", previous.mapper, options.mapper)
    _check_same("the ansatz", (initial.ansatz_name, initial.ansatz_reps), (options.ansatz, options.reps))
    _check_same("the number of parameters", len(optimum), ansatz.num_parameters)
    old = build_problem(molecule, options.basis, active_space=previous.active_space)
    _check_same("the orbitals", old.num_orbitals, problem.num_orbitals)
    _check_same("the electrons", old.num_particles, problem.num_particles)
    if not isinstance(ansatz, ExcitationAnsatz):
        return optimum
    return carry_over(optimum, ansatz, orbital_overlap(old, problem))


def orbital_overlap(previous: ElectronicProblem, current: ElectronicProblem) -> NDArray[np.float64]:
    """M: overlaps of the orbitals of two geometries in one basis, shape `(n, n)`, row = orbital of the previous one."""
    assert previous.orbitals is not None and current.orbitals is not None
    # einsum's own loop, in one order on every machine: a threaded BLAS has an order of its own.
    return np.einsum("mp,mq->pq", previous.orbitals, current.orbitals)


def carry_over(
    parameters: Sequence[float] | NDArray[np.float64], ansatz: ExcitationAnsatz, overlap: NDArray[np.float64]
) -> NDArray[np.float64]:
    r"""The parameters whose rotations mean, in the new orbitals, what they meant in the old ones.

    With :math:`a_p = \sum_q M_{pq} a'_q` the excitation of orbitals o to v becomes a sum of excitations of o' to v'
    with the minors :math:`\det M_{oo'} \det M_{vv'} - \det M_{ov'} \det M_{vo'}` as weights (the second
    for the adjoint).
    Exact where M exchanges orbitals and changes signs, to first order in the parameters where it mixes them.

    Args:
        parameters: Of the ansatz over the previous orbitals (radian), shape `(num_parameters,)`.
        ansatz: The excitations and which parameter is the angle of each.
        overlap: M, shape `(num_orbitals, num_orbitals)`.

    Raises:
        CarryOverError: the number of parameters differs from the ansatz's.
    """
    _check_same("the number of parameters", len(parameters), ansatz.num_parameters)
    n = len(overlap)
    both_spins = np.zeros((2 * n, 2 * n))
    both_spins[:n, :n] = both_spins[n:, n:] = overlap
    indices = np.array(ansatz.parameter_indices, dtype=np.int64)
    angles = np.asarray(parameters, dtype=np.float64)[indices].reshape(ansatz.reps, -1)
    carried = np.zeros_like(angles)
    layer = ansatz.excitations[: angles.shape[1]]
    for rank in (1, 2):
        members = np.array([k for k, e in enumerate(layer) if len(e.occupied) == rank], dtype=np.int64)
        if len(members):
            weights = _weights(both_spins, [layer[k] for k in members])
            carried[:, members] = np.einsum("rk,kl->rl", angles[:, members], weights)
    # Excitations that share a parameter are spin partners and come out equal but for rounding.
    shares = np.bincount(indices, minlength=ansatz.num_parameters)
    return np.bincount(indices, weights=carried.ravel(), minlength=ansatz.num_parameters) / np.maximum(shares, 1)


def _weights(overlap: NDArray[np.float64], excitations: list[Excitation]) -> NDArray[np.float64]:
    """What each excitation (row) contributes to each one over the new orbitals (column)."""
    occupied = np.array([e.occupied for e in excitations], dtype=np.int64)
    virtual = np.array([e.virtual for e in excitations], dtype=np.int64)
    forward = _minors(overlap, occupied, occupied) * _minors(overlap, virtual, virtual)
    return forward - _minors(overlap, occupied, virtual) * _minors(overlap, virtual, occupied)


def _minors(matrix: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Determinants of the 1 x 1 or 2 x 2 submatrices of all pairs of `rows` and `columns`."""
    if rows.shape[1] == 1:
        return matrix[np.ix_(rows[:, 0], columns[:, 0])]
    (i, j), (k, m) = rows.T[:, :, None], columns.T[:, None, :]
    return matrix[i, k] * matrix[j, m] - matrix[i, m] * matrix[j, k]


def _check_same(what: str, before: object, now: object) -> None:
    if before != now:
        raise CarryOverError(
            f"{what} of the previous experiment: {before!r}, of this one: {now!r}; start from an experiment of the "
            "same molecule, basis, active space and ansatz, or use init_strategy 'hf'"
        )
