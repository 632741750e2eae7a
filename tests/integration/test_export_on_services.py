"""Exports from Garage to another bucket: by a key of its own, read there by pyiceberg alone, a dead target told."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from qpipe_assets.exports.export import Export
from qpipe_assets.exports.health import ExportEndError
from qpipe_assets.exports.latest import latest_version
from qpipe_assets.exports.request import ExportRequest
from qpipe_assets.exports.target import open_target
from qpipe_assets.exports.verification import verify
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources import catalog_database
from qpipe_resources.export_settings import ExportSettings, load_export_settings
from tests.exports.conftest import bring_in
from tests.integration.conftest import Sandbox

READER = """
import io, json, sys
import boto3, duckdb, pandas as pd
from pyiceberg.table import StaticTable

endpoint, region, key, secret, bucket, prefix = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint, region_name=region, aws_access_key_id=key, aws_secret_access_key=secret)
read = lambda path: s3.get_object(Bucket=bucket, Key=f"{prefix}/{path}")["Body"].read()
manifest = json.loads(read(json.loads(read("latest.json"))["manifest"]))
access = {"s3.endpoint": endpoint, "s3.region": region, "s3.access-key-id": key, "s3.secret-access-key": secret}
found = {}
for table in manifest["tables"]:
    opened = StaticTable.from_metadata(f"{manifest['base_url']}/{table['iceberg']}", access)
    arrow = opened.scan().to_arrow()
    frame = pd.concat([pd.read_parquet(io.BytesIO(read(file["path"]))) for file in table["files"]])
    counted = duckdb.sql("select count(*) from arrow").fetchall()[0][0]
    found[table["name"]] = [arrow.num_rows, counted, len(frame), sorted(frame["final_energy"])]
assert not [name for name in sys.modules if name.startswith("qpipe")]
print(json.dumps(found))
"""


@pytest.fixture
def bucket(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket that is not the installation's, and the settings that lead to it."""
    from tests.integration.conftest import _empty

    name = f"{sandbox.features_bucket}-away"
    variables = sandbox.stack.environment
    monkeypatch.setenv("QPIPE_EXPORT_S3_ENDPOINT", variables["QPIPE_S3_ENDPOINT"])
    monkeypatch.setenv("QPIPE_EXPORT_S3_REGION", variables["QPIPE_S3_REGION"])
    monkeypatch.setenv("QPIPE_EXPORT_S3_ACCESS_KEY_ID", variables["AWS_ACCESS_KEY_ID"])
    monkeypatch.setenv("QPIPE_EXPORT_S3_SECRET_ACCESS_KEY", variables["AWS_SECRET_ACCESS_KEY"])
    s3 = sandbox.s3()
    s3.create_bucket(Bucket=name)
    yield name
    _empty(s3, name)
    s3.delete_bucket(Bucket=name)


@pytest.fixture
def filled(sandbox: Sandbox) -> Installation:
    installation = open_installation()
    for molecule in ("H2", "LiH"):
        bring_in(installation, molecule, range(2))
    return installation


def export_to(installation: Installation, place: str, settings: ExportSettings | None = None) -> Export:
    settings = settings or load_export_settings()
    return Export(installation, open_target(place, "demo", installation.settings, settings), settings)


