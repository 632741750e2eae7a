"""A copy of the database of catalog and ledger: one moment of it, taken while others write, and put back.

SQLite by its backup API: a file that is copied otherwise lacks what is still in the write-ahead log. PostgreSQL by its
own programs, pg_dump and pg_restore.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe_resources.durable_files import put_in_place
from qpipe_resources.errors import ServiceError

if TYPE_CHECKING:
    from qpipe_resources.settings import Settings

SQLITE_COPY, POSTGRESQL_COPY = "catalog.db", "catalog.dump"
_MAGIC = b"SQLite format 3\0"
_LAST_WORDS = 2000


class CatalogCopyError(ServiceError):
    """The database cannot be copied or put back; nothing that was there has changed."""


def copy_catalog(settings: Settings, folder: Path) -> Path:
    """Copy the database as it is at one moment; a copy that is there already is replaced when the new one is complete.

    Args:
        settings: whose database.
        folder: where the copy goes: `catalog.db` of SQLite, `catalog.dump` of PostgreSQL.

    Returns:
        The copy.

    Raises:
        CatalogCopyError: the database cannot be read.
    """
    if settings.env != "local":
        copy = folder / POSTGRESQL_COPY
        with put_in_place(copy) as part:
            _run_client(settings, "pg_dump", ["--format=custom", "--no-owner", "--no-acl", f"--file={part}"])
        return copy
    copy_sqlite(settings.catalog_database, folder / SQLITE_COPY)
    return folder / SQLITE_COPY


def restore_catalog(settings: Settings, folder: Path) -> None:
    """Put a copy back where no database is.

    Args:
        settings: whose database; on PostgreSQL it must exist and be empty.
        folder: that `copy_catalog` was given.

    Raises:
        CatalogCopyError: there is no copy, or something is where it would go; nothing was changed.
    """
    copy = folder / (SQLITE_COPY if settings.env == "local" else POSTGRESQL_COPY)
    if not copy.is_file():
        raise CatalogCopyError(
            f"{copy} is not there, expected a backup taken with QPIPE_ENV={settings.env}: name another folder, or "
            "leave out --catalog; the tables are made again from the raw objects"
        )
    if settings.env == "local":
        _refuse_what_is_there(settings.catalog_database)
        settings.home.mkdir(parents=True, exist_ok=True)
        copy_sqlite(copy, settings.catalog_database)
        return
    _refuse_tables(settings)
    options = ["--no-owner", "--no-acl", "--exit-on-error", "--single-transaction"]
    _run_client(settings, "pg_restore", [*options, str(copy)])


def is_sqlite(path: Path) -> bool:
    """Whether the file is a database of SQLite."""
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy one SQLite database as it is at one moment, durably, or not at all.

    Raises:
        CatalogCopyError: the source cannot be read, or is damaged.
    """
    try:
        with put_in_place(target) as part:
            read_only = f"{source.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(read_only, uri=True)) as one, closing(sqlite3.connect(part)) as other:
                one.backup(other)
                found = other.execute("PRAGMA integrity_check").fetchone()[0]
                # A copy is one file: whoever opens it makes its own log.
                other.execute("PRAGMA journal_mode=DELETE")
            if found != "ok":
                raise CatalogCopyError(f"{source} is damaged ({found}): use an earlier backup")
    except sqlite3.Error as error:
        raise CatalogCopyError(f"{source} cannot be copied ({error}): look at its disk") from error


def _refuse_what_is_there(database: Path) -> None:
    """A log beside a missing database belongs to another one, and would be read into the copy."""
    files = (database.with_name(database.name + end) for end in ("", "-wal", "-shm"))
    there = [str(path) for path in files if path.exists()]
    if there:
        raise CatalogCopyError(f"{', '.join(there)} is there, and nothing is overwritten: stop all, and move it away")


def _refuse_tables(settings: Settings) -> None:
    import sqlalchemy as sa

    from qpipe_resources.catalog_database import postgresql_url

    engine = sa.create_engine(postgresql_url(settings.catalog_uri.get_secret_value()))
    try:
        there = sorted(sa.inspect(engine).get_table_names())
    except sa.exc.OperationalError as error:
        raise CatalogCopyError(f"the catalog's database does not answer: {str(error.orig).strip()}") from None
    finally:
        engine.dispose()
    if there:
        raise CatalogCopyError(
            f"the database has the tables {', '.join(there)}, and nothing is overwritten: name an empty one in "
            "QPIPE_CATALOG_URI"
        )


def _run_client(settings: Settings, program: str, arguments: list[str]) -> None:
    """Run one of PostgreSQL's own programs on the catalog's database; the password is in its environment alone."""
    import sqlalchemy as sa

    from qpipe_resources.catalog_database import postgresql_url

    found = shutil.which(program)
    if found is None:
        raise CatalogCopyError(
            f"{program} is not on the PATH: install PostgreSQL's client programs of the server's version (Debian: "
            "postgresql-client)"
        )
    url = postgresql_url(settings.catalog_uri.get_secret_value())
    environment = os.environ | ({"PGPASSWORD": str(url.password)} if url.password else {})
    asked = sa.make_url(settings.catalog_uri.get_secret_value()).query
    plain = sa.URL.create("postgresql", url.username, None, url.host, url.port, url.database, asked).render_as_string()
    done = subprocess.run(
        [found, *arguments, f"--dbname={plain}", "--no-password"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CatalogCopyError(f"{program} ended with {done.returncode}: {done.stderr.strip()[-_LAST_WORDS:]}")
