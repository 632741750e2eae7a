"""Who is told of a run, and what: by the real sensors, of real runs, to a real mail server and webhook."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from jobs.definitions import build_defs
from jobs.launched_again import LAUNCHES_TAG, MOST
from jobs.notify.energies import best_energies
from jobs.notify.secrets import hide_secrets
from jobs.notify.sensors import NOTIFIED_TAG
from qpipe_assets.tables import schemas
from qpipe_assets.tables.ingest import Ingest
from qpipe_resources.deployment import resources_for
from qpipe_resources.notify.settings import NotifySettingsError
from tests.dagster_layer.conftest import Deployment
from tests.notify.servers import Hook, Mailbox, mail_server, webhook
from tests.synthetic import plain_record

FAILURE, SUCCESS = "notify_failure", "notify_success"


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    with mail_server("none") as mailbox:
        monkeypatch.setenv("QPIPE_NOTIFY_EMAIL_TO", "lab@example.com")
        monkeypatch.setenv("QPIPE_SMTP_SECURITY", "none")
        monkeypatch.setenv("QPIPE_SMTP_PORT", str(mailbox.port))
        monkeypatch.setenv("QPIPE_SMTP_HOST", "127.0.0.1")
        yield mailbox


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with webhook() as hook:
        monkeypatch.setenv("QPIPE_NOTIFY_WEBHOOK", hook.url)
        yield hook


def sensor(name: str) -> Any:
    return build_defs().resolve_sensor_def(name)


def tell(deployment: Deployment, name: str, run_id: str) -> str:
    """Evaluate the sensor for a run as the daemon does; what it says."""
    run = deployment.instance.get_run_by_id(run_id)
    assert run is not None
    [event, *_] = [
        entry.dagster_event
        for entry in deployment.instance.all_logs(run_id)
        if entry.dagster_event and entry.dagster_event.is_job_event
    ]
    with dg.build_run_status_sensor_context(
        name, event, deployment.instance, run, resources=dict(resources_for("local"))
    ) as context:
        return sensor(name)(context).skip_message


def text_of(mailbox: Mailbox) -> str:
    [message] = mailbox.messages
    body = message.get_body(("plain",))
    assert body is not None
    return body.get_content()


def test_success_is_told_with_rows_by_table_new_runs_and_best_energies(
    deployment: Deployment, mailbox: Mailbox, hook: Hook
) -> None:
    deployment.drop(1), deployment.drop(2)
    run_id = deployment.run("quantum_feature_processing", "LiH").run_id
    assert "mail: sent; webhook: sent" in tell(deployment, SUCCESS, run_id)
    told, [data] = text_of(mailbox), hook.bodies
    assert mailbox.messages[0]["Subject"] == "qpipe: quantum_feature_processing succeeded (LiH)"
    assert "New runs in the tables: 2." in told
    assert f"http://127.0.0.1:3000/runs/{run_id}" in told
    rows = {name: count for name, count in deployment.rows().items() if count and name in data["rows"]}
    assert data["rows"] == rows and rows["vqe_results"] == 2
    [best] = data["best_energies"]
    query = "select min(total_energy) as best from vqe_results where valid is distinct from false"
    [lowest] = deployment.installation.lakehouse.sql(query, ["vqe_results"]).to_pylist()
    assert (best["molecule"], best["runs"], best["best_ha"]) == ("LiH", 2, pytest.approx(lowest["best"]))
    assert {"exact_ha", "error_mha", "verdict"} <= best.keys()


def test_a_sampled_energy_that_is_low_by_chance_is_not_the_best(deployment: Deployment) -> None:
    sampled = {"valid": True, "total_energy": -7.90, "fci_energy": -7.88, "energy_standard_error": 0.01}
    exact = {"valid": True, "total_energy": -7.87, "fci_energy": -7.88, "energy_standard_error": None}
    sure = sampled | {"energy_standard_error": 0.001}
    for number, energies in enumerate((sampled, exact)):
        deployment.drop(number).write_text(json.dumps(plain_record(number, "LiH") | energies))
    deployment.ingest("LiH")
    [best] = best_energies(deployment.installation, ["LiH"])
    assert (best["best_ha"], best["standard_error_mha"]) == (-7.87, None)
    deployment.drop(2).write_text(json.dumps(plain_record(2, "LiH") | sure))
    deployment.ingest("LiH")
    [best] = best_energies(deployment.installation, ["LiH"])
    assert (best["best_ha"], best["standard_error_mha"]) == (-7.90, 1.0)


def test_a_run_is_told_of_once(deployment: Deployment, mailbox: Mailbox) -> None:
    deployment.drop(1)
    run_id = deployment.run("quantum_feature_processing", "LiH").run_id
    tell(deployment, SUCCESS, run_id)
    assert "was told of before" in tell(deployment, SUCCESS, run_id)
    assert len(mailbox.messages) == 1


def test_a_run_that_is_launched_again_with_the_tags_of_the_first_is_told_of_too(
    deployment: Deployment, mailbox: Mailbox
) -> None:
    first = deployment.instance.add_run(dg.DagsterRun(job_name="maintenance"))
    deployment.instance.report_run_failed(first, "its machine was switched off")
    tell(deployment, FAILURE, first.run_id)
    tags = deployment.instance.get_run_by_id(first.run_id).tags  # type: ignore[union-attr]
    again = deployment.instance.add_run(dg.DagsterRun(job_name="maintenance", tags=dict(tags)))
    deployment.instance.report_run_failed(again, "its machine was switched off")
    tell(deployment, FAILURE, again.run_id)
    assert len(mailbox.messages) == 2


def test_failure_is_told_with_step_reason_remedy_and_link_but_no_secret(
    deployment: Deployment, mailbox: Mailbox, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "pg-s3cret")
    monkeypatch.setenv("MY_SERVICE_TOKEN", "t0ken-s3cret")

    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError(
            "no such column at postgresql://me:url-s3cret@db/x with pg-s3cret and t0ken-s3cret\n" + "line\n" * 50
        )

    monkeypatch.setattr(Ingest, "run", refuse)
    run_id = deployment.run("quantum_feature_processing", "LiH").run_id
    tell(deployment, FAILURE, run_id)
    told, [data] = text_of(mailbox), hook.bodies
    assert "Steps that failed: normalized_tables." in told
    assert "ValueError: no such column at postgresql://***@db/x with *** and ***" in told
    assert "What to do: this was not tried again" in told and "lines more" in told
    assert f"/runs/{run_id}" in told
    assert [error["step"] for error in data["errors"]] == ["normalized_tables"]
    everything = mailbox.messages[0].as_string() + json.dumps(data)
    assert "s3cret" not in everything and hook.url not in everything


def test_attempts_of_a_step_and_launches_that_will_be_repeated_are_not_told(
    deployment: Deployment, mailbox: Mailbox
) -> None:
    run = deployment.instance.add_run(dg.DagsterRun(job_name="vqe_batch_generation"))
    deployment.instance.report_run_failed(run, "the process of this run is gone")
    assert "will be launched again" in tell(deployment, FAILURE, run.run_id)
    tags = {LAUNCHES_TAG: str(MOST)}
    last = deployment.instance.add_run(dg.DagsterRun(job_name="vqe_batch_generation", tags=tags))
    deployment.instance.report_run_failed(last, "the process of this run is gone")
    tell(deployment, FAILURE, last.run_id)
    assert "the process of this run is gone" in text_of(mailbox)
    assert "What to do: the run took too long, did not start, or its process died" in text_of(mailbox)


def test_a_server_that_is_down_neither_fails_the_sensor_nor_is_asked_again(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"EMAIL_TO": "a@example.com", "TIMEOUT": "0.5"}.items():
        monkeypatch.setenv(f"QPIPE_NOTIFY_{name}", value)
    monkeypatch.setenv("QPIPE_SMTP_PORT", "9")
    deployment.drop(1)
    run_id = deployment.run("quantum_feature_processing", "LiH").run_id
    assert "mail: mail by localhost:9 (starttls): ConnectionRefusedError" in tell(deployment, SUCCESS, run_id)
    said = [entry.dagster_event.message for entry in deployment.instance.all_logs(run_id) if entry.dagster_event]
    assert any(message and message.startswith("told of ") for message in said), "the run's own log says it"
    run = deployment.instance.get_run_by_id(run_id)
    assert run is not None and run.is_success and run.tags[NOTIFIED_TAG] == run_id
    assert "was told of before" in tell(deployment, SUCCESS, run_id)


def test_tables_that_cannot_be_asked_do_not_keep_the_success_from_being_told(
    deployment: Deployment, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: Any) -> None:
        raise OSError("the catalog does not answer")

    deployment.drop(1)
    run_id = deployment.run("quantum_feature_processing", "LiH").run_id
    monkeypatch.setattr("jobs.notify.sensors.best_energies", down)
    tell(deployment, SUCCESS, run_id)
    assert "could not be asked for the best energies: OSError: the catalog does not answer" in text_of(mailbox)


def test_a_run_of_the_automation_is_called_by_what_it_makes(deployment: Deployment, mailbox: Mailbox) -> None:
    selected = {dg.AssetKey(name) for name in schemas.ML_NAMES}
    run = dg.DagsterRun(job_name="__ASSET_JOB", asset_selection=selected, tags={"dagster/partition": "LiH"})
    deployment.instance.report_run_failed(deployment.instance.add_run(run), "Exceeded maximum runtime of 6300 seconds.")
    tell(deployment, FAILURE, run.run_id)
    making = "materialization of ml_iteration_features, ml_run_summary"
    assert mailbox.messages[0]["Subject"].strip() == f"qpipe: {making} FAILED (LiH)"
    assert "Exceeded maximum runtime of 6300 seconds." in text_of(mailbox)


@dataclass
class Looks:
    """Looks of notify_failure under settings that change between them; the cursor stays, as it does in the daemon."""

    instance: dg.DagsterInstance
    monkeypatch: pytest.MonkeyPatch
    cursor: str | None = None

    def fail(self, runs: int) -> None:
        for _ in range(runs):
            run = self.instance.add_run(dg.DagsterRun(job_name="maintenance"))
            self.instance.report_run_failed(run, "its machine was switched off")

    def look(self, **settings: str) -> str:
        """What it says after one look."""
        with self.monkeypatch.context() as environment:
            for name, value in settings.items():
                environment.setenv(f"QPIPE_NOTIFY_{name.upper()}", value)
            repository = build_defs().get_repository_def()
            found = repository.get_sensor_def(FAILURE)
            assert found.default_status is dg.DefaultSensorStatus.RUNNING
            done = found.evaluate_tick(
                dg.build_sensor_context(self.instance, self.cursor, repository_def=repository, sensor_name=FAILURE)
            )
        self.cursor = done.cursor
        return done.skip_message or ""


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Looks]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Looks(instance, monkeypatch)


@pytest.mark.parametrize("nobody", [{"webhook": ""}, {"failure": "none"}])
def test_runs_that_end_while_nobody_is_told_are_not_told_later(
    looks: Looks, hook: Hook, nobody: dict[str, str]
) -> None:
    looks.look()
    looks.fail(runs=3)
    assert "nobody is told" in looks.look(**nobody)
    looks.look(), looks.look()
    assert hook.bodies == []
    looks.fail(runs=1)
    looks.look(), looks.look()
    assert [body["job"] for body in hook.bodies] == ["maintenance"]


def test_a_job_that_is_named_later_is_told_of_from_then_on(looks: Looks, hook: Hook) -> None:
    looks.look(failure="landing_sink")
    looks.fail(runs=3)
    looks.look(failure="landing_sink")
    looks.look(), looks.look()
    assert hook.bodies == []


def test_a_name_that_is_no_jobs_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QPIPE_NOTIFY_SUCCESS", "maintenance,daily")
    with pytest.raises(
        NotifySettingsError, match=r"QPIPE_NOTIFY_SUCCESS names daily; expected all, none, or jobs: .*maint"
    ):
        build_defs()


def test_secrets_are_hidden_wherever_they_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QPIPE_SMTP_PASSWORD", "mail s3cret")
    monkeypatch.setenv("QPIPE_SMTP_USER", "qpipe")
    monkeypatch.setenv("QPIPE_CATALOG_URI", "postgresql+psycopg2://qpipe:cat%20s3cret@db/qpipe")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws/s3cret")
    text = "mail s3cret, cat s3cret, aws/s3cret, https://a:b@c/d"
    assert hide_secrets()(text) == "***, ***, ***, https://***@c/d"
