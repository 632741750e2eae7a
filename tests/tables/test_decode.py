"""Decoding: every form and age of the field's records becomes the same rows; what is no record is refused by name."""

from __future__ import annotations

import io
import json
import math
import time
from typing import Any

import fastavro
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpipe_assets.tables.decode import (
    MAX_RECORDS_PER_OBJECT,
    DecodeError,
    decode,
    decode_usable,
    json_documents,
    molecule_of_json,
    molecule_of_part,
    records_of,
)
from qpipe_resources.serialization import avro_schema, to_avro_container
from simulation.elements import SYMBOLS
from simulation.identity import content_id
from simulation.record import VQEDecoratedResult
from tests.synthetic import plain_record
from tests.tables.records import changed, records

EXAMPLES = settings(max_examples=60)
JSON_OBJECTS = st.dictionaries(
    st.text(),
    st.recursive(
        st.none() | st.text(alphabet='{}\n\r "a') | st.integers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)
STEP = "vqe_result.iteration_list.0"


def as_json(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode()


def as_avro(*plain: dict[str, Any]) -> bytes:
    return to_avro_container(VQEDecoratedResult.model_validate(record) for record in plain)


def written_by(schema: dict[str, Any], *plain: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, fastavro.parse_schema(schema), list(plain))
    return buffer.getvalue()


@EXAMPLES
@given(records)
def test_a_record_survives_json(record: VQEDecoratedResult) -> None:
    assert VQEDecoratedResult.model_validate_json(record.to_json()) == record


@EXAMPLES
@given(records)
def test_a_record_survives_avro(record: VQEDecoratedResult) -> None:
    (row,) = fastavro.reader(io.BytesIO(to_avro_container([record])))
    assert VQEDecoratedResult.model_validate(row) == record


@EXAMPLES
@given(records)
def test_json_and_avro_give_the_same_identity_and_the_same_row(record: VQEDecoratedResult) -> None:
    assert decode(record.to_json()) == decode(to_avro_container([record]))


def test_the_identity_does_not_depend_on_the_order_of_the_fields_or_on_the_clock() -> None:
    record = plain_record(3)
    reordered = dict(reversed(record.items())) | {"vqe_time": 99.0, "molecule_id": 7, "host": "elsewhere"}
    assert decode(as_json(record))[0].experiment_id == decode(as_json(reordered))[0].experiment_id


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("vqe_result.minimum", -9.0),
        ("vqe_result.initial_data.seed", 12),
        ("vqe_result.initial_data.optimizer", "SLSQP"),
        ("vqe_result.iteration_list.3.parameters.1", 0.5),
        ("molecule.molecule_data.coords.1.2", 0.7),
        ("molecule.molecule_data.multiplicity", 3),
        ("basis_set", "6-31g"),
    ],
)
def test_another_experiment_has_another_identity(path: str, value: Any) -> None:
    record = plain_record(3)
    assert decode(as_json(record))[0].experiment_id != decode(as_json(changed(record, path, value)))[0].experiment_id


def test_runs_that_differ_in_length_have_different_identities() -> None:
    # The reference's identity left the iterations out and dropped the longer of two runs.
    short, long = plain_record(1, evaluations=50), plain_record(1, evaluations=51)
    assert decode(as_json(short))[0].experiment_id != decode(as_json(long))[0].experiment_id


def test_a_record_s_own_identity_is_kept() -> None:
    own = "0123456789abcdef" * 4
    decoded = decode(as_json(plain_record() | {"experiment_id": own}))[0]
    assert decoded.experiment_id == own
    assert decoded.content_digest == content_id(VQEDecoratedResult.model_validate(plain_record()))


def test_an_avro_container_may_hold_several_records_of_one_molecule() -> None:
    decoded = decode(as_avro(plain_record(1), plain_record(2)))
    assert [item.row["vqe_result"]["initial_data"]["seed"] for item in decoded] == [1, 2]


@pytest.mark.parametrize("between", [b"\n", b"\r\n", b" \n\n"])
@pytest.mark.parametrize("indent", [0, 2])
def test_a_text_may_hold_several_json_records_of_one_molecule_a_line_each(between: bytes, indent: int) -> None:
    texts = [json.dumps(plain_record(n), indent=indent or None).encode() for n in (1, 2, 3)]
    assert decode(between.join(texts) + b"\n") == [decode(text)[0] for text in texts]


