"""Portions of objects: all of them, in order, none too large unless it is one."""

from __future__ import annotations

import datetime as dt
import itertools

from hypothesis import given
from hypothesis import strategies as st

from qpipe_assets.tables.batching import portions
from qpipe_resources.object_store import ObjectInfo

NOW = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
MOST, MAX = 100, 70


def weight(info: ObjectInfo) -> float:
    return min(info.size, MAX) * (2.5 if info.key.endswith(".avro") else 1)


@given(st.lists(st.tuples(st.integers(0, 200), st.sampled_from([".json", ".avro"]))))
def test_portions_are_all_objects_in_order_and_as_full_as_they_may_be(made: list[tuple[int, str]]) -> None:
    objects = [ObjectInfo(f"{number}{ending}", "e", size, NOW) for number, (size, ending) in enumerate(made)]
    found = list(portions(objects, MOST, MAX))
    assert [info for portion in found for info in portion] == objects
    for portion in found:
        assert len(portion) == 1 or sum(map(weight, portion)) <= MOST
    for portion, following in itertools.pairwise(found):
        assert sum(map(weight, portion)) + weight(following[0]) > MOST
