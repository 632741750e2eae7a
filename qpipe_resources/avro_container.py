"""Avro container files around records that are encoded already: put together and cut apart without decoding a field.

See "Object Container Files" in the Avro specification.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

MAGIC = b"Obj\x01"
_SYNC_BYTES = 16


@dataclass(frozen=True)
class EncodedRecord:
    """A record as its writer encoded it, with that schema (JSON); of its fields `molecule` alone is decoded."""

    schema: str
    data: bytes
    molecule: Any


def container(schema: str, records: Sequence[bytes]) -> bytes:
    """Records as a container file; the same records always give the same bytes.

    Args:
        schema: The schema that all of them were encoded by, as JSON.
        records: Each in Avro's binary encoding.
    """
    body = b"".join(records)
    # A reader looks for the marker between blocks only, so any bytes will do; the same for the same content.
    sync = hashlib.sha256(body).digest()[:_SYNC_BYTES]
    metadata = {"avro.schema": schema.encode(), "avro.codec": b"null"}
    header = b"".join(_with_length(key.encode()) + _with_length(value) for key, value in metadata.items())
    return b"".join(
        [MAGIC, _long(len(metadata)), header, _long(0), sync, _long(len(records)), _with_length(body), sync]
    )


def cut(data: bytes) -> list[bytes]:
    """Each record of a container file as a container of its own.

    Raises:
        ValueError: the file is damaged so that its records cannot be told apart.
    """
    import fastavro

    try:
        blocks: Any = fastavro.block_reader(io.BytesIO(data))
        schema = blocks.writer_schema
        written = blocks.metadata["avro.schema"]
        return [
            container(written, [record])
            for block in blocks
            for record in _records(block.bytes_.getvalue(), block.num_records, schema)
        ]
    # fastavro has no common base for what damaged bytes raise (struct, zlib, EOF, index and value errors).
    except Exception as error:
        raise ValueError(f"damaged Avro container: {type(error).__name__}: {error}") from error


def with_fields(schema: Any, names: Container[str]) -> Any:
    """A record's schema with some of its fields: read by it, a record's other fields are skipped unread."""
    named = {name: value for name, value in schema.items() if name in ("type", "name", "namespace")}
    return named | {"fields": [field for field in schema["fields"] if field["name"] in names]}


def _records(block: bytes, count: int, schema: Any) -> list[bytes]:
    import fastavro

    nothing = fastavro.parse_schema(with_fields(schema, ()))
    stream, found = io.BytesIO(block), []
    for _ in range(count):
        begin = stream.tell()
        fastavro.schemaless_reader(stream, schema, nothing)
        found.append(block[begin : stream.tell()])
    if rest := len(block) - stream.tell():
        raise ValueError(f"{rest} bytes follow the last record of a block")
    return found


def _with_length(value: bytes) -> bytes:
    return _long(len(value)) + value


def _long(value: int) -> bytes:
    """A number that is not negative, in Avro's zig-zag encoding of variable length."""
    rest, encoded = value << 1, bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)
