"""The database of catalog and ledger: its connections, its locks, and which of its failures pass by trying again."""

from __future__ import annotations

import fcntl
import logging
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from qpipe_resources.errors import ServiceError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

SQLITE_TIMEOUT = 60
"""Seconds that SQLite waits for a lock."""
MAX_ATTEMPTS = 200
"""Attempts against other writers that win."""
PATIENCE = 20.0
"""Seconds for which a database that does not answer is asked again."""
TELL_EVERY = 60.0
"""Seconds of lost attempts after which a line is logged, again and again."""

_POSTGRESQL = {
    "application_name": "qpipe",
    "connect_timeout": "5",
    # A server that vanishes without a word is noticed after half a minute ...
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",
    # ... and so is our machine by the server, which gives our locks to others then. Our transactions are short.
    "options": " ".join(
        f"-c {name}={value}"
        for name, value in {
            "lock_timeout": "10s",
            "tcp_keepalives_idle": 10,
            "tcp_keepalives_interval": 5,
            "tcp_keepalives_count": 4,
            "tcp_user_timeout": 30000,
            "idle_in_transaction_session_timeout": "120s",
        }.items()
    ),
}
_log = logging.getLogger(__name__)
_LOCK = "lock"
_LOST_TO_ANOTHER = {"40001": "serialization failure", "40P01": "deadlock", "55P03": "lock timeout"}


class CatalogUnavailableError(ServiceError):
    """The database of catalog and ledger does not answer; what was done stands, and running again goes on from it."""


class CatalogRefusedError(ServiceError):
    """The database answered and refuses, or its address cannot be understood; running again does not help."""


class LakehouseBusyError(ServiceError):
    """Other writers kept winning for too long; nothing was written, run it again."""


