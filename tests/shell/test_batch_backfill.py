"""A part of tier 1 as a backfill of the real daemon, all killed in the middle: it is completed, nothing twice."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.daemon import BIN, Daemon, Shell, dagster_dev, wait_for

pytestmark = [pytest.mark.xdist_group("daemon"), pytest.mark.timeout(600)]

PART = ("--tier", "1", "--molecules", "H2,HeH+", "--seeds", "1..2", "--optimizers", "L-BFGS-B,COBYLA,Powell")
CONFIG = {"tier": 1, "seeds": "1..2", "optimizers": "L-BFGS-B,COBYLA,Powell"}
LAUNCH = """mutation($backfill: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfill) { __typename ... on PythonError { message } }
}"""


def launch(daemon: Daemon) -> None:
    where = {"repositoryName": "__repository__", "repositoryLocationName": "qpipe"}
    backfill = {
        "selector": {"partitionSetName": "vqe_batch_generation_partition_set", "repositorySelector": where},
        "partitionNames": ["H2", "HeH+"],
        "runConfigData": {"ops": {"vqe_runs": {"config": CONFIG}}},
    }
    answer = daemon.graphql(LAUNCH, backfill=backfill)["launchPartitionBackfill"]
    assert answer == {"__typename": "LaunchBackfillSuccess"}


def status(shell: Shell) -> dict[str, Any]:
    printed = shell.run(str(BIN / "qpipe"), "tiers", "status", *PART, "--format", "json").stdout
    whole = json.loads(printed)[-1]
    assert sum(whole[state] for state in ("done", "running", "failed", "pending", "infeasible")) == whole["total"] == 24
    return whole


def objects(home: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in home.glob("raw-results/experiments/**/*.json")}


def test_a_backfill_whose_every_process_is_killed_is_completed_after_the_restart(tmp_path: Path) -> None:
    shell = Shell.with_home(tmp_path / "home", QPIPE_WORKERS="1")
    with dagster_dev(shell) as daemon:
        launch(daemon)
        wait_for(lambda: len(objects(shell.home)) >= 3, "the first results")
        process = psutil.Process(daemon.pid)
        for one in [process, *process.children(recursive=True)]:
            try:
                one.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
    before, killed = objects(shell.home), status(shell)
    assert (killed["done"], killed["running"]) == (len(before), 0)
    with dagster_dev(shell):
        wait_for(lambda: status(shell)["done"] == 24, "the rest", 400)
    after = objects(shell.home)
    assert len(after) == 24
    assert {name: after[name] for name in before} == before
