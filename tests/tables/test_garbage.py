"""The pace of the garbage collector: rarer inside, as it was outside, whatever happens inside."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from qpipe_assets.tables.garbage import rare_collections


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_collections_are_rarer_inside_and_as_before_after() -> None:
    with rare_collections():
        assert gc.get_threshold() == (50_000, 2, 2)
    assert gc.get_threshold() == (700, 10, 10)


def test_an_error_inside_restores_the_pace() -> None:
    with pytest.raises(KeyError), rare_collections():
        raise KeyError
    assert gc.get_threshold() == (700, 10, 10)


def test_it_lasts_until_the_last_thread_has_left() -> None:
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with rare_collections():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with rare_collections():
        thread.start()
        entered.wait(10)
    assert gc.get_threshold()[0] == 50_000
    leave.set()
    thread.join(10)
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("own", [0, 500_000])
def test_a_program_that_has_a_rarer_pace_keeps_it(own: int) -> None:
    gc.set_threshold(own, 10, 10)
    with rare_collections():
        assert gc.get_threshold()[0] == own
    assert gc.get_threshold()[0] == own
