"""The real daemon tells of one success and of one failure: a mail each, and no more.

A `dagster dev` of its own: who is told is in the environment of its code server.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, Shell, dagster_dev, wait_for
from tests.notify.servers import mail_server, webhook
from tests.synthetic import plain_record

pytestmark = [pytest.mark.xdist_group("daemon"), pytest.mark.timeout(900)]

SENSORS = ("notify_success", "notify_failure")
TICKS = """query($name: String!) { sensorOrError(sensorSelector: {repositoryName: "__repository__",
  repositoryLocationName: "qpipe", sensorName: $name}) {
  ... on Sensor { sensorState { ticks(limit: 5) { id status } } } } }"""
LAUNCH = """mutation($parameters: ExecutionParams!) { launchRun(executionParams: $parameters) {
  __typename ... on PythonError { message } ... on RunConfigValidationInvalid { errors { message } } } }"""


def looks(daemon: Daemon, sensor: str) -> set[str]:
    """Identities of the sensor's latest looks."""
    ticks = daemon.graphql(TICKS, name=sensor)["sensorOrError"]["sensorState"]["ticks"]
    return {tick["id"] for tick in ticks}


def look_again(daemon: Daemon) -> None:
    """Wait until both sensors have looked once more from beginning to end: the first of two may be going on already."""
    before = {sensor: looks(daemon, sensor) for sensor in SENSORS}
    for sensor, seen in before.items():
        wait_for(lambda sensor=sensor, seen=seen: len(looks(daemon, sensor) - seen) >= 2, f"another look of {sensor}")  # type: ignore[misc]


def launch(daemon: Daemon, job: str, config: dict[str, Any]) -> None:
    where = {"repositoryName": "__repository__", "repositoryLocationName": "qpipe", "pipelineName": job}
    parameters = {"selector": where, "mode": "default", "runConfigData": config}
    assert daemon.graphql(LAUNCH, parameters=parameters)["launchRun"]["__typename"] == "LaunchRunSuccess"


def test_one_run_that_succeeds_and_one_that_fails_are_a_mail_each(tmp_path: Path) -> None:
    with mail_server("none") as mailbox, webhook() as hook:
        shell = Shell.with_home(
            tmp_path / "home",
            QPIPE_NOTIFY_EMAIL_TO="lab@example.com",
            QPIPE_NOTIFY_SUCCESS="molecule_processing",
            QPIPE_NOTIFY_WEBHOOK=hook.url,
            QPIPE_SMTP_HOST="127.0.0.1",
            QPIPE_SMTP_PORT=str(mailbox.port),
            QPIPE_SMTP_SECURITY="none",
        )
        with dagster_dev(shell) as daemon:
            for sensor in SENSORS:
                wait_for(lambda sensor=sensor: looks(daemon, sensor), f"the first look of {sensor}")  # type: ignore[misc]
            folder = shell.home / "raw-results/experiments/experiment.vqe"
            folder.mkdir(parents=True)
            (folder / "1-LiH.json").write_text(json.dumps(plain_record(1, "LiH")))
            launch(daemon, "maintenance", {"ops": {"table_maintenance": {"config": {"tables": ["no_such_table"]}}}})
            wait_for(lambda: len(mailbox.messages) >= 2, "both mails", 240)
            look_again(daemon)
    subjects = sorted(message["Subject"] for message in mailbox.messages)
    assert subjects == [
        "qpipe: maintenance FAILED (no molecule in particular)",
        "qpipe: molecule_processing succeeded (LiH)",
    ]
    assert sorted(body["kind"] for body in hook.bodies) == ["failure", "success"]
    told = {body["kind"]: body for body in hook.bodies}
    assert told["success"]["new_runs"] == 1 and told["success"]["best_energies"][0]["molecule"] == "LiH"
    assert "no_such_table" in told["failure"]["details"]
