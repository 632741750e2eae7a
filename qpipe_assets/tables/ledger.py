"""The ledger: what is processed, in SQL tables of the catalog's own database.

objects      one row for each version (etag) of an object that was looked at: ingested, duplicate or quarantined.
locations    molecule of an object whose key does not say it, so that it is read once and not by every molecule.
experiments  one row for each experiment that a batch claimed; the primary key is what makes rows unique.
batches      open (some table is missing), done, or superseded by a rebuild.
commits      which snapshot holds a batch in which table; the tag is the truth while a batch is open, this after.
rebuilds     a rebuild that was asked for; it is finished by whoever comes next.
"""

from __future__ import annotations

import datetime as dt
import random
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from qpipe_resources.lakehouse import MAX_ATTEMPTS, LakehouseBusyError, is_lock_conflict

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

INGESTED, DUPLICATE, QUARANTINED = "ingested", "duplicate", "quarantined"
OPEN, DONE, SUPERSEDED = "open", "done", "superseded"

_Result = TypeVar("_Result")
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
    """One decoded experiment that asks to be claimed, with the object it came from."""

    experiment_id: str
    object_key: str
    etag: str
    content_digest: str


@dataclass(frozen=True)
class Claim:
    """Outcome of a claim: the batch (None when no object was new), and duplicates whose content differs."""

    batch: Batch | None
    experiments: int
    duplicates: int
    conflicting: tuple[str, ...] = ()


class RebuildPendingError(RuntimeError):
    """A rebuild of the molecule was asked for meanwhile: finish it first, then claim again."""


