"""The ledger: what is processed, in SQL tables of the catalog's own database.

objects      one row for each version (etag) of an object that was looked at: ingested, duplicate or quarantined.
locations    molecule of an object whose key does not say it, so that it is read once and not by every molecule.
experiments  one row for each experiment that a batch claimed; the primary key is what makes rows unique.
batches      open (some table is missing), done, or superseded by a rebuild.
commits      which snapshot holds a batch in which table; the tag is the truth while a batch is open, this after.
rebuilds     a rebuild that was asked for; it is finished by whoever comes next.
adopted      executions that came with an adopted warehouse: an object that holds one of them is a duplicate.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy import Engine

INGESTED, DUPLICATE, QUARANTINED = "ingested", "duplicate", "quarantined"
OPEN, DONE, SUPERSEDED = "open", "done", "superseded"

_metadata = sa.MetaData()


def _text(name: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, **options)


objects = sa.Table(
    "qpipe_objects",
    _metadata,
    _text("object_key", primary_key=True),
    _text("etag", primary_key=True),
    _text("molecule", index=True),
    _text("experiment_id"),
    _text("batch_id", index=True),
    _text("status", nullable=False),
    _text("error"),
    _text("at", nullable=False),
)
locations = sa.Table(
    "qpipe_locations",
    _metadata,
    _text("object_key", primary_key=True),
    _text("etag", primary_key=True),
    _text("molecule", nullable=False, index=True),
)
experiments = sa.Table(
    "qpipe_experiments",
    _metadata,
    _text("experiment_id", primary_key=True),
    _text("molecule", nullable=False, index=True),
    _text("batch_id", nullable=False, index=True),
    sa.Column("generation", sa.Integer, nullable=False),
    _text("object_key", nullable=False),
    _text("etag", nullable=False),
    _text("content_digest", nullable=False),
)
batches = sa.Table(
    "qpipe_batches",
    _metadata,
    _text("batch_id", primary_key=True),
    _text("molecule", nullable=False),
    _text("at", nullable=False),
    _text("date", nullable=False),
    _text("state", nullable=False),
    sa.Index("qpipe_batches_by_molecule", "molecule", "state"),
)
commits = sa.Table(
    "qpipe_commits",
    _metadata,
    _text("batch_id", primary_key=True),
    _text("table_name", primary_key=True),
    sa.Column("snapshot_id", sa.BigInteger),
    _text("tag"),
    sa.Column("rows", sa.BigInteger, nullable=False),
    _text("at", nullable=False),
)
rebuilds = sa.Table(
    "qpipe_rebuilds",
    _metadata,
    _text("rebuild_id", primary_key=True),
    _text("molecule", nullable=False, index=True),
    _text("at", nullable=False),
    _text("state", nullable=False),
)
adopted = sa.Table(
    "qpipe_adopted",
    _metadata,
    _text("execution", primary_key=True),
    _text("experiment_id", nullable=False),
    _text("molecule", nullable=False, index=True),
    _text("warehouse", nullable=False),
    _text("at", nullable=False),
)


@dataclass(frozen=True)
class Batch:
    """One claimed batch of a molecule."""

    batch_id: str
    molecule: str
    at: dt.datetime
    state: str = OPEN


@dataclass(frozen=True)
class TableCommit:
    """What a batch did to one table; `snapshot_id` and `tag` are None when it had no row for it."""

    table: str
    rows: int
    snapshot_id: int | None
    tag: str | None


@dataclass(frozen=True)
class Candidate:
    """One decoded experiment that asks to be claimed, with the object it came from and its execution."""

    experiment_id: str
    object_key: str
    etag: str
    content_digest: str
    execution: str = ""


@dataclass(frozen=True)
class Adopted:
    """One execution of an adopted warehouse, and the experiment under which its rows are in our tables."""

    execution: str
    experiment_id: str
    molecule: str


@dataclass(frozen=True)
class Claim:
    """Outcome of a claim: the batch (None when no object was new), and duplicates whose content differs."""

    batch: Batch | None
    experiments: int
    duplicates: int
    conflicting: tuple[str, ...] = ()


def has_ledger(engine: Engine) -> bool:
    """Whether all of the ledger's tables are there."""
    return _metadata.tables.keys() <= set(sa.inspect(engine).get_table_names())


def create_ledger(engine: Engine) -> None:
    """Create the ledger's tables where they are missing; on SQLite with a write-ahead log."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            # Outside a transaction: the journal mode cannot change inside one.
            connection.connection.cursor().execute("PRAGMA journal_mode=WAL")
    with engine.begin() as connection:
        _metadata.create_all(connection)
