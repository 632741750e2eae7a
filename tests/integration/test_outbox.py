"""The outbox on the real services: what was sent is not lost with the broker, and is known when it has arrived."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic

from qpipe_assets.tables.installation import open_installation
from qpipe_resources.outbox import open_outbox
from qpipe_resources.settings import load_settings
from tests.integration.conftest import MAX_MESSAGE_BYTES, Sandbox
from tests.integration.fault_commands import IMPATIENT, Operator

SIMULATE = ("simulate", "-m", "H2")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def operator(sandbox: Sandbox, tmp_path: Path) -> Operator:
    return Operator({**sandbox.environment, **IMPATIENT}, tmp_path)


def ingested() -> int:
    installation = open_installation()
    installation.ingest().run("H2")
    return installation.lakehouse.arrow("vqe_results").num_rows


def sent() -> int:
    return len(open_outbox(load_settings()).sent())


def test_a_broker_that_loses_its_messages_costs_a_replay(sandbox: Sandbox, operator: Operator) -> None:
    operator.does(*SIMULATE)
    admin = sandbox.admin()
    for future in admin.delete_topics([sandbox.topic]).values():
        future.result(30)
    topic = NewTopic(sandbox.topic, 3, 1, config={"max.message.bytes": str(MAX_MESSAGE_BYTES)})
    for future in admin.create_topics([topic]).values():
        future.result(30)
    operator.does("sink", "--once")
    assert (ingested(), sent()) == (0, 1)
    operator.does("replay", "--sent")
    operator.does("sink", "--once")
    assert (ingested(), sent()) == (1, 1)
    operator.does("replay", "--sent")
    assert sent() == 0
    operator.does("sink", "--once")
    assert ingested() == 1


def test_a_record_that_only_ledger_and_bucket_know_is_not_computed_again(operator: Operator) -> None:
    operator.does(*SIMULATE)
    operator.does("sink", "--once")
    assert ingested() == 1
    shutil.rmtree(load_settings().outbox)
    operator.does(*SIMULATE).names("already computed")
    assert sent() == 0
