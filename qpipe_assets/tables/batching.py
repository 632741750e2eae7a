"""Objects in portions of bounded size, for batches and for the tasks of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qpipe_resources.object_layout import AVRO
from qpipe_resources.object_store import ObjectInfo

_AVRO_BYTE = 2.5
"""Bytes of JSON that hold what one of Avro holds; memory goes with what is held."""


def portions(objects: Sequence[ObjectInfo], most_bytes: int, max_object_bytes: int) -> Iterator[list[ObjectInfo]]:
    """Objects in their order, as many at a time as bounded memory can hold, at least one.

    Args:
        objects: As they were listed.
        most_bytes: Of JSON, or what is worth as much.
        max_object_bytes: An object above it is never read, so it weighs no more.
    """
    portion: list[ObjectInfo] = []
    weight = 0.0
    for info in objects:
        more = min(info.size, max_object_bytes) * (_AVRO_BYTE if info.key.endswith(AVRO) else 1)
        if portion and weight + more > most_bytes:
            yield portion
            portion, weight = [], 0
        portion.append(info)
        weight += more
    if portion:
        yield portion
