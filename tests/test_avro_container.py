"""Container files around encoded records, against fastavro as the other reader and writer."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpipe_resources.avro_container import container, cut

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Outer",
    "namespace": "of.tests",
    "fields": [
        {"name": "text", "type": "string"},
        {"name": "maybe", "type": ["null", "double"], "default": None},
        {
            "name": "inner",
            "type": {
                "type": "array",
                "items": {"type": "record", "name": "Inner", "fields": [{"name": "raw", "type": "bytes"}]},
            },
        },
        {"name": "again", "type": ["null", "Inner"]},
    ],
}
PARSED = fastavro.parse_schema(SCHEMA)
inner = st.fixed_dictionaries({"raw": st.binary(max_size=200)})
rows = st.fixed_dictionaries(
    {
        "text": st.text(max_size=80),
        "maybe": st.none() | st.floats(allow_nan=False),
        "inner": st.lists(inner, max_size=5),
        "again": st.none() | inner,
    }
)


def encoded(row: Any) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, PARSED, row)
    return stream.getvalue()


def read(data: bytes) -> list[Any]:
    return list(fastavro.reader(io.BytesIO(data)))


@given(st.lists(rows, min_size=1, max_size=12))
def test_what_is_put_together_is_read_by_others_and_cut_apart_again(several: list[Any]) -> None:
    records = [encoded(row) for row in several]
    data = container(json.dumps(SCHEMA), records)
    assert data == container(json.dumps(SCHEMA), records)
    assert read(data) == several
    assert cut(data) == [container(json.dumps(SCHEMA), [record]) for record in records]


@given(st.lists(rows, min_size=1, max_size=12), st.sampled_from(["null", "deflate", "bzip2"]), st.integers(1, 400))
def test_containers_of_others_are_cut_whatever_their_codec_and_blocks(
    several: list[Any], codec: str, block: int
) -> None:
    stream = io.BytesIO()
    fastavro.writer(stream, PARSED, several, codec=codec, sync_interval=block)
    assert [read(single) for single in cut(stream.getvalue())] == [[row] for row in several]


@given(rows, st.data())
def test_a_container_cut_short_gives_no_half_a_record(row: Any, data: st.DataObject) -> None:
    whole = container(json.dumps(SCHEMA), [encoded(row)])
    end = data.draw(st.integers(0, len(whole) - 1))
    try:
        assert cut(whole[:end]) == []  # where its only block would begin
    except ValueError as error:
        assert "damaged" in str(error)


def test_what_follows_the_last_record_of_a_block_is_damage() -> None:
    record = encoded({"text": "", "maybe": None, "inner": [], "again": None})
    with pytest.raises(ValueError, match="1 bytes follow the last record"):
        cut(container(json.dumps(SCHEMA), [record + b"x"]))
