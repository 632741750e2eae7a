"""The ledger's changes, done again when their answer was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import psycopg2
import pytest
import sqlalchemy as sa

from qpipe_assets.tables.installation import Installation
from qpipe_assets.tables.ledger import Ledger
from qpipe_assets.tables.ledger_tables import Candidate

LIMIT = 1024
FIRST = [Candidate("e1", "k1", "t", "d"), Candidate("e2", "k2", "t", "d")]


def test_a_claim_that_is_done_again_is_the_same_claim(installation: Installation) -> None:
    ledger = installation.ledger
    first = ledger.claim("H2", "b1", FIRST)
    again = ledger.claim("H2", "b1", FIRST)
    assert again == first and first.experiments == 2
    assert len(ledger.open_batches("H2")) == 1 and ledger.batch_experiments("b1") == {"e1", "e2"}


def test_a_claim_of_what_another_batch_has_claimed_stays_empty_however_often(installation: Installation) -> None:
    ledger = installation.ledger
    ledger.claim("H2", "b1", FIRST)
    for _ in range(2):
        assert ledger.claim("H2", "b2", FIRST).batch is None


def test_a_rebuild_that_is_asked_for_again_is_the_same_rebuild(installation: Installation) -> None:
    ledger = installation.ledger
    rebuild = ledger.request_rebuild("H2")
    assert ledger.request_rebuild("H2") == rebuild
    for _ in range(2):
        ledger.finish_rebuild(rebuild, "H2")
        assert ledger.open_rebuild("H2") is None


def lose_the_next_answer(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Let the answer to the next commit be lost; `meanwhile` is what others do before it is tried again."""
    engine = ledger._engine
    broken = sa.exc.OperationalError("commit", {}, psycopg2.OperationalError("gone"), connection_invalidated=True)

    @contextmanager
    def lossy() -> Iterator[sa.Connection]:
        monkeypatch.setattr(breaking, "begin", engine.begin)
        with engine.begin() as connection:
            yield connection
        meanwhile()
        raise broken

    breaking = SimpleNamespace(begin=lossy, dialect=engine.dialect, execution_options=engine.execution_options)
    monkeypatch.setattr(ledger, "_engine", breaking)


def test_a_rebuild_whose_answer_is_lost_and_that_others_finish_is_asked_for_once(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, other = installation.ledger, Ledger(installation.lakehouse.engine)

    def finish_and_go_on() -> None:
        rebuild = other.open_rebuild("H2")
        assert rebuild is not None
        other.finish_rebuild(rebuild, "H2")
        other.claim("H2", "b1", FIRST)

    lose_the_next_answer(monkeypatch, ledger, finish_and_go_on)
    ledger.request_rebuild("H2")
    assert ledger.open_rebuild("H2") is None
    assert ledger.batch_state("b1") == "open", "a batch of after the rebuild is not withdrawn"


def test_a_claim_whose_answer_is_lost_still_tells_of_contents_that_differ(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = installation.ledger
    ledger.claim("H2", "b1", FIRST)
    lose_the_next_answer(monkeypatch, ledger)
    claim = ledger.claim("H2", "b2", [Candidate("e1", "k3", "t", "other"), Candidate("e3", "k4", "t", "d")])
    assert (claim.experiments, claim.duplicates, claim.conflicting) == (1, 1, ("e1 in k3",))


def test_any_number_of_objects_can_be_asked_for(installation: Installation) -> None:
    ledger = installation.ledger
    keys = [f"k{number}" for number in range(1201)]
    ledger.claim("H2", "b1", [Candidate(f"e-{key}", key, "t", "d") for key in keys[:700]])
    for key in keys[700:]:
        ledger.locate(key, "t", "LiH")
    assert ledger.looked_at(keys, LIMIT) == {(key, "t") for key in keys[:700]}
    assert ledger.located(keys) == {(key, "t"): "LiH" for key in keys[700:]}
    assert ledger.looked_at([], LIMIT) == set()
