"""The asset vqe_runs where records leave by messages: nothing is computed twice or lost on the way to the tables."""

from __future__ import annotations

import os
from typing import Any

import pytest

from jobs.definitions import build_defs
from qpipe_resources.delivery import Delivery, DeliveryError
from qpipe_resources.deployment import DeliveryResource, SimulationWorkers
from qpipe_resources.object_store import FolderObjectStore, ObjectStore
from qpipe_resources.outbox import open_outbox
from simulation.identity import experiment_id
from simulation.molecules import catalogue
from simulation.options import VQEOptions
from simulation.record import VQEDecoratedResult
from simulation.runner import checkpoint_path
from tests.dagster_layer.conftest import Deployment
from tests.dagster_layer.fake_simulation import fake_workers_class
from tests.dagster_layer.test_scan_chains import SCAN
from tests.dagster_layer.test_vqe_runs import JOB, campaign, failure, metadata
from tests.outbox_worker import FolderBroker, make_record, messages


class Recovering(FolderBroker):
    """A broker that answers after some refusals."""

    refusals = 0

    def deliver(self, molecule: str, record: VQEDecoratedResult) -> str:
        if self.refusals:
            self.refusals -= 1
            raise DeliveryError("the Kafka broker at localhost:9092 does not answer: start it")
        return super().deliver(molecule, record)


class Messages(DeliveryResource):
    """A broker whose sink is instantaneous, or does nothing while `held` is set, or that is down, or was at first."""

    down: bool = False
    refusals: int = 0
    held: str = ""

    def open(self, store: ObjectStore) -> Delivery:
        """See DeliveryResource."""
        assert isinstance(store, FolderObjectStore)
        broker = Recovering(FolderObjectStore(store.root.parent / self.held) if self.held else store, down=self.down)
        broker.refusals = self.refusals
        return broker


def through(deployment: Deployment, *, real: bool = False, **state: Any) -> Deployment:
    """The deployment with records leaving by messages."""
    workers = SimulationWorkers() if real else fake_workers_class()()
    definitions = build_defs({"simulation_workers": workers, "delivery": Messages(**state)})
    return Deployment(deployment.instance, definitions, deployment.settings)


def outbox(deployment: Deployment, folder: str) -> list[str]:
    return sorted(path.stem for path in (open_outbox(deployment.settings).root / folder).glob("*/*.json"))


def test_a_campaign_goes_by_messages_into_the_tables_and_the_ui_says_where_each_record_went(
    deployment: Deployment,
) -> None:
    result = through(deployment).run(JOB, "H2", campaign(1, 2))
    assert result.success
    assert [row["where"] for row in metadata(result)["runs"]] == ["experiment.vqe+0+0", "experiment.vqe+0+1"]
    assert deployment.rows()["vqe_results"] == 2
    assert outbox(deployment, "sent") == [], "the ingest behind the campaign has forgotten what it claimed"
    again = through(deployment).run(JOB, "H2", campaign(1, 2, 3))
    assert (metadata(again)["computed"], metadata(again)["skipped"]) == (1, 2)
    assert deployment.rows()["vqe_results"] == 3


def test_what_is_on_its_way_is_not_computed_again(deployment: Deployment) -> None:
    assert metadata(through(deployment, held="elsewhere").run(JOB, "H2", campaign(1, 2)))["computed"] == 2
    assert messages(deployment.settings.home) == []
    again = metadata(through(deployment, held="elsewhere").run(JOB, "H2", campaign(1, 2, report=True)))
    assert (again["computed"], again["skipped"]) == (0, 2)
    assert [path.rsplit("/", 1)[-1] for path in again["reports"].splitlines()] == ["H2.html", "H2.pdf"]


def test_a_broker_that_is_down_costs_no_result_and_the_next_campaign_delivers_first(deployment: Deployment) -> None:
    refused = through(deployment, down=True).run(JOB, "H2", campaign(1, 2))
    described = failure(refused).user_failure_data.description
    assert "2 of 2 runs of H2 failed" in described
    assert "Kafka broker at localhost:9092 does not answer" in described and "`qpipe replay`" in described
    waiting = outbox(deployment, "undelivered")
    assert len(waiting) == 2
    still = through(deployment, down=True).run(JOB, "H2", campaign(1, 2, 3))
    described = failure(still).user_failure_data.description
    assert "1 of 1 runs of H2 failed" in described
    assert "2 records of earlier runs of H2 wait for their delivery" in described
    result = through(deployment).run(JOB, "H2", campaign(1, 2, 3))
    assert (metadata(result)["computed"], metadata(result)["skipped"]) == (0, 3)
    assert outbox(deployment, "undelivered") == []
    assert len(messages(deployment.settings.home)) == 3
    assert deployment.rows()["vqe_results"] == 3


def test_a_broker_that_comes_back_during_the_campaign_ends_it_with_everything_delivered(
    deployment: Deployment,
) -> None:
    result = through(deployment, refusals=3).run(JOB, "H2", campaign(1, 2, 3, 4, 5))
    assert result.success
    found = metadata(result)
    assert (found["computed"], found["failed"], found["waiting"]) == (5, 0, 0)
    assert sorted(row["where"] for row in found["runs"]) == [f"experiment.vqe+0+{offset}" for offset in range(5)]
    assert outbox(deployment, "undelivered") == []
    assert deployment.rows()["vqe_results"] == 5


def test_records_that_should_have_arrived_long_ago_are_told_in_the_run(deployment: Deployment) -> None:
    box = open_outbox(deployment.settings)
    file = box.keep("H2", make_record(1, "H2"))
    box.settle(file, immediate=False)
    [sent] = box.sent()
    os.utime(sent.path, (0, 0))
    result = through(deployment).run(JOB, "H2", campaign(1))
    told = [entry.user_message for entry in deployment.instance.all_logs(result.run_id)]
    assert sum("1 records of H2 were sent more than 7 days ago" in line for line in told) == 2, "campaign and ingest"
    assert outbox(deployment, "sent") == [file.experiment]


@pytest.mark.parametrize("broken", [False, True])
def test_a_checkpoint_goes_when_the_outbox_has_the_record_and_stays_when_nothing_has(
    deployment: Deployment, broken: bool
) -> None:
    options = VQEOptions(ansatz="EfficientSU2", init_strategy="random", seed=1).resolved()
    checkpoint = checkpoint_path(deployment.settings.checkpoints, experiment_id(catalogue()["H2"], options))
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"evaluations")
    if broken:
        folder = open_outbox(deployment.settings).root
        folder.mkdir(parents=True)
        (folder / "locks").write_text("a file, where a folder should be")
    refused = through(deployment, down=True).run(JOB, "H2", campaign(1))
    described = failure(refused).user_failure_data.description
    assert "Kafka broker at localhost:9092 does not answer" in described
    assert checkpoint.exists() is broken
    assert ("checkpoint stays" in described) is broken


def test_a_scan_goes_on_from_points_that_came_by_messages(deployment: Deployment) -> None:
    short: dict[str, Any] = {"vqe_runs": {"scan": SCAN | {"points": 2}}}
    assert through(deployment, real=True).run(JOB, "H2", short).success
    assert deployment.rows()["vqe_results"] == 2
    asked = {"vqe_runs": {"scan": SCAN | {"stop": 1.8, "points": 3}}}
    result = through(deployment, real=True).run(JOB, "H2", asked)
    assert result.success
    assert (metadata(result)["computed"], metadata(result)["skipped"]) == (1, 2)
    assert outbox(deployment, "sent") == []
    assert deployment.rows()["vqe_results"] == 3