def read_with_pyiceberg_alone(sandbox: Sandbox, bucket: str, away: Path) -> dict[str, Any]:
    variables = sandbox.stack.environment
    names = ("QPIPE_S3_ENDPOINT", "QPIPE_S3_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    command = [sys.executable, "-I", "-c", READER, *(variables[name] for name in names), bucket, "sets/demo"]
    done = subprocess.run(command, cwd=away, capture_output=True, text=True, timeout=120, env={})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_export_to_another_bucket_is_incremental_and_read_there_with_the_source_gone(
    filled: Installation, sandbox: Sandbox, bucket: str, tmp_path: Path
) -> None:
    export = export_to(filled, f"s3://{bucket}/sets")
    export.run(ExportRequest())
    sandbox.s3().put_object(Bucket=bucket, Key="sets/demo/notes.txt", Body=b"mine")
    bring_in(filled, "LiH", [5])
    outcome = export.run(ExportRequest(), keep=1)
    assert (outcome.files_kept, outcome.rows_written) == (4, 1 + 4)
    assert not export.run(ExportRequest()).new
    assert verify(export.target, 4).damaged == {}
    energies = {
        name: sorted(filled.lakehouse.arrow(name).column("final_energy").to_pylist()) for name in schemas.ML_NAMES
    }
    s3 = sandbox.s3()
    for source in (sandbox.features_bucket, sandbox.raw_bucket):
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=source):
            for entry in page.get("Contents", ()):
                s3.delete_object(Bucket=source, Key=entry["Key"])
    shutil.rmtree(sandbox.home, ignore_errors=True)
    found = read_with_pyiceberg_alone(sandbox, bucket, tmp_path)
    assert found == {name: [len(values)] * 3 + [values] for name, values in energies.items()}
    kept = latest_version(export.target)
    assert kept is not None
    there = {entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    expected = {f"sets/demo/{file.path}" for file in kept.manifest.files}
    version = kept.manifest.version
    extra = {"latest.json", "notes.txt", f"versions/{version}/manifest.json"}
    assert there == expected | {f"sets/demo/{name}" for name in extra}


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({}, "s3://qpipe-no-such-bucket", "there is no bucket 'qpipe-no-such-bucket'"),
        ({"s3_access_key_id": "GK" + "0" * 24}, "s3://{bucket}", "QPIPE_EXPORT_S3_ACCESS_KEY_ID"),
        ({"s3_endpoint": "http://127.0.0.1:9"}, "s3://{bucket}", "mend QPIPE_EXPORT_S3_ENDPOINT"),
    ],
)
def test_a_target_that_cannot_be_used_is_told_before_any_work_without_the_secret(
    sandbox: Sandbox, bucket: str, changes: dict[str, str], place: str, words: str
) -> None:
    settings = load_export_settings().model_copy(update=changes)
    with pytest.raises(ExportEndError, match=words) as error:
        export_to(open_installation(), place.format(bucket=bucket), settings).run(ExportRequest())
    assert sandbox.stack.environment["AWS_SECRET_ACCESS_KEY"] not in str(error.value)
    assert "target of the export: " in str(error.value)


def test_a_second_export_waits_for_longer_than_the_database_does_and_finds_it_done(
    filled: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(catalog_database, "TELL_EVERY", 0.0)
    first_writes, second_has_waited = threading.Event(), threading.Event()

    def hold(done: int, whole: int) -> None:
        first_writes.set()
        assert second_has_waited.wait(60)

    first, second = export_to(filled, str(tmp_path)), export_to(filled, str(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        outcomes = [pool.submit(dataclasses.replace(first, progress=hold).run, ExportRequest())]
        try:
            assert first_writes.wait(60)
            outcomes.append(pool.submit(second.run, ExportRequest()))
            deadline = time.monotonic() + 60
            while "the lock 'qpipe export " not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.1)
        finally:
            second_has_waited.set()
    assert [outcome.result().new for outcome in outcomes] == [True, False]
    assert "the lock 'qpipe export " in caplog.text


def test_a_source_that_is_gone_is_told_before_anything_is_written(sandbox: Sandbox, bucket: str) -> None:
    installation = open_installation()
    export = export_to(installation, f"s3://{bucket}/sets")
    s3 = sandbox.s3()
    for entry in s3.list_objects_v2(Bucket=sandbox.features_bucket)["Contents"]:
        s3.delete_object(Bucket=sandbox.features_bucket, Key=entry["Key"])
    with pytest.raises(ExportEndError, match="source of the export: "):
        export.run(ExportRequest())
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
