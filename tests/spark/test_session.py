"""A real Spark session: what it sees of our catalog, what it hides, whose code it runs, and how it ends."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pyarrow as pa
import pytest

from qpipe_assets.tables import schemas
from qpipe_resources.lakehouse_reads import CATALOG
from qpipe_resources.spark.errors import SparkRefusedError
from qpipe_resources.spark.session import open_spark
from qpipe_resources.spark.settings import SparkSettings
from tests.spark.conftest import ENVIRONMENT_SECRET, OPTION_SECRET, Running
from tests.tables.protocol import land

pytestmark = pytest.mark.spark

PATIENCE = 120.0


def rows(table: pa.Table, name: str) -> list[dict[str, Any]]:
    return table.sort_by([(key, "ascending") for key in schemas.table(name).key]).to_pylist()


# The catalog


@pytest.mark.parametrize("table", schemas.ALL, ids=lambda table: table.name)
def test_spark_reads_the_rows_that_the_embedded_engine_wrote(running: Running, table: Any) -> None:
    name = table.name
    expected = rows(running.installation.lakehouse.arrow(name), name)
    assert expected
    assert rows(running.driver.session.table(name).toArrow(), name) == expected


def test_a_table_answers_to_its_full_name_too(running: Running) -> None:
    assert running.driver.session.table(f"{CATALOG}.{schemas.NAMESPACE}.vqe_results").count() == 6


def test_spark_travels_to_the_tags_of_the_embedded_engine(running: Running) -> None:
    lakehouse = running.installation.lakehouse
    tags = [ref for ref in lakehouse.load("vqe_results").refs() if ref != "main"]
    assert len(tags) >= 3
    for tag in tags:
        expected = rows(lakehouse.arrow("vqe_results", as_of=tag), "vqe_results")
        got = running.driver.session.sql(f"select * from vqe_results version as of '{tag}'").toArrow()
        assert rows(got, "vqe_results") == expected


def test_a_commit_of_the_embedded_engine_is_seen_at_once(running: Running) -> None:
    count = "select count(*) from molecules where molecule = 'HeH+'"
    assert running.driver.session.sql(count).first()[0] == 0
    land(running.installation, [0], "HeH+")
    running.installation.ingest().run("HeH+")
    try:
        assert running.driver.session.sql(count).first()[0] == 1
    finally:
        for table in schemas.NORMALIZED_NAMES:
            running.installation.lakehouse.delete_molecule(table, "HeH+", "cleanup", lambda: True)


@pytest.mark.parametrize("name", schemas.ML_NAMES)
def test_the_sql_of_the_ml_tables_gives_on_spark_what_it_gives_on_duckdb(running: Running, name: str) -> None:
    text = (resources.files("qpipe_assets.tables") / f"{name}.sql").read_text(encoding="utf-8")
    got = rows(running.driver.session.sql(text).toArrow(), name)
    expected = rows(running.installation.lakehouse.arrow(name), name)
    assert len(got) == len(expected) > 0
    for mine, theirs in zip(got, expected, strict=True):
        for column, value in theirs.items():
            if isinstance(value, float):
                assert math.isclose(mine[column], value, rel_tol=1e-9, abs_tol=1e-12), column
            else:
                assert mine[column] == value, column


# The settings


def test_the_session_has_the_settings(running: Running) -> None:
    conf = running.driver.session.conf
    assert conf.get("spark.sql.shuffle.partitions") == "3"
    assert conf.get("spark.sql.adaptive.enabled") == "true"
    assert conf.get("spark.sql.session.timeZone") == "UTC"
    assert running.driver.session.sparkContext.defaultParallelism == 2
    assert running.driver.session.sparkContext.getConf().get("spark.driver.memory") == "1g"


def test_a_local_session_listens_on_the_loopback_interface_only(running: Running) -> None:
    jvm = psutil.Process(running.driver.jvm_pid)
    listening = {c.laddr.ip for c in jvm.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_second_session_in_the_process_is_refused_and_the_first_one_stays(running: Running) -> None:
    with pytest.raises(SparkRefusedError, match="close it first"):
        open_spark(running.installation.settings, SparkSettings(master="local[1]"), schemas.NAMESPACE)
    assert running.driver.session.range(3).count() == 3


# The project's code on executors


def test_executors_run_the_shipped_packages(running: Running) -> None:
    def where(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import qpipe_assets.tables.flatten
        import qpipe_resources.serialization
        import simulation.record

        modules = (qpipe_assets.tables.flatten, qpipe_resources.serialization, simulation.record)
        text = (resources.files("qpipe_assets.tables") / "ml_run_summary.sql").read_text(encoding="utf-8")
        for _ in batches:
            yield pa.RecordBatch.from_pylist([{"file": str(module.__file__), "sql": text} for module in modules])

    found = running.driver.session.range(1).mapInArrow(where, "file string, sql string").collect()
    assert len(found) >= 3
    assert all("qpipe_packages.zip" in row.file for row in found), found
    expected = (resources.files("qpipe_assets.tables") / "ml_run_summary.sql").read_text(encoding="utf-8")
    assert {row.sql for row in found} == {expected}


def test_executors_run_this_python(running: Running) -> None:
    def which(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            yield pa.RecordBatch.from_pylist([{"python": sys.executable}])

    assert running.driver.session.range(1).mapInArrow(which, "python string").first()[0] == sys.executable


# Secrets


def test_no_secret_is_in_what_spark_shows(running: Running) -> None:
    session = running.driver.session
    session.sql("select count(*) from vqe_results").collect()
    address = f"{session.sparkContext.uiWebUrl}"
    application = session.sparkContext.applicationId
    shown = {
        "page": _fetch(f"{address}/environment/"),
        "api": _fetch(f"{address}/api/v1/applications/{application}/environment"),
        "sql api": _fetch(f"{address}/api/v1/applications/{application}/sql?details=true"),
        "event log": "".join(file.read_text() for file in running.event_log.rglob("*") if file.is_file()),
        "SET": "\n".join(str(row) for row in session.sql("set").collect()),
        "SET -v": "\n".join(str(row) for row in session.sql("set -v").collect()),
        "command line": " ".join(psutil.Process(running.driver.jvm_pid).cmdline()),
    }
    for place, text in shown.items():
        assert ENVIRONMENT_SECRET not in text, place
        assert OPTION_SECRET not in text, place
    # It is redacted, not absent; and nothing else is.
    for place in ("page", "api", "event log"):
        assert "spark.qpipe.test.passphrase" in shown[place], place
        assert "spark.qpipe.test.visible" in shown[place] and "plain" in shown[place], place


def test_no_secret_of_the_environment_is_in_the_options(running: Running) -> None:
    options = json.dumps(running.driver.session.sparkContext.getConf().getAll())
    assert ENVIRONMENT_SECRET not in options


# The end


OPENER = """
import sys, time
from pathlib import Path
import pyarrow as pa
from qpipe_resources.settings import Settings
from qpipe_resources.spark.session import open_spark
from qpipe_resources.spark.settings import SparkSettings

