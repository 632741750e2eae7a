"""From an object's bytes to validated records, by the declared schema and never by inference."""

from __future__ import annotations

import datetime as dt
import io
import itertools
import math
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote_plus

from pydantic import ValidationError

from qpipe_resources.avro_container import MAGIC, cut
from simulation.identity import content_id
from simulation.molecules import MoleculeError, partition_key_of
from simulation.record import MoleculeData, MoleculeInfo, VQEDecoratedResult

MAX_RECORDS_PER_OBJECT = 1000
"""An object can hold many records; more than this in one object is taken for an error."""

DEFAULT_ANSATZ = "EfficientSU2"
"""What records without `ansatz_name` were computed with (spec C)."""

MAX_PATH_SEGMENT = 200
"""Bytes of a value, percent-encoded, that tables are partitioned by: it becomes a folder's name."""

_Read = TypeVar("_Read")
_PARTITION_KEY = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
# In one document a comma stands between two objects, and no string holds a line's end as it is.
# What was matched is not given back: a megabyte of empty lines must not take hours.
_BETWEEN_DOCUMENTS = re.compile(rb"(?<=\})[^\S\n]*+\n\s*+(?=\{)")


class DecodeError(ValueError):
    """An object that is no record: says what was found and what was expected."""


def valid_partition_key(key: str) -> bool:
    """Whether a molecule's name can be a partition key: safe in paths, in Dagster and in SQL."""
    return _PARTITION_KEY.fullmatch(key) is not None and ".." not in key


@dataclass(frozen=True)
class Decoded:
    """One validated record with its identity, its molecule's partition key, and a digest of its content."""

    experiment_id: str
    molecule: str
    content_digest: str
    row: dict[str, Any]


def decode(data: bytes) -> list[Decoded]:
    """Decode one object: a JSON record or several, each beginning a line, or an Avro container; all of one molecule.

    Raises:
        DecodeError: the bytes are neither, or a record violates the declared schema.
    """
    decoded = [_identify(record) for record in _records(data)]
    molecules = sorted({item.molecule for item in decoded})
    if len(molecules) > 1:
        raise DecodeError(
            f"one object holds records of {', '.join(molecules)}; expected one molecule an object: split it"
        )
    return decoded


@dataclass(frozen=True)
class Unusable:
    """A record among others that cannot be used: an object of its own, and why."""

    document: bytes
    reason: str


def decode_usable(data: bytes) -> tuple[list[Decoded], list[Unusable]]:
    """Decode one object; where several records share it, those that cannot be used take none of the others with them.

    Raises:
        DecodeError: as `decode`, when there is no usable record, or the usable ones do not belong together.
    """
    try:
        return decode(data), []
    except DecodeError as error:
        usable, unusable = _one_by_one(data, decode)
        if not usable or not unusable or len({item.molecule for item in usable}) > 1:
            raise error
        return usable, unusable


def records_of(data: bytes) -> dict[str, VQEDecoratedResult]:
    """The usable records of one object by their experiment's identity, as they were written.

    Raises:
        DecodeError: as `decode`, when there is none.
    """
    try:
        records = _records(data)
    except DecodeError as error:
        records, _ = _one_by_one(data, _records)
        if not records:
            raise error
    return {record.experiment_id or content_id(record): record for record in records}


def molecule_of_json(data: bytes) -> str:
    """Molecule's partition key of a JSON record that `decode` would accept; for what lands it and never looks inside.

    Raises:
        DecodeError: as `decode`.
    """
    return _molecule_of(_decode_json(data))


def molecule_of_part(molecule: Any) -> str:
    """Molecule's partition key of a record of which only the field `molecule` was read, as plain data.

    Raises:
        DecodeError: `decode` would find no molecule in it, either.
    """
    try:
        return _partition_key(MoleculeInfo.model_validate(molecule).molecule_data)
    except ValidationError as error:
        raise DecodeError(f"molecule: {_first_errors(error)}") from error


def json_documents(data: bytes) -> list[bytes]:
    """The JSON objects of a text that begins a new line with each; a text that is anything else is one."""
    return _BETWEEN_DOCUMENTS.split(data) if b"\n" in data else [data]


def _one_by_one(data: bytes, read: Callable[[bytes], list[_Read]]) -> tuple[list[_Read], list[Unusable]]:
    usable: list[_Read] = []
    unusable: list[Unusable] = []
    for document in _separate(data):
        try:
            usable += read(document)
        except DecodeError as error:
            unusable.append(Unusable(document, str(error)))
    return usable, unusable


def _separate(data: bytes) -> list[bytes]:
    """The records of an object, each as one of its own; none where they cannot be told apart, or are too many."""
    try:
        documents = cut(data) if data.startswith(MAGIC) else json_documents(data)
    except ValueError:
        return []
    return documents if len(documents) <= MAX_RECORDS_PER_OBJECT else []


def _records(data: bytes) -> list[VQEDecoratedResult]:
    return _decode_avro(data) if data.startswith(MAGIC) else _decode_lines(data)


def _decode_lines(data: bytes) -> list[VQEDecoratedResult]:
    documents = json_documents(data)
    if len(documents) == 1:
        return [_decode_json(data)]
    _check_number(len(documents))
    records = []
    for number, document in enumerate(documents, 1):
        try:
            records.append(_decode_json(document))
        except DecodeError as error:
            raise DecodeError(f"record {number} of {len(documents)}: {error}") from error
    return records


