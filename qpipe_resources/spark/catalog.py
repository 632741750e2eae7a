"""Our catalog as Spark sees it: the embedded engine's name, database and files, and the key to it kept apart.

Spark reads through this catalog. It caches nothing, because commits come from outside of it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qpipe_resources.catalog_database import SQLITE_TIMEOUT, postgresql_url
from qpipe_resources.lakehouse_reads import CATALOG
from qpipe_resources.spark.errors import SparkRefusedError

if TYPE_CHECKING:
    from sqlalchemy import URL

    from qpipe_resources.settings import Settings

_PREFIX = f"spark.sql.catalog.{CATALOG}"
_JDBC_PORT = 5432
# Garage takes none of the checksums that the SDK adds by default: "Invalid payload signature".
_NO_CHECKSUMS = "-Daws.requestChecksumCalculation=WHEN_REQUIRED -Daws.responseChecksumValidation=WHEN_REQUIRED"


@dataclass(frozen=True)
class CatalogOptions:
    """Spark's options for the catalog.

    Attributes:
        options: anybody may see these.
        secrets: these are there only while Spark opens the catalog.
    """

    options: dict[str, str]
    secrets: dict[str, str] = field(default_factory=dict, repr=False)


def catalog_options(settings: Settings) -> CatalogOptions:
    """The catalog that the settings name.

    Raises:
        SparkRefusedError: there is no such catalog yet.
        CatalogRefusedError: the URI of the database cannot be understood.
    """
    shared = {
        "": "org.apache.iceberg.spark.SparkCatalog",
        ".type": "jdbc",
        ".jdbc.schema-version": "V1",
        # qpipe makes them, under its own lock.
        ".jdbc.init-catalog-tables": "false",
        ".cache-enabled": "false",
    }
    own, secrets = _in_folder(settings) if settings.env == "local" else _in_s3(settings)
    return CatalogOptions(_prefixed(shared | own), _prefixed(secrets))


def object_store_options(settings: Settings) -> dict[str, str]:
    """What `s3a://bucket/key` and the AWS SDK need for the store; the key comes from the environment."""
    if settings.env == "local":
        return {}
    return {
        "spark.driver.defaultJavaOptions": _NO_CHECKSUMS,
        "spark.executor.defaultJavaOptions": _NO_CHECKSUMS,
        "spark.hadoop.fs.s3a.endpoint": settings.s3_endpoint,
        "spark.hadoop.fs.s3a.endpoint.region": settings.s3_region,
        "spark.hadoop.fs.s3a.path.style.access": "true",
    }


def _prefixed(options: dict[str, str]) -> dict[str, str]:
    return {f"{_PREFIX}{name}": value for name, value in options.items()}


def _in_folder(settings: Settings) -> tuple[dict[str, str], dict[str, str]]:
    if not settings.catalog_database.is_file():
        raise SparkRefusedError(f"there is no catalog {settings.catalog_database}; mend QPIPE_HOME, or run qpipe demo")
    database = f"jdbc:sqlite:{settings.catalog_database}?busy_timeout={SQLITE_TIMEOUT * 1000}"
    return {".uri": database, ".warehouse": f"file://{settings.warehouse}"}, {}


def _in_s3(settings: Settings) -> tuple[dict[str, str], dict[str, str]]:
    url = postgresql_url(settings.catalog_uri.get_secret_value())
    options = {
        ".uri": _jdbc(url),
        ".warehouse": f"s3://{settings.s3_features_bucket}/warehouse",
        ".io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        ".s3.endpoint": settings.s3_endpoint,
        ".s3.path-style-access": "true",
        ".client.region": settings.s3_region,
    }
    if url.username:
        options[".jdbc.user"] = url.username
    password = url.password or os.environ.get("PGPASSWORD")
    return options, {".jdbc.password": str(password)} if password else {}


def _jdbc(url: URL) -> str:
    """The database's address without its user: what libpq and JDBC call the same is taken over."""
    options = {"ApplicationName": "qpipe", "connectTimeout": "5", "tcpKeepAlive": "true"}
    options |= {name: str(value) for name, value in url.query.items() if name.startswith("ssl")}
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"jdbc:postgresql://{url.host or 'localhost'}:{url.port or _JDBC_PORT}/{url.database}?{query}"
