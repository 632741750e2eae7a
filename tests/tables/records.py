"""Random records of the declared schema, and changes to plain ones, for the tests of decoding and flattening."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

from simulation.record import VQEDecoratedResult

_INT = st.integers(-(2**31), 2**31 - 1)
_COUNT = st.integers(0, 2**31 - 1)
_FLOAT = st.floats(allow_nan=False, allow_infinity=False)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_PARAMETERS = st.lists(_FLOAT, max_size=4)


def _maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def _steps(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [step | {"iteration": number} for number, step in enumerate(steps, start=1)]


_STEP = st.fixed_dictionaries(
    {"parameters": _PARAMETERS, "result": _FLOAT, "std": _FLOAT},
    optional={
        "energy_delta": _maybe(_FLOAT),
        "parameter_delta_norm": _maybe(_FLOAT),
        "cumulative_min_energy": _maybe(_FLOAT),
        "gradient_norm": _maybe(_FLOAT),
        "energy_variance": _maybe(_FLOAT),
    },
)
_TERM = st.fixed_dictionaries(
    {
        "label": st.text("IXYZ", min_size=1, max_size=6),
        "coefficients": st.fixed_dictionaries({"real": _FLOAT, "imaginary": _FLOAT}),
    }
)
_INITIAL = st.fixed_dictionaries(
    {
        "backend": st.sampled_from(["aer_simulator", "fake_manila", "../x", "a b", ""]),
        "num_qubits": st.integers(1, 40),
        "hamiltonian": st.lists(_TERM, max_size=3),
        "num_parameters": _COUNT,
        "initial_parameters": _PARAMETERS,
        "optimizer": _TEXT,
        "ansatz": _TEXT,
        "noise_backend": _TEXT,
        "default_shots": _maybe(_INT),
        "ansatz_reps": _INT,
    },
    optional={
        "init_strategy": _maybe(_TEXT),
        "seed": _maybe(_INT),
        "ansatz_name": _maybe(_TEXT),
        "exact_estimator": st.booleans(),
    },
)
_RESULT = st.fixed_dictionaries(
    {
        "initial_data": _INITIAL,
        "iteration_list": st.lists(_STEP, min_size=1, max_size=4).map(_steps),
        "minimum": _FLOAT,
        "optimal_parameters": _PARAMETERS,
        "minimization_time": _FLOAT,
    },
    optional={
        "maxcv": _maybe(_FLOAT),
        "nuclear_repulsion_energy": _maybe(_FLOAT),
        "success": _maybe(st.booleans()),
        "nfev": _maybe(_INT),
        "nit": _maybe(_INT),
    },
)
_MOLECULE = st.sampled_from([["H", "H"], ["Li", "H"], ["O", "H", "H"]]).flatmap(
    lambda symbols: st.fixed_dictionaries(
        {
            "symbols": st.just(symbols),
            "coords": st.lists(st.lists(_FLOAT, min_size=3, max_size=3), min_size=len(symbols), max_size=len(symbols)),
        },
        optional={
            "multiplicity": st.integers(1, 9),
            "charge": st.integers(-3, 3),
            "units": st.sampled_from(["angstrom", "bohr"]),
            "masses": _maybe(st.lists(_FLOAT, min_size=len(symbols), max_size=len(symbols))),
            "name": _maybe(st.sampled_from(["LiH", "my-molecule_1.0+"])),
        },
    )
)
_STARTED = st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat())

plain_records: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "vqe_result": _RESULT,
        "molecule": st.fixed_dictionaries({"molecule_data": _MOLECULE}),
        "basis_set": st.sampled_from(["sto3g", "6-31g", "6-311++G(2d,2p)", "6-31g*", "é/ü"]),
        "hamiltonian_time": _FLOAT,
        "mapping_time": _FLOAT,
        "vqe_time": _FLOAT,
        "total_time": _FLOAT,
        "molecule_id": _INT,
    },
    optional={
        "performance_start": _maybe(_TEXT),
        "schema_version": _maybe(_INT),
        "experiment_id": _maybe(st.text("0123456789abcdef", min_size=64, max_size=64)),
        "total_energy": _maybe(_FLOAT),
        "fci_energy": _maybe(_FLOAT),
        "valid": _maybe(st.booleans()),
        "invalid_reason": _maybe(_TEXT),
        "active_space": _maybe(
            st.fixed_dictionaries({"electrons": st.integers(1, 50), "orbitals": st.integers(1, 50)})
        ),
        "energy_evaluations": _maybe(_INT),
        "wall_time": _maybe(_FLOAT),
        "versions": _maybe(_TEXT),
        "started_at": _maybe(_STARTED),
        "campaign": _maybe(_TEXT),
        "noise_rates": _maybe(
            st.fixed_dictionaries(
                {"one_qubit": st.floats(0, 1), "two_qubit": st.floats(0, 1), "readout": st.floats(0, 0.5)}
            )
        ),
        "device": _maybe(st.sampled_from(["CPU", "GPU"])),
        "scan_value": _maybe(_FLOAT),
    },
)
"""Records as plain data: everything required, any of the later fields."""

records: st.SearchStrategy[VQEDecoratedResult] = plain_records.map(VQEDecoratedResult.model_validate)


def changed(record: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of a plain record in which the value at a dotted path is another."""
    copied = copy.deepcopy(record)
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    target: Any = copied
    for part in parents:
        target = target[part]
    target[last] = value
    return copied