def create_ledger(engine: Engine) -> None:
    """Create the ledger's tables where they are missing; on SQLite with a write-ahead log."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            # Outside a transaction: the journal mode cannot change inside one.
            connection.connection.cursor().execute("PRAGMA journal_mode=WAL")
    with engine.begin() as connection:
        _metadata.create_all(connection)


class Ledger:
    """Reads and single-transaction changes of the ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _transaction(self, change: Callable[[Connection], _Result], *, readonly: bool = False) -> _Result:
        engine = self._engine.execution_options(readonly=True) if readonly else self._engine
        for attempt in range(MAX_ATTEMPTS):
            try:
                with engine.begin() as connection:
                    return change(connection)
            except sa.exc.OperationalError as error:
                if not is_lock_conflict(error):
                    raise
                time.sleep(random.uniform(0, min(0.02 * 2 ** min(attempt, 5), 0.5)))
        raise LakehouseBusyError(f"the ledger stayed locked for {MAX_ATTEMPTS} attempts; run again")

    def _rows(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        return self._transaction(lambda connection: connection.execute(query).all(), readonly=True)

    # Reading

    def known_versions(self, molecule: str) -> set[tuple[str, str]]:
        """(key, etag) of every object version of the molecule, or of none, that was looked at."""
        mine = (objects.c.molecule == molecule) | objects.c.molecule.is_(None)
        return {(r.object_key, r.etag) for r in self._rows(sa.select(objects.c.object_key, objects.c.etag).where(mine))}

    def located(self) -> dict[tuple[str, str], str]:
        """Molecule of every object version whose key does not say it."""
        return {(r.object_key, r.etag): r.molecule for r in self._rows(sa.select(locations))}

    def unreadable_versions(self) -> set[tuple[str, str]]:
        """(key, etag) of quarantined objects of which not even the molecule is known."""
        query = sa.select(objects.c.object_key, objects.c.etag).where(objects.c.molecule.is_(None))
        return {(r.object_key, r.etag) for r in self._rows(query)}

    def open_batches(self, molecule: str) -> list[Batch]:
        """The molecule's open batches, oldest first."""
        return self._batches(sa.select(batches).where(batches.c.molecule == molecule, batches.c.state == OPEN))

    def done_batches_without(self, molecule: str, table: str, after: str | None = None) -> list[Batch]:
        """Done batches that have no commits row for `table` but one for `after` (when given), oldest first."""
        query = sa.select(batches).where(batches.c.molecule == molecule, batches.c.state == DONE)
        query = query.where(
            batches.c.batch_id.not_in(sa.select(commits.c.batch_id).where(commits.c.table_name == table))
        )
        if after is not None:
            query = query.where(
                batches.c.batch_id.in_(sa.select(commits.c.batch_id).where(commits.c.table_name == after))
            )
        return self._batches(query)

    def _batches(self, query: sa.Select[Any]) -> list[Batch]:
        rows = self._rows(query.order_by(batches.c.at, batches.c.batch_id))
        return [Batch(r.batch_id, r.molecule, dt.datetime.fromisoformat(r.at), r.state) for r in rows]

    def batch_state(self, batch_id: str) -> str | None:
        """State of a batch, None when there is no such batch."""
        rows = self._rows(sa.select(batches.c.state).where(batches.c.batch_id == batch_id))
        return rows[0].state if rows else None

    def batch_experiments(self, batch_id: str) -> set[str]:
        """Experiments that the batch claimed."""
        query = sa.select(experiments.c.experiment_id).where(experiments.c.batch_id == batch_id)
        return {r.experiment_id for r in self._rows(query)}

    def batch_commits(self, batch_id: str) -> dict[str, TableCommit]:
        """What the batch did to each table so far."""
        rows = self._rows(sa.select(commits).where(commits.c.batch_id == batch_id))
        return {r.table_name: TableCommit(r.table_name, r.rows, r.snapshot_id, r.tag) for r in rows}

    def batch_objects(self, batch_id: str) -> dict[str, int]:
        """Number of the batch's objects by status."""
        query = sa.select(objects.c.status, sa.func.count().label("n")).where(objects.c.batch_id == batch_id)
        return {r.status: r.n for r in self._rows(query.group_by(objects.c.status))}

    def batch_keys(self, batch_id: str) -> list[str]:
        """Keys of the batch's objects, duplicates included."""
        return [r.object_key for r in self._rows(sa.select(objects.c.object_key).where(objects.c.batch_id == batch_id))]

    def settled_tags(self, table: str, tags: Iterable[str]) -> set[str]:
        """Those of the table's tags that may expire: recorded in commits, or of a batch that a rebuild withdrew."""
        batch_ids = {tag: tag.removeprefix("v_").removeprefix("incr_") for tag in tags}
        recorded = sa.select(commits.c.tag).where(commits.c.table_name == table, commits.c.tag.in_(list(batch_ids)))
        withdrawn = sa.select(batches.c.batch_id).where(
            batches.c.batch_id.in_(list(batch_ids.values())), batches.c.state == SUPERSEDED
        )
        settled = {r.tag for r in self._rows(recorded)}
        gone = {r.batch_id for r in self._rows(withdrawn)}
        return settled | {tag for tag, batch_id in batch_ids.items() if batch_id in gone}

    def latest_commits(self, table: str, molecule: str) -> TableCommit | None:
        """The molecule's newest commit to the table."""
        query = (
            sa.select(commits)
            .join(batches, batches.c.batch_id == commits.c.batch_id)
            .where(commits.c.table_name == table, batches.c.molecule == molecule, commits.c.snapshot_id.is_not(None))
            .order_by(commits.c.at.desc())
            .limit(1)
        )
        rows = self._rows(query)
        return TableCommit(table, rows[0].rows, rows[0].snapshot_id, rows[0].tag) if rows else None

    def quarantined(self) -> list[dict[str, str | None]]:
        """Objects whose LATEST version is quarantined, with the error; a healed object is not among them."""
        columns = (
            objects.c.object_key,
            objects.c.etag,
            objects.c.molecule,
            objects.c.status,
            objects.c.error,
            objects.c.at,
        )
        latest: dict[str, sa.Row[Any]] = {}
        for row in self._rows(sa.select(*columns).order_by(objects.c.at)):
            latest[row.object_key] = row
        return [dict(r._mapping) for _, r in sorted(latest.items()) if r.status == QUARANTINED]

    def pending_molecules(self, last_ml_table: str) -> set[str]:
        """Molecules with an open batch, an open rebuild, or a done batch that the last ML table lacks."""
        built = sa.select(commits.c.batch_id).where(commits.c.table_name == last_ml_table)
        unfinished = sa.or_(batches.c.state == OPEN, sa.and_(batches.c.state == DONE, batches.c.batch_id.not_in(built)))
        found = {r.molecule for r in self._rows(sa.select(batches.c.molecule).where(unfinished).distinct())}
        return found | {r.molecule for r in self._rows(sa.select(rebuilds.c.molecule).where(rebuilds.c.state == OPEN))}

    def experiment(self, experiment_id: str) -> dict[str, Any] | None:
        """Where an experiment's rows come from: object, etag, batch, moment, generation, snapshots."""
        query = sa.select(experiments, batches.c.at, batches.c.state).join(
            batches, batches.c.batch_id == experiments.c.batch_id
        )
        rows = self._rows(query.where(experiments.c.experiment_id == experiment_id))
        return dict(rows[0]._mapping) if rows else None

    def experiment_ids(self, prefix: str) -> list[str]:
        """Experiments whose identity starts with `prefix`, at most ten."""
        query = sa.select(experiments.c.experiment_id).where(
            experiments.c.experiment_id.startswith(prefix, autoescape=True)
        )
        return [r.experiment_id for r in self._rows(query.order_by(experiments.c.experiment_id).limit(10))]

    def claimed(self, experiment_ids: Iterable[str]) -> set[str]:
        """Those of the given experiments that a batch has claimed."""
        query = sa.select(experiments.c.experiment_id).where(experiments.c.experiment_id.in_(list(experiment_ids)))
        return {r.experiment_id for r in self._rows(query)}

    def object_versions(self, experiment_id: str) -> list[dict[str, Any]]:
        """Every object version that carried the experiment, first seen first."""
        query = sa.select(objects).where(objects.c.experiment_id == experiment_id).order_by(objects.c.at)
        return [dict(r._mapping) for r in self._rows(query)]

    def molecules(self) -> set[str]:
        """Molecules that the ledger has met."""
        found = {r.molecule for r in self._rows(sa.select(batches.c.molecule).distinct())}
        return found | {r.molecule for r in self._rows(sa.select(locations.c.molecule).distinct())}

    # Changing, one transaction each

    def locate(self, key: str, etag: str, molecule: str) -> None:
        """Remember the molecule of an object whose key does not say it."""
        row = {"object_key": key, "etag": etag, "molecule": molecule}
        self._transaction(lambda connection: self._insert(connection, locations, row))

    def quarantine(self, key: str, etag: str, molecule: str | None, error: str) -> bool:
        """Record an object version that cannot be used; returns whether it is new to the ledger."""
        row = _object_row(key, etag, molecule, None, None, QUARANTINED, error)
        return self._transaction(lambda connection: self._insert(connection, objects, row))

    def claim(self, molecule: str, batch_id: str, candidates: Sequence[Candidate]) -> Claim:
        """Claim objects and experiments for a new batch, all in ONE transaction; first come, first served.

        An object version that is already in the ledger is left alone; an experiment that is already claimed makes its
        object a duplicate. Without any new object there is no batch.

        Raises:
            RebuildPendingError: a rebuild of the molecule is open.
        """
        at = _now()

        def change(connection: Connection) -> Claim:
            pending = sa.select(rebuilds.c.rebuild_id).where(rebuilds.c.molecule == molecule, rebuilds.c.state == OPEN)
            if connection.execute(pending).first():
                raise RebuildPendingError(molecule)
            generation = connection.execute(
                sa.select(sa.func.count()).select_from(rebuilds).where(rebuilds.c.molecule == molecule)
            ).scalar_one()
            outcome = _ClaimOutcome()
            for (key, etag), found in _by_object(candidates).items():
                self._claim_object(connection, outcome, molecule, batch_id, generation, key, etag, found, at)
            if not outcome.objects:
                return Claim(None, 0, 0)
            row = {"batch_id": batch_id, "molecule": molecule, "at": at, "date": at[:10], "state": OPEN}
            connection.execute(batches.insert().values(**row))
            batch = Batch(batch_id, molecule, dt.datetime.fromisoformat(at))
            return Claim(batch, outcome.experiments, outcome.duplicates, tuple(outcome.conflicting))

        return self._transaction(change)

    def _claim_object(
        self,
        connection: Connection,
        outcome: _ClaimOutcome,
        molecule: str,
        batch_id: str,
        generation: int,
        key: str,
        etag: str,
        found: list[Candidate],
        at: str,
    ) -> None:
        first = found[0].experiment_id
        if not self._insert(connection, objects, _object_row(key, etag, molecule, first, batch_id, INGESTED, None, at)):
            return
        outcome.objects += 1
        new = 0
        for candidate in found:
            row = {
                "experiment_id": candidate.experiment_id,
                "molecule": molecule,
                "batch_id": batch_id,
                "generation": generation,
                "object_key": key,
                "etag": etag,
                "content_digest": candidate.content_digest,
            }
            if self._insert(connection, experiments, row):
                new += 1
            else:
                outcome.duplicates += 1
                stored = sa.select(experiments.c.content_digest).where(
                    experiments.c.experiment_id == candidate.experiment_id
                )
                if connection.execute(stored).scalar_one() != candidate.content_digest:
                    outcome.conflicting.append(f"{candidate.experiment_id} in {key}")
        outcome.experiments += new
        if not new:
            mine = (objects.c.object_key == key) & (objects.c.etag == etag)
            connection.execute(objects.update().where(mine).values(status=DUPLICATE))

    def record_commits(self, batch_id: str, made: Iterable[TableCommit]) -> None:
        """Record what a batch did to tables; what is recorded already stays."""
        at = _now()

        def change(connection: Connection) -> None:
            for commit in made:
                row = {
                    "batch_id": batch_id,
                    "table_name": commit.table,
                    "snapshot_id": commit.snapshot_id,
                    "tag": commit.tag,
                    "rows": commit.rows,
                    "at": at,
                }
                self._insert(connection, commits, row)

        self._transaction(change)

    def finish_batch(self, batch_id: str) -> None:
        """Close an open batch."""
        query = batches.update().where(batches.c.batch_id == batch_id, batches.c.state == OPEN).values(state=DONE)
        self._transaction(lambda connection: connection.execute(query))

    def request_rebuild(self, molecule: str) -> str:
        """Ask for a rebuild: withdraw the molecule's batches and record the request, in one transaction.

        Returns:
            Identity of the rebuild; of the open one when there is one already.
        """
        rebuild_id = uuid.uuid4().hex

        def change(connection: Connection) -> str:
            pending = sa.select(rebuilds.c.rebuild_id).where(rebuilds.c.molecule == molecule, rebuilds.c.state == OPEN)
            found = connection.execute(pending).scalar()
            if found:
                return found
            connection.execute(
                rebuilds.insert().values(rebuild_id=rebuild_id, molecule=molecule, at=_now(), state=OPEN)
            )
            connection.execute(batches.update().where(batches.c.molecule == molecule).values(state=SUPERSEDED))
            return rebuild_id

        return self._transaction(change)

    def open_rebuild(self, molecule: str) -> str | None:
        """Identity of the molecule's open rebuild."""
        query = sa.select(rebuilds.c.rebuild_id).where(rebuilds.c.molecule == molecule, rebuilds.c.state == OPEN)
        rows = self._rows(query)
        return rows[0].rebuild_id if rows else None

    def finish_rebuild(self, rebuild_id: str, molecule: str) -> None:
        """Forget the molecule's objects and experiments, and close the rebuild; once, whoever comes first."""

        def change(connection: Connection) -> None:
            close = rebuilds.update().where(rebuilds.c.rebuild_id == rebuild_id, rebuilds.c.state == OPEN)
            if connection.execute(close.values(state=DONE)).rowcount:
                connection.execute(objects.delete().where(objects.c.molecule == molecule))
                connection.execute(experiments.delete().where(experiments.c.molecule == molecule))

        self._transaction(change)

    def _insert(self, connection: Connection, table: sa.Table, row: dict[str, Any]) -> bool:
        """Insert unless the primary key is taken; returns whether the row is new."""
        if self._engine.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert as postgresql_insert

            return connection.execute(postgresql_insert(table).values(**row).on_conflict_do_nothing()).rowcount > 0
        from sqlalchemy.dialects.sqlite import insert

        return connection.execute(insert(table).values(**row).on_conflict_do_nothing()).rowcount > 0


@dataclass
class _ClaimOutcome:
    objects: int = 0
    experiments: int = 0
    duplicates: int = 0

    def __post_init__(self) -> None:
        self.conflicting: list[str] = []


def _by_object(candidates: Sequence[Candidate]) -> dict[tuple[str, str], list[Candidate]]:
    grouped: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in candidates:
        grouped.setdefault((candidate.object_key, candidate.etag), []).append(candidate)
    return grouped


def _object_row(
    key: str,
    etag: str,
    molecule: str | None,
    experiment_id: str | None,
    batch_id: str | None,
    status: str,
    error: str | None,
    at: str | None = None,
) -> dict[str, Any]:
    return {
        "object_key": key,
        "etag": etag,
        "molecule": molecule,
        "experiment_id": experiment_id,
        "batch_id": batch_id,
        "status": status,
        "error": error,
        "at": at or _now(),
    }


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
