"""Spark on Garage and PostgreSQL: the same tables as in a folder, and no password anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.settings import load_settings
from qpipe_resources.spark.errors import SparkUnavailableError
from qpipe_resources.spark.session import SparkDriver, open_spark
from qpipe_resources.spark.settings import SparkSettings
from tests.integration.conftest import Sandbox
from tests.tables.protocol import land

pytestmark = pytest.mark.spark

SPARK = SparkSettings(master="local[2]", driver_memory="1g", shuffle_partitions=2)


@pytest.fixture
def installation(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Two batches in a bucket."""
    monkeypatch.setenv("QPIPE_ENV", "s3")
    installation = open_installation(load_settings())
    for numbers in ([0, 1], [2]):
        land(installation, numbers)
        installation.ingest().run("H2")
    return installation


@pytest.fixture
def driver(installation: Installation, tmp_path: Path) -> Iterator[SparkDriver]:
    spark = SPARK.model_copy(update={"event_log": tmp_path.as_uri()})
    with open_spark(installation.settings, spark, schemas.NAMESPACE, {"spark.eventLog.compress": "false"}) as driver:
        yield driver


def test_spark_reads_and_compacts_the_tables_of_a_bucket_and_shows_no_secret(
    installation: Installation, driver: SparkDriver, sandbox: Sandbox, tmp_path: Path
) -> None:
    for table in schemas.NORMALIZED_NAMES:
        keys = [(key, "ascending") for key in schemas.table(table).key]
        got = driver.session.table(table).toArrow().sort_by(keys).to_pylist()
        assert got == installation.lakehouse.arrow(table).sort_by(keys).to_pylist(), table
    tag = next(
        ref for ref in installation.lakehouse.load("vqe_results").refs() if not ref.startswith(("main", "v_incr"))
    )
    assert driver.session.sql(f"select * from vqe_results version as of '{tag}'").count() == 2
    raw = driver.session.read.format("binaryFile").option("recursiveFileLookup", "true")
    assert raw.load(f"s3a://{sandbox.raw_bucket}/experiments/").count() == 3

    before = installation.lakehouse.arrow("vqe_results").sort_by("experiment_id").to_pylist()
    compact = "call quantum_catalog.system.rewrite_data_files(table => '{}', options => map('min-input-files', '2'))"
    with driver.unlocked():
        done = driver.session.sql(compact.format(f"{schemas.NAMESPACE}.vqe_results")).first()
    assert (done.rewritten_data_files_count, done.added_data_files_count) == (2, 1)
    assert installation.lakehouse.arrow("vqe_results").sort_by("experiment_id").to_pylist() == before

    secrets = [sandbox.environment[name] for name in ("PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")]
    shown = [
        str(driver.session.sparkContext.getConf().getAll()),
        str(driver.session.sql("set -v").collect()),
        " ".join(psutil.Process(driver.jvm_pid).cmdline()),
        *(file.read_text() for file in tmp_path.rglob("*") if file.is_file() and "event" in file.name),
    ]
    assert len(shown) > 3
    assert not [secret for secret in secrets for text in shown if secret in text]


def test_a_wrong_password_is_a_clear_error_that_does_not_repeat_it(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "wrong-sentinel")
    with pytest.raises(SparkUnavailableError, match="cannot open the catalog") as failure:
        open_spark(installation.settings, SPARK, schemas.NAMESPACE).close()
    assert "wrong-sentinel" not in str(failure.value)
