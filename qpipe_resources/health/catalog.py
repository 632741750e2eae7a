"""The database of catalog and ledger: SQLite or PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Collection

from sqlalchemy import URL, Connection, Engine, create_engine, inspect, text
from sqlalchemy.exc import OperationalError

from qpipe_resources.catalog_database import postgresql_url
from qpipe_resources.health.checks import ANSWER_SECONDS, Finding, failed, fine, reason, warning
from qpipe_resources.settings import Settings

SLOW_SECONDS = 0.05
"""Round trip from which ingests, some hundred statements each, become slow."""


def check_catalog(settings: Settings, tables: Collection[str]) -> Finding:
    """Whether the database answers, how fast, and whether the ledger is there or can be made.

    Args:
        settings: The installation.
        tables: Names of the ledger's tables.
    """
    if settings.env == "local":
        return _check_sqlite(settings, tables)
    return _check_postgresql(settings, tables)


def _check_sqlite(settings: Settings, tables: Collection[str]) -> Finding:
    file = settings.catalog_database
    if not file.exists():
        return fine(f"{file}; made at first use")
    # Read only: a check makes no database.
    engine = create_engine(f"sqlite:///file:{file}?mode=ro&uri=true&timeout={ANSWER_SECONDS:g}")
    return _look(engine, tables, f"SQLite, {file}")


def _check_postgresql(settings: Settings, tables: Collection[str]) -> Finding:
    url = postgresql_url(settings.catalog_uri.get_secret_value())
    engine = create_engine(url)
    where = f"PostgreSQL, {url.username}@{url.host}:{url.port or 5432}/{url.database}"
    try:
        return _look(engine, tables, where)
    except OperationalError as error:
        said = reason(error.orig or error)
        return failed(f"{where}: {said}", _postgresql_remedy(said, url))
    finally:
        engine.dispose()


def _postgresql_remedy(said: str, url: URL) -> str:
    """What to do about an error of libpq, whose texts are all there is to tell them apart."""
    remedies = {
        "password": f"give the password of {url.username} in PGPASSWORD",
        "no pg_hba.conf entry": "allow this host and user in pg_hba.conf",
        'role "': f"CREATE ROLE {url.username} LOGIN PASSWORD ..., or name another user in QPIPE_CATALOG_URI",
        'database "': f"CREATE DATABASE {url.database} OWNER {url.username}, or name another one in QPIPE_CATALOG_URI",
        "too many": "raise max_connections, or run fewer processes",
        "translate host name": "correct the host in QPIPE_CATALOG_URI",
    }
    found = (remedy for words, remedy in remedies.items() if words in said)
    return next(
        found, f"start PostgreSQL on {url.host}:{url.port or 5432} (make services), or correct QPIPE_CATALOG_URI"
    )


def _look(engine: Engine, tables: Collection[str], where: str) -> Finding:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        began = time.perf_counter()
        connection.execute(text("SELECT 1"))
        latency = time.perf_counter() - began
        present = set(tables) & set(inspect(connection).get_table_names())
        seen = f"{where}, {latency * 1000:.1f} ms, {len(present)} of {len(tables)} ledger tables"
        if len(present) < len(tables):
            if not _may_create(connection):
                return failed(
                    f"{seen}, and no right to create them", f"GRANT CREATE ON SCHEMA public TO {engine.url.username}"
                )
            seen = f"{seen}; the rest is made at first use"
    if latency > SLOW_SECONDS:
        return warning(seen, "ingests will be slow: bring the database nearer, or look at its load")
    return fine(seen)


def _may_create(connection: Connection) -> bool:
    if connection.dialect.name == "sqlite":
        return True
    return bool(connection.execute(text("SELECT has_schema_privilege(current_schema(), 'CREATE')")).scalar())
