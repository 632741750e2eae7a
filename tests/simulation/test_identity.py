"""The identity of a record's content: the one that stored lakes hold, whatever the numbers and texts are."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any, get_args, get_origin

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from simulation.annotations import without_none
from simulation.identity import content_id
from simulation.record import HamiltonianTerm, MoleculeData, VQEDecoratedResult
from tests.synthetic import plain_record
from tests.tables.records import changed, plain_records

LEFT_OUT = {
    *("molecule_id", "hamiltonian_time", "mapping_time", "vqe_time", "total_time", "wall_time", "performance_start"),
    *("performance_end", "schema_version", "experiment_id", "versions", "started_at", "host", "dagster_run_id"),
    *("campaign", "minimization_time", "name"),
}

ANY_DOUBLE = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
SMALL_OR_LARGE = st.builds(
    lambda digits, power: float(f"{digits}e{power}"), st.integers(-(10**6), 10**6), st.integers(-16, 20)
)
DOUBLES = (ANY_DOUBLE | SMALL_OR_LARGE).filter(np.isfinite)


def written_out(value: Any) -> Any:
    """A value without what is not scientific and without nulls, -0.0 as 0.0."""
    if isinstance(value, dict):
        return {key: written_out(item) for key, item in value.items() if item is not None and key not in LEFT_OUT}
    if isinstance(value, list):
        return [written_out(item) for item in value]
    return value + 0.0 if isinstance(value, float) else value


def oracle(record: VQEDecoratedResult) -> str:
    """The identity's definition: SHA-256 of Python's own JSON."""
    text = json.dumps(written_out(record.model_dump()), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def with_numbers(numbers: list[float]) -> VQEDecoratedResult:
    return VQEDecoratedResult.model_validate(
        changed(plain_record(evaluations=1, terms=0), "vqe_result.iteration_list.0.parameters", numbers)
    )


@settings(max_examples=200)
@given(plain_records)
def test_the_identity_is_the_digest_of_python_s_json(record: dict[str, Any]) -> None:
    parsed = VQEDecoratedResult.model_validate(record)
    assert content_id(parsed) == oracle(parsed)


@settings(max_examples=200)
@given(st.lists(DOUBLES, min_size=20, max_size=60))
@example([0.0, -0.0, 1e-05, -1e-05, 1.5e-05, 9.999999e-05, 1e-04, 10.00001, -100.00001, 0.00001234, 9.99e-06, -1e-07])
@example([1e15, 1e16, -1e16, 1.5e17, 1e22, 1e100, -1e-100, 5e-324, 1.7976931348623157e308, 2.0, 123456789.0])
def test_every_double_is_written_as_python_writes_it(numbers: list[float]) -> None:
    assert content_id(with_numbers(numbers)) == oracle(with_numbers(numbers))


@pytest.mark.parametrize("text", ['0.00001,-0.0,1e5"', "é\x7f\x00\\", "[1e-7,-0.0]", "]},{:"])
@pytest.mark.parametrize("path", ["vqe_result.initial_data.ansatz", "molecule.molecule_data.symbols.0", "basis_set"])
def test_what_looks_like_a_number_in_a_text_is_left_alone(path: str, text: str) -> None:
    record = VQEDecoratedResult.model_validate(changed(plain_record(), path, text))
    assert content_id(record) == oracle(record)


def test_numbers_of_numpy_count_as_numbers() -> None:
    numbers = [0.1, -0.0, 1e-05]
    assert content_id(with_numbers([np.float64(x) for x in numbers])) == content_id(with_numbers(numbers))


def test_the_identities_that_lakes_hold() -> None:
    # Computed with the first implementation, json.dumps alone.
    assert (
        content_id(VQEDecoratedResult.model_validate(plain_record(3)))
        == "737272efb19dd127f47cb2b25e850b01848b7484f1c1d6af49483fec409b5878"
    )


def texts_in_lists(model: type[BaseModel], inside: bool = False) -> set[tuple[type[BaseModel], str]]:
    found: set[tuple[type[BaseModel], str]] = set()
    for name, field in model.model_fields.items():
        annotation, deeper = without_none(field.annotation)[0], inside
        while get_origin(annotation) is list:
            annotation, deeper = without_none(get_args(annotation)[0])[0], True
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found |= texts_in_lists(annotation, deeper)
        elif annotation is str and deeper:
            found.add((model, name))
    return found


def test_lists_hold_no_free_text_but_symbols() -> None:
    # What content_id relies on: a new field with text in a list must be looked at there first.
    assert texts_in_lists(VQEDecoratedResult) == {(HamiltonianTerm, "label"), (MoleculeData, "symbols")}
