"""The Spark engine on Garage and PostgreSQL: the embedded engine's tables, begun by one and finished by the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.lakehouse import Lakehouse
from qpipe_resources.settings import load_settings
from qpipe_resources.spark.session import open_spark
from qpipe_resources.spark.settings import SparkSettings
from tests.integration.conftest import Sandbox
from tests.spark.engines import assert_close, on_spark
from tests.tables.protocol import assert_at_rest, content, h2, land, undisturbed
from tests.tables.test_resume import Killed, killed_after

pytestmark = pytest.mark.spark

SPARK = SparkSettings(master="local[2]", driver_memory="1g", shuffle_partitions=2)


@pytest.fixture
def embedded(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Tables in a bucket."""
    monkeypatch.setenv("QPIPE_ENV", "s3")
    monkeypatch.setenv("QPIPE_BATCH_BYTES", "4000")
    return open_installation(load_settings())


@pytest.fixture
def spark(embedded: Installation) -> Iterator[Installation]:
    with open_spark(embedded.settings, SPARK, schemas.NAMESPACE) as driver:
        yield on_spark(embedded, driver)


def test_both_engines_take_turns_on_tables_in_a_bucket_and_finish_what_the_other_began(
    embedded: Installation, spark: Installation, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(spark, range(4))
    spark.ingest().run("H2")
    spark.ml_features().run("H2")
    assert len(embedded.lakehouse.load("vqe_results").snapshots()) == 1
    for number, (first, second) in enumerate([(spark, embedded), (embedded, spark)], start=4):
        land(embedded, [number])
        undo = killed_after(monkeypatch, Lakehouse, "append", 4)
        with pytest.raises(Killed):
            first.ingest().run("H2")
        undo()
        second.ingest().run("H2")
        first.ml_features().run("H2")
    expected = undisturbed(h2(*range(6)), ml=True)
    assert_close(content(embedded, expected), expected)
    assert_at_rest(embedded)
    target = str(embedded.lakehouse.write_target(embedded.lakehouse.load("molecules")))
    secrets = [sandbox.environment[name] for name in ("PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")]
    assert not [secret for secret in secrets if secret in target]
