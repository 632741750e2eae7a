"""Adopting a warehouse that Spark has written to Garage through s3a, the catalog on PostgreSQL."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

import pytest

from qpipe_assets.adoption.adoption import Adoption
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.hadoop_warehouse import HadoopWarehouse, NoWarehouseError
from qpipe_resources.settings import load_settings
from tests.crash_worker import LATER
from tests.integration.conftest import Sandbox
from tests.spark import hadoop_warehouse
from tests.tables.protocol import assert_at_rest, content, h2, land, record_bytes, undisturbed

pytestmark = pytest.mark.spark

RECORDS = [json.loads(record_bytes(number)) for number in (0, 1, 2)]


@pytest.fixture
def warehouse(sandbox: Sandbox, tmp_path: Path) -> str:
    """Where two batches of H2 lie, in the bucket of our own tables."""
    location = f"{sandbox.features_bucket}/old/warehouse"
    plan = {"location": f"s3a://{location}", "form": "avro", "batches": [RECORDS[:2], RECORDS[2:]]}
    options = {
        "spark.hadoop.fs.s3a.endpoint": sandbox.environment["QPIPE_S3_ENDPOINT"],
        "spark.hadoop.fs.s3a.endpoint.region": sandbox.environment["QPIPE_S3_REGION"],
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.aws.credentials.provider": (
            "software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider"
        ),
    }
    (tmp_path / "plan.json").write_text(json.dumps({"warehouses": [plan], "options": options}))
    command = [sys.executable, "-m", hadoop_warehouse.__name__, str(tmp_path / "plan.json")]
    more = {"SPARK_LOCAL_IP": "127.0.0.1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        command, cwd=tmp_path, env=sandbox.environment | more, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return location


def adoption(installation: Installation, location: str) -> Adoption:
    return Adoption(installation, HadoopWarehouse.at(location, installation.settings))


def test_a_warehouse_in_a_bucket_is_registered_in_place_and_goes_on_there(warehouse: str) -> None:
    installation = open_installation(load_settings())
    outcome = adoption(installation, f"s3://{warehouse}").register()
    assert (len(outcome.registered), outcome.adopted, outcome.refused) == (10, 3, ())
    assert adoption(installation, f"s3a://{warehouse}/").register().known == 3
    land(installation, range(4))
    assert installation.ingest().run("H2").duplicates == 3
    query = "select count(*) n, count(distinct minimum_energy) energies, count(molecule) ours from vqe_results"
    expected = [{"n": 4, "energies": 4, "ours": 1}]
    assert installation.lakehouse.sql(query, ["vqe_results"]).to_pylist() == expected
    installation.maintenance().run(now=dt.datetime.now(dt.UTC) + LATER)
    assert installation.lakehouse.sql(query, ["vqe_results"]).to_pylist() == expected
    assert installation.lakehouse.load("vqe_results").location() == f"s3a://{warehouse}/quantum_features/vqe_results"


def test_the_runs_of_a_warehouse_in_a_bucket_are_taken_anew(warehouse: str) -> None:
    installation = open_installation(load_settings())
    assert adoption(installation, f"s3://{warehouse}").rewrite().adopted == 3
    assert content(installation) == undisturbed(h2(0, 1, 2))
    assert_at_rest(installation)


def test_a_bucket_without_a_warehouse_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(NoWarehouseError, match="no table in s3://"):
        _ = adoption(open_installation(load_settings()), f"s3://{sandbox.features_bucket}/nothing").found