def _check_number(records: int) -> None:
    if records > MAX_RECORDS_PER_OBJECT:
        raise DecodeError(f"the object holds more than {MAX_RECORDS_PER_OBJECT} records; split it")


def _decode_json(data: bytes) -> VQEDecoratedResult:
    if not data.strip():
        raise DecodeError("the object is empty; expected a JSON record or an Avro container")
    try:
        return VQEDecoratedResult.model_validate_json(data)
    except ValidationError as error:
        raise DecodeError(_first_errors(error)) from error


def _decode_avro(data: bytes) -> list[VQEDecoratedResult]:
    import fastavro

    try:
        rows = list(itertools.islice(fastavro.reader(io.BytesIO(data)), MAX_RECORDS_PER_OBJECT + 1))
    # fastavro has no common base for what a damaged container raises (struct, zlib, EOF, index and value errors).
    except Exception as error:
        raise DecodeError(f"damaged Avro container: {type(error).__name__}: {error}") from error
    if not rows:
        raise DecodeError("the Avro container holds no record")
    _check_number(len(rows))
    try:
        return [VQEDecoratedResult.model_validate(row) for row in rows]
    except ValidationError as error:
        raise DecodeError(_first_errors(error)) from error


def _first_errors(error: ValidationError, limit: int = 3) -> str:
    found = error.errors(include_url=False)
    shown = [
        f"{'.'.join(map(str, e['loc'])) or 'record'}: {e['msg']} (got {_shortened(e['input'])})" for e in found[:limit]
    ]
    more = f"; and {len(found) - limit} more" if len(found) > limit else ""
    return "; ".join(shown) + more


def _shortened(value: Any) -> str:
    """The start of a value as text, without making a text of all of it: it can be the whole object."""
    shortener = reprlib.Repr()
    shortener.maxlevel, shortener.maxstring, shortener.maxother = 1, 60, 60
    return shortener.repr(value[:60] if isinstance(value, bytes) else value)[:80]


def _identify(record: VQEDecoratedResult) -> Decoded:
    key = _molecule_of(record)
    content = content_id(record)
    return Decoded(record.experiment_id or content, key, content, _completed(record))


def _molecule_of(record: VQEDecoratedResult) -> str:
    """The molecule's partition key, once everything holds that the declared schema alone does not say."""
    key = _partition_key(record.molecule.molecule_data)
    _check_path_segment("basis_set", record.basis_set)
    _check_path_segment("vqe_result.initial_data.backend", record.vqe_result.initial_data.backend)
    if record.started_at is not None:
        _utc_text(record.started_at)
    return key


def _partition_key(molecule: MoleculeData) -> str:
    try:
        key = partition_key_of(molecule.symbols, molecule.charge, molecule.multiplicity)
    except MoleculeError as error:
        raise DecodeError(f"molecule: {error}") from error
    if not valid_partition_key(key):
        raise DecodeError(f"molecule: {key!r} is no valid partition key: expected at most 64 of A-Z a-z 0-9 _ . + -")
    return key


def _check_path_segment(field: str, value: str) -> None:
    # Found here it costs one object; found when the data files are written it would block the claimed batch for ever.
    if len(quote_plus(value)) > MAX_PATH_SEGMENT:
        raise DecodeError(
            f"{field}: {value[:40]!r}... has {len(value)} characters; expected at most {MAX_PATH_SEGMENT} bytes "
            "when percent-encoded"
        )


def _completed(record: VQEDecoratedResult) -> dict[str, Any]:
    """The record as a plain row, with what older writers left out but the record itself determines."""
    row = record.model_dump()
    if record.started_at is not None:
        row["started_at"] = _utc_text(record.started_at)
    result = row["vqe_result"]
    if row["total_energy"] is None and result["nuclear_repulsion_energy"] is not None:
        row["total_energy"] = result["minimum"] + result["nuclear_repulsion_energy"]
    if result["initial_data"]["ansatz_name"] is None:
        result["initial_data"]["ansatz_name"] = DEFAULT_ANSATZ
    if result["initial_data"]["init_strategy"] is None:
        result["initial_data"]["init_strategy"] = "random"
    _complete_iterations(result["iteration_list"])
    return row


def _utc_text(moment: str) -> str:
    """The one form of ISO 8601 that every reader of rows parses; Python itself accepts many more."""
    try:
        return dt.datetime.fromisoformat(moment).astimezone(dt.UTC).isoformat(timespec="microseconds")
    except OverflowError as error:
        raise DecodeError(f"started_at: {moment!r} lies outside the years 1 to 9999 in UTC") from error


def _complete_iterations(iterations: list[dict[str, Any]]) -> None:
    lowest = math.inf
    previous: dict[str, Any] | None = None
    for step in iterations:
        lowest = min(lowest, step["result"])
        if step["cumulative_min_energy"] is None:
            step["cumulative_min_energy"] = lowest
        if previous is not None:
            if step["energy_delta"] is None:
                step["energy_delta"] = step["result"] - previous["result"]
            if step["parameter_delta_norm"] is None and len(step["parameters"]) == len(previous["parameters"]):
                step["parameter_delta_norm"] = math.dist(step["parameters"], previous["parameters"])
        previous = step