def test_of_several_json_records_the_one_that_is_none_is_named() -> None:
    with pytest.raises(DecodeError, match=r"record 2 of 2: .*vqe_result"):
        decode(as_json(plain_record(1)) + b'\n{"a": 1}')
    with pytest.raises(DecodeError, match="more than 1000 records"):
        decode(b"\n".join([b"{}"] * 1001))


@given(st.lists(JSON_OBJECTS, min_size=1, max_size=5), st.sampled_from([None, 1]))
def test_json_documents_are_told_apart_whatever_they_hold(documents: list[dict[str, Any]], indent: int | None) -> None:
    texts = [json.dumps(document, indent=indent, ensure_ascii=False).encode() for document in documents]
    assert json_documents(b"\n".join(texts)) == texts


def test_empty_lines_without_end_cost_no_more_than_their_bytes() -> None:
    begun = time.process_time()
    assert len(json_documents(b"{}" + b"\n" * 1_000_000)) == 1
    assert len(json_documents((b"{}" + b" \n" * 1000) * 500 + b"{}")) == 501
    assert time.process_time() - begun < 5


def test_an_avro_container_of_an_old_writer_is_read_with_the_later_fields_filled() -> None:
    old = plain_record(1)
    result = old["vqe_result"]
    for step in result["iteration_list"]:
        for later in ("energy_delta", "parameter_delta_norm", "cumulative_min_energy"):
            del step[later]
    for later in ("init_strategy", "seed", "ansatz_name"):
        del result["initial_data"][later]
    for later in ("nuclear_repulsion_energy", "success", "nfev", "nit"):
        del result[later]
    assert decode(written_by(_first_schema(), old)) == decode(as_json(old))


def _first_schema() -> dict[str, Any]:
    """The schema of the first writers: only the fields of the declaration that have no default, and `maxcv`."""

    def only_required(schema: Any) -> Any:
        if isinstance(schema, list):
            return [only_required(branch) for branch in schema]
        if not isinstance(schema, dict) or schema["type"] not in ("record", "array"):
            return schema
        if schema["type"] == "array":
            return schema | {"items": only_required(schema["items"])}
        kept = ("maxcv", "multiplicity", "charge", "units", "masses")
        fields = [f for f in schema["fields"] if "default" not in f or f["name"] in kept]
        return schema | {"fields": [f | {"type": only_required(f["type"])} for f in fields]}

    schema = only_required(avro_schema())
    assert "total_energy" not in json.dumps(schema)
    return schema


def test_what_an_old_record_left_out_is_derived_from_it() -> None:
    record = plain_record(1)
    expected = [dict(step) for step in record["vqe_result"]["iteration_list"]]
    for step in record["vqe_result"]["iteration_list"]:
        for later in ("energy_delta", "parameter_delta_norm", "cumulative_min_energy"):
            del step[later]
    row = decode(as_json(record))[0].row
    found = row["vqe_result"]["iteration_list"]
    assert found[0]["energy_delta"] is None and found[0]["parameter_delta_norm"] is None
    for step, wanted in zip(found, expected, strict=True):
        assert step["energy_delta"] == wanted["energy_delta"]
        assert step["cumulative_min_energy"] == wanted["cumulative_min_energy"]
    for step in found[1:]:
        assert step["parameter_delta_norm"] == pytest.approx(0.01 * math.sqrt(4), abs=1e-12)
    assert row["total_energy"] == record["vqe_result"]["minimum"] + record["vqe_result"]["nuclear_repulsion_energy"]


def test_the_names_old_records_lack_are_the_ones_they_were_computed_with() -> None:
    record = plain_record()
    del record["vqe_result"]["initial_data"]["ansatz_name"]
    record["vqe_result"]["initial_data"]["init_strategy"] = None
    initial = decode(as_json(record))[0].row["vqe_result"]["initial_data"]
    assert (initial["ansatz_name"], initial["init_strategy"]) == ("EfficientSU2", "random")


def test_a_flat_molecule_and_flat_coordinates_are_the_same_record() -> None:
    record = plain_record()
    molecule = record["molecule"]["molecule_data"]
    flat = record | {"molecule": molecule | {"coords": [x for row in molecule["coords"] for x in row]}}
    assert decode(as_json(flat)) == decode(as_json(record))


def test_fields_of_a_newer_writer_are_ignored() -> None:
    assert decode(as_json(plain_record() | {"invented_later": {"x": 1}})) == decode(as_json(plain_record()))


