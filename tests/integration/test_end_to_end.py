"""The demo's campaign through VQE, Kafka, sink, Garage, sensor, nine tables and ML tables equals the folder run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_cli.demo import MOLECULES
from qpipe_resources.settings import Settings
from tests.daemon import BIN, Shell, dagster_dev
from tests.integration.conftest import Sandbox
from tests.integration.fault_comparison import OF_THE_BATCH, OF_THE_CLOCK, OF_THE_RUN, assert_same_rows
from tests.integration.fault_schedule import ProcessVictim

QPIPE = str(BIN / "qpipe")
TABLES = (*schemas.NORMALIZED_NAMES, *schemas.ML_NAMES)
NOT_COMPARED = OF_THE_BATCH | OF_THE_CLOCK | OF_THE_RUN

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The campaign in a folder, without broker and services."""
    home = tmp_path_factory.mktemp("folder")
    Shell.with_home(home, QPIPE_ENV="local").run(QPIPE, "demo")
    return open_installation(Settings(home=home, dagster_home=home / "dagster"))


def test_a_backfill_of_the_campaign_goes_through_sink_and_sensor_into_the_same_rows(
    sandbox: Sandbox, folder: Installation, tmp_path: Path
) -> None:
    shell = Shell.with_home(sandbox.home, **sandbox.environment)
    sink = ProcessVictim("sink", [QPIPE, "sink"], shell.environment, tmp_path / "sink.log")
    with dagster_dev(shell) as daemon:
        shell.run(
            *("dagster", "job", "backfill", "-w", "workspace.yaml", "-j", "vqe_experiment"),
            *("--partitions", ",".join(MOLECULES), "--noprompt"),
        )
        daemon.wait_for_runs(lambda run: "dagster/backfill" in run["tags"], count=len(MOLECULES))
        # Only now, so that the runs of the campaign find no object, and what is in the tables came by the sensor.
        sink.start()
        try:
            runs = daemon.wait_for_runs(_of_the_sensor, count=len(MOLECULES))
        finally:
            code = sink.end()
    assert {run["tags"]["dagster/partition"] for run in runs} == set(MOLECULES)
    assert code == 0, sink.tail()
    counts = assert_same_rows(open_installation(), folder, TABLES, NOT_COMPARED)
    assert counts["vqe_results"] == counts["ml_run_summary"] == len(MOLECULES)
    _assert_one_object_a_run(sandbox)


def test_the_demo_on_the_services_needs_no_daemon_and_computes_nothing_twice(
    sandbox: Sandbox, folder: Installation
) -> None:
    shell = Shell.with_home(sandbox.home, **sandbox.environment)
    first = shell.run(QPIPE, "demo").stderr
    assert first.count("1 computed, 0 already there") == len(MOLECULES), first
    again = shell.run(QPIPE, "demo").stderr
    assert again.count("0 computed, 1 already there") == len(MOLECULES), again
    assert_same_rows(open_installation(), folder, TABLES, NOT_COMPARED)
    _assert_one_object_a_run(sandbox)


def _of_the_sensor(run: dict[str, Any]) -> bool:
    return run["jobName"] == "molecule_processing" and run["tags"].get("dagster/sensor_name") == "new_objects"


def _assert_one_object_a_run(sandbox: Sandbox) -> None:
    objects = [info.key for info in open_installation().store.list_objects("experiments/")]
    assert len(objects) == len(MOLECULES), objects
    assert all(f"/{sandbox.topic}+" in key for key in objects), objects