class Attempts:
    """How often, and for how long, something is tried again: `failed` waits, or raises when it is enough.

    A lost race is tried again MAX_ATTEMPTS times, a lost connection for PATIENCE seconds. Both are safe only for what
    may be done again when it had been done, because the connection may break after the commit and before its answer.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._lost = 0
        self._unanswered = 0
        self._deadline = 0.0
        self._began = self._told = time.monotonic()

    def lost(self, waited_for: str = "") -> None:
        """Wait a random moment after a lost race; tells of it each minute.

        Args:
            waited_for: what another holds, if it is known.

        Raises:
            LakehouseBusyError: there were too many.
        """
        self._lost += 1
        if self._lost >= MAX_ATTEMPTS:
            raise LakehouseBusyError(f"{self._what}: {MAX_ATTEMPTS} attempts lost against other writers; run again")
        now = time.monotonic()
        if now - self._told >= TELL_EVERY:
            self._told = now
            _log.warning(
                "%s: %d attempts lost against other writers in %.0f s%s; trying again",
                *(self._what, self._lost, now - self._began, waited_for and f", waiting for {waited_for}"),
            )
        back_off(self._lost - 1)

    def failed(self, error: sa.exc.DBAPIError) -> None:
        """Wait after a failure of the database that may pass.

        Raises:
            LakehouseBusyError: too many races were lost.
            CatalogUnavailableError: the database has not answered for too long.
            CatalogRefusedError: it refuses the user, the password or the database.
            DBAPIError: the error itself, when no attempt will mend it.
        """
        if is_lock_conflict(error):
            self.lost(_lock_in(error))
        elif not is_disconnect(error):
            raise error
        elif reason := _refusal(error):
            raise CatalogRefusedError(f"{self._what}: {reason}") from None
        else:
            now = time.monotonic()
            if not self._unanswered:
                self._deadline = now + PATIENCE
            self._unanswered += 1
            if now > self._deadline:
                raise CatalogUnavailableError(
                    f"{self._what}: the catalog's database does not answer ({_first_line(error)}); start PostgreSQL, "
                    "or mend QPIPE_CATALOG_URI"
                ) from None
            time.sleep(random.uniform(0.5, 1) * min(0.1 * 2**self._unanswered, 2.0))


def back_off(attempt: int) -> None:
    """Wait a random moment before trying again: up to 20 ms at first, up to half a second later."""
    time.sleep(random.uniform(0, min(0.02 * 2 ** min(attempt, 5), 0.5)))


def is_lock_conflict(error: sa.exc.DBAPIError) -> bool:
    """Whether a database error only says that another process holds the lock or won a race."""
    if getattr(error.orig, "pgcode", None) in _LOST_TO_ANOTHER:
        return True
    text = str(error.orig).lower()
    return isinstance(error, sa.exc.OperationalError) and ("locked" in text or "busy" in text)


def _lock_in(error: sa.exc.DBAPIError) -> str:
    """Which lock the statement asked for."""
    name = error.params.get(_LOCK) if isinstance(error.params, dict) else None
    return f"the lock {name!r} (who holds it: pg_locks, locktype advisory)" if name else ""


def is_disconnect(error: sa.exc.DBAPIError) -> bool:
    """Whether PostgreSQL could not serve, or the connection broke so that nobody knows what was committed."""
    if error.connection_invalidated:
        return True
    # No SQLSTATE: libpq, not the server, speaks. 08: connection; 53: disk, memory, connections; 57P: shut down.
    code = getattr(error.orig, "pgcode", "")
    return isinstance(error, sa.exc.OperationalError) and (code is None or code.startswith(("08", "53", "57P")))


def _refusal(error: sa.exc.DBAPIError) -> str | None:
    """What to do about an answer that is no; while connecting, libpq gives it as text alone."""
    text = str(error.orig)
    if "authentication failed" in text or "no password supplied" in text or "no pg_hba.conf entry" in text:
        return f"PostgreSQL refuses the user ({_first_line(error)}); mend PGPASSWORD and QPIPE_CATALOG_URI"
    if "does not exist" in text:
        return f"PostgreSQL lacks what QPIPE_CATALOG_URI names ({_first_line(error)}); create it or mend the variable"
    if "could not translate host name" in text:
        return "the host in QPIPE_CATALOG_URI is unknown; mend it"
    return None


def _first_line(error: sa.exc.DBAPIError) -> str:
    return str(error.orig).strip().split("\n")[0]


def postgresql_url(uri: str) -> sa.URL:
    """The address with qpipe's timeouts.

    Raises:
        CatalogRefusedError: it cannot be understood; does not repeat it, as it may hold a password.
    """
    try:
        url = sa.make_url(uri)
    except (sa.exc.ArgumentError, ValueError):
        url = None
    if url is None or "@" in (url.host or ""):
        raise CatalogRefusedError(
            "QPIPE_CATALOG_URI cannot be understood: expected postgresql+psycopg2://USER@HOST:PORT/DATABASE; its "
            "password best comes from PGPASSWORD, else write its @ : / as %40 %3A %2F"
        )
    return url.update_query_dict({name: value for name, value in _POSTGRESQL.items() if name not in url.query})


def open_engine(url: sa.URL) -> Engine:
    """Connections to the database, for the ledger.

    On SQLite a transaction takes the write lock at once, unless its connection has the option `readonly`.
    """
    if url.get_backend_name() == "postgresql":
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url)

    # The driver's implicit transactions begin as readers and fail when they turn into writers.
    @sa.event.listens_for(engine, "connect")
    def _no_implicit_transactions(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def _begin_immediate(connection: Any) -> None:
        readonly = connection.get_execution_options().get("readonly", False)
        connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")

    return engine


def lock_for_transaction(connection: Connection, name: str) -> None:
    """Hold the lock of this name until the transaction ends; must come first in it.

    What the transaction reads afterwards includes all that earlier holders have committed. On SQLite nothing is to be
    done: it has one writer.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_key(name))))


def _key(name: str) -> sa.Function[int]:
    return sa.func.hashtextextended(sa.bindparam(_LOCK, name), 0)


@contextmanager
def lock_across_processes(engine: Engine, name: str, file: Path | None) -> Iterator[None]:
    """Hold the lock of this name, of all processes on the same database; it goes with the process that holds it.

    On PostgreSQL it is waited for in MAX_ATTEMPTS times the connection's `lock_timeout` (33 minutes), told each minute;
    a file is waited for without an end.

    Args:
        engine: Where the lock is on PostgreSQL.
        name: Of the lock.
        file: What is locked where the database is a file.

    Raises:
        LakehouseBusyError: another holds it for too long.
        CatalogUnavailableError: the database does not answer.
        CatalogRefusedError: the database refuses.
    """
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        return
    with _locked(engine, name):
        yield


def _locked(engine: Engine, name: str) -> ExitStack:
    """What holds the lock until it is left."""
    attempts = Attempts(name)
    while True:
        try:
            with ExitStack() as opened:
                # A connection of its own that is closed afterwards: the server releases the lock with it, whatever
                # happened.
                connection = opened.enter_context(engine.connect())
                opened.callback(connection.invalidate)
                connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.execute(sa.select(sa.func.pg_advisory_lock(_key(name))))
                return opened.pop_all()
        except sa.exc.DBAPIError as error:
            attempts.failed(error)
