"""What is refused before Spark is started, and that nobody pays for Spark who does not use it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from pydantic import SecretStr

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation
from qpipe_resources.settings import Settings, SettingsError
from qpipe_resources.spark import jars, options
from qpipe_resources.spark.catalog import catalog_options, object_store_options
from qpipe_resources.spark.errors import SparkRefusedError, SparkUnavailableError
from qpipe_resources.spark.session import open_spark
from qpipe_resources.spark.settings import SparkSettings, load_spark_settings
from qpipe_resources.spark.shipping import write_packages


@pytest.mark.parametrize(
    "master", ["local", "local[4]", "local[*]", "spark://a:7077", "spark://a:1,b:2", "sc://a:15002"]
)
def test_known_masters_are_accepted(master: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QPIPE_SPARK_MASTER", master)
    assert load_spark_settings().master == master


@pytest.mark.parametrize("master", ["local[0]", "yarn", "spark://a", "local[2", "sc://"])
def test_other_masters_are_refused_with_the_variable_and_the_choices(
    master: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QPIPE_SPARK_MASTER", master)
    with pytest.raises(SettingsError, match=r"QPIPE_SPARK_MASTER.*spark://HOST:PORT"):
        load_spark_settings()


def test_a_token_in_a_refused_master_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QPIPE_SPARK_MASTER", "sc ://host:1/;token=sentinel")
    with pytest.raises(SettingsError) as refusal:
        load_spark_settings()
    assert "sentinel" not in str(refusal.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("DRIVER_MEMORY", "2 GB"), ("EXECUTOR_MEMORY", "0g"), ("SHUFFLE_PARTITIONS", "0"), ("EXECUTOR_CORES", "-1")],
)
def test_a_value_out_of_range_is_refused_with_its_variable(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"QPIPE_SPARK_{variable}", value)
    with pytest.raises(SettingsError, match=f"QPIPE_SPARK_{variable}='{value}'"):
        load_spark_settings()


def test_without_java_the_error_names_the_remedy(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyspark")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(SparkUnavailableError, match=r"install Java 17 .*JAVA_HOME"):
        open_spark(installation.settings, SparkSettings(), schemas.NAMESPACE)


def test_an_old_java_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_392\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SparkUnavailableError, match=r'version "1.8.0_392"; install Java 17'):
        jars.require_java()
    java.write_text("#!/bin/sh\necho 'openjdk version \"21.0.2\" 2024-01-16' >&2\n")
    jars.require_java()


def test_missing_jars_are_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "sqlite-jdbc-3.50.3.0.jar").touch()
    with pytest.raises(SparkUnavailableError, match=r"iceberg-spark-runtime.* in .*make jars") as refusal:
        jars.jar_files(SparkSettings(jars=str(tmp_path)))
    assert "sqlite" not in str(refusal.value)


def test_jars_by_packages_need_no_folder() -> None:
    spark = SparkSettings(jars="packages")
    assert jars.jar_files(spark) == []
    assert options.driver_options(spark, [])["spark.jars.packages"].split(",") == list(jars.ARTIFACTS)


def test_without_pyspark_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "find_spec", lambda name: None)
    with pytest.raises(SparkUnavailableError, match="make jars"):
        jars.require(SparkSettings())


def test_a_catalog_that_is_not_there_is_refused_and_not_made(settings: Settings) -> None:
    with pytest.raises(SparkRefusedError, match="there is no catalog"):
        open_spark(settings, SparkSettings(), schemas.NAMESPACE)
    assert not settings.catalog_database.exists()


@pytest.mark.parametrize(
    "option",
    [
        {"spark.executorEnv.AWS_SECRET_ACCESS_KEY": "x"},
        {"spark.executorEnv.AWS_ACCESS_KEY_ID": "x"},
        {"spark.sql.catalog.quantum_catalog.jdbc.password": "x"},
        {"spark.sql.catalog.other.uri": "jdbc:postgresql://user:word@host/x"},
    ],
)
def test_an_option_for_a_secret_is_refused_without_repeating_it(
    option: dict[str, str], installation: Installation
) -> None:
    with pytest.raises(SparkRefusedError, match="from the environment") as refusal:
        open_spark(installation.settings, SparkSettings(), schemas.NAMESPACE, option)
    assert "word" not in str(refusal.value).replace("password", "")


def test_the_catalog_on_postgresql_keeps_the_password_apart(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "postgresql+psycopg2://me:in-the-uri@db:5433/qpipe?sslmode=require"
    there = settings.model_copy(update={"env": "s3", "catalog_uri": SecretStr(uri)})
    made = catalog_options(there)
    assert made.secrets == {"spark.sql.catalog.quantum_catalog.jdbc.password": "in-the-uri"}
    assert "in-the-uri" not in str(made) and "in-the-uri" not in str(object_store_options(there))
    address = made.options["spark.sql.catalog.quantum_catalog.uri"]
    assert address.startswith("jdbc:postgresql://db:5433/qpipe?") and "sslmode=require" in address
    monkeypatch.setenv("PGPASSWORD", "in-the-environment")
    bare = there.model_copy(update={"catalog_uri": SecretStr("postgresql+psycopg2://me@db/qpipe")})
    assert list(catalog_options(bare).secrets.values()) == ["in-the-environment"]


def test_jars_are_copied_to_executors_only_where_there_are_others(tmp_path: Path) -> None:
    files = [tmp_path / "a.jar", tmp_path / "b.jar"]
    local = options.driver_options(SparkSettings(), files)
    assert local["spark.driver.extraClassPath"] == f"{files[0]}:{files[1]}" and "spark.jars" not in local
    assert options.driver_options(SparkSettings(master="spark://h:1"), files)["spark.jars"].count("file://") == 2


def test_the_same_packages_make_the_same_zip_with_their_data(tmp_path: Path) -> None:
    first = write_packages(tmp_path / "first.zip").read_bytes()
    assert write_packages(tmp_path / "second.zip").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "first.zip") as archive:
        names = archive.namelist()
    assert {"qpipe_assets/tables/flatten.py", "qpipe_assets/tables/ml_run_summary.sql"} <= set(names)
    assert any(name.startswith("simulation/data/") for name in names)
    assert not any("__pycache__" in name for name in names)


def test_a_package_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="no package nowhere_to_be_found"):
        write_packages(tmp_path / "x.zip", ["nowhere_to_be_found"])


def test_the_embedded_engine_imports_nothing_of_spark() -> None:
    code = (
        "import sys, jobs.definitions, qpipe_cli.main, qpipe_assets.tables.ingest, qpipe_resources.lakehouse; "
        "print([name for name in sys.modules if name.startswith(('pyspark', 'py4j', 'dagster_pyspark'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_settings_and_the_session_module_import_no_pyspark() -> None:
    code = "import sys, qpipe_resources.spark.session; print('pyspark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
