"""A real local[2] session for the tests of a module, beside tables that the embedded engine has written."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.spark.session import SparkDriver, open_spark
from qpipe_resources.spark.settings import SparkSettings
from tests.tables.protocol import land, settings_in

HERE = Path(__file__).parent
ENVIRONMENT_SECRET = "sentinel-of-the-environment"
OPTION_SECRET = "sentinel-of-an-option"


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups, also where this folder alone is asked for
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process has the session, so one process runs its tests; who is first waits for its start, too."""
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("spark"):
            item.add_marker(pytest.mark.xdist_group("spark"))
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(900))


@dataclass(frozen=True)
class Running:
    """A session, the installation that it reads, and where it logs."""

    driver: SparkDriver
    installation: Installation
    event_log: Path


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Two batches of H2 and one of LiH, through to the ML tables."""
    installation = open_installation(settings_in(tmp_path_factory.mktemp("spark tables")))
    for numbers, molecule in (([0, 1, 2], "H2"), ([0, 1], "LiH"), ([3], "H2")):
        land(installation, numbers, molecule)
        installation.ingest().run(molecule)
        installation.ml_features().run(molecule)
    return installation


@pytest.fixture(scope="module")
def running(filled: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The session, started with secrets in its environment and in spark-defaults.conf."""
    folder = tmp_path_factory.mktemp("spark")
    (folder / "spark-defaults.conf").write_text(
        f"spark.hadoop.fs.s3a.secret.key {OPTION_SECRET}\n"
        f"spark.qpipe.test.passphrase {OPTION_SECRET}\n"
        f"spark.qpipe.test.visible plain\n"
    )
    (folder / "events").mkdir()
    spark = SparkSettings(
        master="local[2]", driver_memory="1g", shuffle_partitions=3, ui=True, event_log=(folder / "events").as_uri()
    )
    secrets = {"AWS_SECRET_ACCESS_KEY": ENVIRONMENT_SECRET, "PGPASSWORD": ENVIRONMENT_SECRET}
    more = {"spark.ui.port": str(random.randint(20000, 30000)), "spark.eventLog.compress": "false"}
    # Executors would import the project from the folder they start in, whatever is shipped to them.
    with mock.patch.dict(os.environ, {**secrets, "SPARK_CONF_DIR": str(folder)}), contextlib.chdir(folder):
        driver = open_spark(filled.settings, spark, schemas.NAMESPACE, more)
    yield Running(driver, filled, folder / "events")
    driver.close()