def wait(batches):
    for batch in batches:
        Path(FOLDER, "works").touch()
        time.sleep(600)
        yield batch

if __name__ == "__main__":
    home, FOLDER = Path(sys.argv[1]), sys.argv[2]
    settings = Settings(home=home, dagster_home=home.parent / "dagster")
    spark = SparkSettings(master="local[1]", driver_memory="512m")
    driver = open_spark(settings, spark, "quantum_features")
    print(driver.jvm_pid, flush=True)
    {work}
"""


@pytest.fixture
def run_opener(running: Running, tmp_path: Path) -> Any:
    """Starts a process that opens a session and then does `work`."""
    script = tmp_path / "opener.py"
    home = running.installation.settings.home

    def start(work: str) -> subprocess.Popen[str]:
        script.write_text(OPENER.replace("{work}", work))
        return subprocess.Popen(
            [sys.executable, str(script), str(home), str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=(tmp_path / "stderr").open("w"),
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    return start


def test_nothing_is_left_of_a_driver_that_was_killed(run_opener: Any, tmp_path: Path) -> None:
    process = run_opener("driver.session.range(1).mapInArrow(wait, 'id long').collect()")
    jvm = psutil.Process(int(process.stdout.readline()))
    _until(lambda: (tmp_path / "works").exists())
    family = [jvm, *jvm.children(recursive=True)]
    assert len(family) > 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(family, PATIENCE)
    assert alive == []


def test_a_session_whose_jvm_has_died_can_be_closed_and_another_one_opened(run_opener: Any) -> None:
    process = run_opener(
        "import os, signal\n"
        "    os.kill(driver.jvm_pid, signal.SIGKILL)\n"
        "    driver.close(); driver.close()\n"
        "    again = open_spark(settings, spark, 'quantum_features')\n"
        "    print(again.session.table('vqe_results').count(), flush=True)\n"
        "    again.close()"
    )
    assert process.stdout.readline()
    assert process.stdout.readline() == "6\n"
    assert process.wait(PATIENCE) == 0


def _fetch(address: str) -> str:
    with urlopen(address, timeout=30) as answer:
        return answer.read().decode()


def _until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)
