"""Doctor's questions to a broker: what passes by itself in a moment is no finding."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from qpipe_resources.health import broker


def answers(*codes: int) -> list[KafkaException]:
    return [KafkaException(KafkaError(code)) for code in codes]


def test_a_group_whose_coordinator_is_being_chosen_is_asked_again() -> None:
    refusals = answers(
        KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS
    )

    def ask() -> str:
        if refusals:
            raise refusals.pop(0)
        return "answer"

    assert broker.coordinated(ask) == "answer"


def test_any_other_refusal_is_told_at_once() -> None:
    refusals = answers(KafkaError.GROUP_AUTHORIZATION_FAILED)

    def ask() -> None:
        raise refusals.pop(0)

    with pytest.raises(KafkaException):
        broker.coordinated(ask)
    assert refusals == []


def test_a_coordinator_that_is_never_chosen_is_told_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "ANSWER_SECONDS", 0.3)

    def ask() -> None:
        raise answers(KafkaError.NOT_COORDINATOR)[0]

    with pytest.raises(KafkaException):
        broker.coordinated(ask)