def test_the_molecule_s_partition_is_its_catalogue_name_or_a_hill_formula() -> None:
    def partition(symbols: list[str], charge: int, multiplicity: int) -> str:
        record = plain_record()
        record["molecule"]["molecule_data"] |= {
            "symbols": symbols,
            "coords": [[0.0, 0.0, float(i)] for i in range(len(symbols))],
            "charge": charge,
            "multiplicity": multiplicity,
        }
        return decode(as_json(record))[0].molecule

    assert partition(["H", "Li"], 0, 1) == "LiH"
    assert partition(["H", "He"], 1, 1) == "HeH+"
    assert partition(["O", "O"], 0, 3) == "O2_m3"
    assert partition(["Cl", "C", "H", "H", "H"], 0, 1) == "CH3Cl"


@pytest.mark.parametrize(
    "moment", ["20261121T055400Z", "2026-11-21T05:54:00.123456789+00:00", "2026-11-21 05:54+01:00"]
)
def test_every_iso_8601_moment_that_is_accepted_can_be_stored(moment: str) -> None:
    import datetime as dt

    import pyarrow as pa

    row = decode(as_json(plain_record() | {"started_at": moment}))[0].row
    stored = pa.scalar(row["started_at"]).cast(pa.timestamp("us", tz="UTC")).as_py()
    assert stored == dt.datetime.fromisoformat(moment)


BROKEN: list[tuple[str, bytes, str]] = [
    ("an empty file", b"", "empty"),
    ("only white space", b" \n\t ", "empty"),
    ("truncated JSON", as_json(plain_record())[:-40], "JSON"),
    ("not JSON", b"\x00\x01\x02", "JSON"),
    ("a list", b"[]", "an object"),
    ("deep nesting", b"[" * 100_000, "JSON"),
    ("invalid UTF-8", as_json(plain_record()).replace(b"COBYLA", b"\xff\xfe"), "JSON"),
    ("NaN", as_json(changed(plain_record(), "vqe_result.minimum", math.nan)), "vqe_result.minimum"),
    ("infinity", as_json(changed(plain_record(), "hamiltonian_time", math.inf)), "hamiltonian_time"),
    ("text for a number", as_json(changed(plain_record(), "vqe_result.minimum", "-1.1")), "-1.1"),
    ("a fraction for an integer", as_json(changed(plain_record(), "vqe_result.nfev", 12.5)), "12.5"),
    ("an integer beyond 32 bits", as_json(changed(plain_record(), "molecule_id", 2**31)), "2147483648"),
    ("a missing field", as_json({k: v for k, v in plain_record().items() if k != "basis_set"}), "basis_set"),
    ("no iterations", as_json(changed(plain_record(), "vqe_result.iteration_list", [])), "iteration_list"),
    ("an iteration twice", as_json(changed(plain_record(), "vqe_result.iteration_list.1.iteration", 1)), "iteration 1"),
    ("iterations out of order", as_json(changed(plain_record(), "vqe_result.iteration_list.1.iteration", 9)), "9"),
    ("iteration zero", as_json(changed(plain_record(), f"{STEP}.iteration", 0)), "iteration"),
    ("a name that is a path", as_json(changed(plain_record(), "molecule.molecule_data.name", "../x")), "../x"),
    ("an unknown element", as_json(changed(plain_record(), "molecule.molecule_data.symbols", ["H", "Qq"])), "Qq"),
    ("a path as an element", as_json(changed(plain_record(), "molecule.molecule_data.symbols", ["H", "../x"])), "../x"),
    (
        "an atom without position",
        as_json(changed(plain_record(), "molecule.molecule_data.symbols", ["H"])),
        "1 symbols",
    ),
    ("half a position", as_json(changed(plain_record(), "molecule.molecule_data.coords", [0.0] * 5)), "5 numbers"),
    ("unknown units", as_json(changed(plain_record(), "molecule.molecule_data.units", "furlong")), "furlong"),
    ("an identity that is none", as_json(plain_record() | {"experiment_id": "../../x"}), "../../x"),
    ("an unknown Pauli", as_json(changed(plain_record(), "vqe_result.initial_data.hamiltonian.0.label", "IQ")), "IQ"),
    ("a moment without zone", as_json(plain_record() | {"started_at": "2026-11-21T00:00:00"}), "2026-11-21T00"),
    ("a moment that is none", as_json(plain_record() | {"started_at": "yesterday"}), "yesterday"),
    ("a moment before year 1", as_json(plain_record() | {"started_at": "0001-01-01T00:00:00+14:00"}), "0001-01-01"),
    ("a damaged Avro container", as_avro(plain_record())[:-30], "Avro"),
    ("an Avro header alone", b"Obj\x01", "Avro"),
    ("Avro of something else", written_by({"type": "record", "name": "X", "fields": []}, {}), "vqe_result"),
    ("an Avro container without record", to_avro_container([]), "no record"),
    ("Avro records of two molecules", as_avro(plain_record(), plain_record(0, "LiH")), "H2, LiH"),
    ("a basis too long for a path", as_json(plain_record() | {"basis_set": "x" * 300}), "basis_set"),
    (
        "a backend too long for a path",
        as_json(changed(plain_record(), "vqe_result.initial_data.backend", "ü" * 99)),
        "ü",
    ),
]


