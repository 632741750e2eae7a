"""The running services, and for each test a topic, buckets, a database and a home of its own on them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.services.stack import NAMES, Stack

HERE = Path(__file__).parent
MAX_MESSAGE_BYTES = 64 * 1024 * 1024


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this folder needs the services."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.services)


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The services that `make services` started."""
    return Stack.running()


@pytest.fixture(autouse=True)
def _services_run_after_each_test(stack: Stack) -> Iterator[None]:
    yield
    _start_what_is_down(stack)


def _start_what_is_down(stack: Stack) -> None:
    for name in NAMES:
        if stack.pid(name) is None:
            stack.start(name)


@dataclass(frozen=True)
class Sandbox:
    """What one test may use of the services without meeting another test.

    Attributes:
        topic: topic of three partitions for messages up to 64 MiB.
        raw_bucket: empty bucket of the raw objects.
        features_bucket: empty bucket of the tables.
        database: empty database of catalog and ledger.
        home: QPIPE_HOME; does not exist yet.
        environment: all variables for a subprocess; os.environ has the same.
    """

    stack: Stack
    topic: str
    raw_bucket: str
    features_bucket: str
    database: str
    home: Path
    environment: dict[str, str] = field(repr=False)

    def s3(self) -> Any:
        """An S3 client."""
        import boto3

        variables = self.stack.environment
        return boto3.client(
            "s3",
            endpoint_url=variables["QPIPE_S3_ENDPOINT"],
            region_name=variables["QPIPE_S3_REGION"],
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        )

    def admin(self) -> Any:
        """A Kafka AdminClient at the listener without security."""
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self.stack.listeners["PLAINTEXT"]})


@pytest.fixture
def sandbox(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox; os.environ points to it while the test runs, and it is removed afterwards."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    database = name.replace("-", "_")
    home = tmp_path / "home"
    settings = stack.environment
    settings |= {
        "QPIPE_HOME": str(home),
        "DAGSTER_HOME": str(tmp_path / "dagster"),
        "QPIPE_TOPIC": name,
        "QPIPE_S3_RAW_BUCKET": f"{name}-raw",
        "QPIPE_S3_FEATURES_BUCKET": f"{name}-features",
        "QPIPE_CATALOG_URI": settings["QPIPE_CATALOG_URI"].rpartition("/")[0] + f"/{database}",
        "KAFKA_GROUP": f"{name}-sink",
    }
    for variable, value in settings.items():
        monkeypatch.setenv(variable, value)
    made = Sandbox(stack, name, f"{name}-raw", f"{name}-features", database, home, dict(os.environ))
    try:
        _make(made)
        yield made
    finally:
        _start_what_is_down(stack)
        _remove(made)


def _make(sandbox: Sandbox) -> None:
    from confluent_kafka.admin import NewTopic

    topic = NewTopic(sandbox.topic, 3, 1, config={"max.message.bytes": str(MAX_MESSAGE_BYTES)})
    # Futures die with their client: it needs a name.
    admin = sandbox.admin()
    for future in admin.create_topics([topic]).values():
        future.result(30)
    s3 = sandbox.s3()
    s3.create_bucket(Bucket=sandbox.raw_bucket)
    s3.create_bucket(Bucket=sandbox.features_bucket)
    _administrate(sandbox, f'CREATE DATABASE "{sandbox.database}"')


def _remove(sandbox: Sandbox) -> None:
    from confluent_kafka.schema_registry import SchemaRegistryClient

    admin = sandbox.admin()
    if sandbox.topic in admin.list_topics(timeout=30).topics:
        for future in admin.delete_topics([sandbox.topic]).values():
            future.result(30)
    registry = SchemaRegistryClient({"url": sandbox.stack.environment["SCHEMA_REGISTRY_URL"]})
    subject = f"{sandbox.topic}-value"
    if subject in registry.get_subjects():
        registry.delete_subject(subject)
    s3 = sandbox.s3()
    existing = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    for bucket in {sandbox.raw_bucket, sandbox.features_bucket} & existing:
        _empty(s3, bucket)
        s3.delete_bucket(Bucket=bucket)
    _administrate(sandbox, f'DROP DATABASE IF EXISTS "{sandbox.database}" WITH (FORCE)')


def _empty(s3: Any, bucket: str) -> None:
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in page.get("Uploads", ()):
            s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        keys = [{"Key": entry["Key"]} for entry in page.get("Contents", ())]
        if keys:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})


def _administrate(sandbox: Sandbox, statement: str) -> None:
    import psycopg2
    from sqlalchemy.engine import make_url

    variables = sandbox.stack.environment
    url = make_url(variables["QPIPE_CATALOG_URI"])
    with closing(
        psycopg2.connect(
            host=url.host,
            port=url.port,
            user=url.username,
            password=variables["PGPASSWORD"],
            dbname=url.database,
        )
    ) as connection:
        connection.autocommit = True
        connection.cursor().execute(statement)
