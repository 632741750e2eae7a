"""The outside world that QPIPE_ENV names, opened: object store and lakehouse; knows no Dagster.

| QPIPE_ENV | raw objects | tables and ledger | results leave |
|---|---|---|---|
| local | folder | folder, SQLite | into the folder |
| s3 | S3 bucket | S3 bucket, PostgreSQL | into the bucket |
| services | S3 bucket | S3 bucket, PostgreSQL | through Kafka; a sink puts them into the bucket |

The way out is opened by delivery_opening.py, so that what only reads never knows of Kafka.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qpipe_resources.object_store import FolderObjectStore, ObjectStore

if TYPE_CHECKING:
    from qpipe_resources.lakehouse import Lakehouse
    from qpipe_resources.settings import Settings


def open_store(settings: Settings, patience: float | None = None) -> ObjectStore:
    """The raw object store; `patience` is for how many seconds a bucket that does not answer is asked again."""
    return FolderObjectStore(settings.raw_results) if settings.env == "local" else open_s3_store(settings, patience)


def open_s3_store(settings: Settings, patience: float | None = None) -> ObjectStore:
    """The bucket of the raw objects."""
    from qpipe_resources.s3_bucket import PATIENCE
    from qpipe_resources.s3_store import S3ObjectStore

    waits = PATIENCE if patience is None else patience
    return S3ObjectStore(settings.s3_endpoint, settings.s3_region, settings.s3_raw_bucket, patience=waits)


def open_lakehouse(settings: Settings, namespace: str) -> Lakehouse:
    """The lakehouse; connects at first use."""
    opened = open_local_lakehouse if settings.env == "local" else open_s3_lakehouse
    return opened(settings, namespace)


def open_local_lakehouse(settings: Settings, namespace: str) -> Lakehouse:
    """Catalog, ledger and tables below QPIPE_HOME."""
    from qpipe_resources.lakehouse import Lakehouse

    settings.home.mkdir(parents=True, exist_ok=True)
    return Lakehouse.in_folder(settings.catalog_database, settings.warehouse, namespace)


def open_s3_lakehouse(settings: Settings, namespace: str) -> Lakehouse:
    """Catalog and ledger on PostgreSQL, tables in a bucket."""
    from qpipe_resources.lakehouse import Lakehouse

    return Lakehouse.in_s3(
        settings.catalog_uri, settings.s3_endpoint, settings.s3_region, settings.s3_features_bucket, namespace
    )