@pytest.mark.parametrize(("data", "named"), [(d, n) for _, d, n in BROKEN], ids=[title for title, _, _ in BROKEN])
def test_what_is_no_record_is_refused_with_the_offending_value(data: bytes, named: str) -> None:
    with pytest.raises(DecodeError) as refused:
        decode(data)
    assert named in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_nan_in_an_avro_record_is_refused() -> None:
    row = VQEDecoratedResult.model_validate(plain_record()).model_dump()
    row["vqe_result"]["iteration_list"][2]["result"] = math.nan
    with pytest.raises(DecodeError, match=r"iteration_list\.2\.result"):
        decode(written_by(avro_schema(), row))


def test_a_container_with_too_many_records_is_refused() -> None:
    record = plain_record(evaluations=1, parameters=0, terms=0)
    with pytest.raises(DecodeError, match="more than 1000"):
        decode(as_avro(*[record] * (MAX_RECORDS_PER_OBJECT + 1)))


def test_a_molecule_whose_formula_is_too_long_for_a_partition_is_refused() -> None:
    symbols = list(SYMBOLS[:50])
    record = changed(plain_record(), "molecule.molecule_data.symbols", symbols)
    record["molecule"]["molecule_data"]["coords"] = [[0.0, 0.0, float(i)] for i in range(len(symbols))]
    with pytest.raises(DecodeError, match="partition key"):
        decode(as_json(record))


@EXAMPLES
@given(records)
def test_a_sink_lands_a_record_under_the_molecule_that_the_ingest_finds(record: VQEDecoratedResult) -> None:
    row = record.model_dump()
    molecule = molecule_of_part(row["molecule"])
    assert molecule == molecule_of_json(record.to_json()) == decode(orjson.dumps(row))[0].molecule


@pytest.mark.parametrize(
    "data",
    [d for _, d, _ in BROKEN if not d.startswith(b"Obj")],
    ids=[title for title, d, _ in BROKEN if not d.startswith(b"Obj")],
)
def test_a_sink_refuses_what_the_ingest_refuses_for_the_same_reason(data: bytes) -> None:
    with pytest.raises(DecodeError) as of_ingest:
        decode(data)
    with pytest.raises(DecodeError) as of_sink:
        molecule_of_json(data)
    assert str(of_sink.value) == str(of_ingest.value)


@pytest.mark.parametrize(
    "part", [None, 1.0, "text", [1], {}, {"molecule_data": None}, {"symbols": ["Qq"], "coords": []}]
)
def test_a_sink_refuses_a_molecule_that_is_none(part: Any) -> None:
    with pytest.raises(DecodeError, match="molecule"):
        molecule_of_part(part)


def in_avro(*rows: Any) -> bytes:
    return written_by(avro_schema(), *rows)


def as_lines(*rows: Any) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


@pytest.mark.parametrize("made", [as_lines, in_avro])
@EXAMPLES
@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_a_record_that_cannot_be_used_takes_none_of_its_neighbours_with_it(made: Any, good: list[bool]) -> None:
    rows = [plain_record(n) | ({} if fine else {"basis_set": "x" * 300}) for n, fine in enumerate(good)]
    data = made(*rows)
    if not any(good):
        with pytest.raises(DecodeError, match="basis_set"):
            decode_usable(data)
        return
    usable, unusable = decode_usable(data)
    assert [item.row["vqe_result"]["initial_data"]["seed"] for item in usable] == [n for n, g in enumerate(good) if g]
    assert len(unusable) == good.count(False)
    assert set(records_of(data)) >= {item.experiment_id for item in usable}
    for one in unusable:
        with pytest.raises(DecodeError) as alone:
            decode(one.document)
        assert one.reason == str(alone.value)


def test_records_of_several_molecules_are_refused_together_even_beside_one_that_cannot_be_used() -> None:
    with pytest.raises(DecodeError):
        decode_usable(as_lines(plain_record(1), plain_record(2, "LiH"), plain_record(3) | {"total_time": "1"}))
