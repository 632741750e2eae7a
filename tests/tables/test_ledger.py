"""The ledger's changes, done again when their answer was lost."""

from __future__ import annotations

from qpipe_assets.tables.installation import Installation
from qpipe_assets.tables.ledger_tables import Candidate

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


def test_any_number_of_objects_can_be_asked_for(installation: Installation) -> None:
    ledger = installation.ledger
    keys = [f"k{number}" for number in range(1201)]
    ledger.claim("H2", "b1", [Candidate(f"e-{key}", key, "t", "d") for key in keys[:700]])
    for key in keys[700:]:
        ledger.locate(key, "t", "LiH")
    assert ledger.looked_at(keys) == {(key, "t") for key in keys[:700]}
    assert ledger.located(keys) == {(key, "t"): "LiH" for key in keys[700:]}
    assert ledger.looked_at([]) == set()
