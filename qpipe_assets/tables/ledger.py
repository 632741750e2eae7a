"""The ledger: what is processed, and the changes of it, each in one transaction (tables: ledger_tables.py).

Each may be repeated when the answer to its commit was lost. What decides for a whole molecule (claims, the end of a
batch, rebuilds) holds that molecule's lock, and no other, from its first statement to its commit.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from qpipe_assets.tables.ledger_queries import CHUNK, IS_TOO_LARGE, LedgerQueries, open_rebuild_of
from qpipe_assets.tables.ledger_tables import (
    DONE,
    DUPLICATE,
    INGESTED,
    OPEN,
    QUARANTINED,
    SUPERSEDED,
    Adopted,
    Batch,
    Candidate,
    Claim,
    TableCommit,
    adopted,
    batches,
    commits,
    experiments,
    locations,
    objects,
    rebuilds,
)
from qpipe_resources.catalog_database import lock_for_transaction

if TYPE_CHECKING:
    from sqlalchemy import Connection


class RebuildPendingError(RuntimeError):
    """A rebuild of the molecule was asked for meanwhile: finish it first, then claim again."""


class Ledger(LedgerQueries):
    """The ledger with its changes."""

    def locate(self, key: str, etag: str, molecule: str) -> None:
        """Remember the molecule of an object whose key does not say it."""
        row = {"object_key": key, "etag": etag, "molecule": molecule}
        self._transaction(lambda connection: self._insert(connection, locations, row))

    def quarantine(self, key: str, etag: str, molecule: str | None, error: str) -> bool:
        """Record an object version that cannot be used; returns whether it is new to the ledger."""
        row = _object_row(key, etag, molecule, None, None, QUARANTINED, error)
        return self._transaction(lambda connection: self._insert_object(connection, row))

    def claim(self, molecule: str, batch_id: str, candidates: Sequence[Candidate]) -> Claim:
        """Claim objects and experiments for a new batch, all in ONE transaction; first come, first served.

        An object version that is already in the ledger is left alone, unless it was refused for its size; an
        experiment that is already claimed, or was adopted, makes its object a duplicate. Without any new object there
        is no batch.

        Raises:
            RebuildPendingError: a rebuild of the molecule is open.
        """
        at = _now()

        def change(connection: Connection) -> Claim:
            _lock_molecule(connection, molecule)
            made = connection.execute(sa.select(batches.c.at).where(batches.c.batch_id == batch_id)).scalar()
            if made is not None:
                return _claimed_before(
                    connection, Batch(batch_id, molecule, dt.datetime.fromisoformat(made)), candidates
                )
            if connection.execute(open_rebuild_of(molecule)).first():
                raise RebuildPendingError(molecule)
            generation = connection.execute(
                sa.select(sa.func.count()).select_from(rebuilds).where(rebuilds.c.molecule == molecule)
            ).scalar_one()
            outcome = _ClaimOutcome(_adopted_as(connection, candidates))
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
        row = _object_row(key, etag, molecule, first, batch_id, INGESTED, None, at)
        if not self._insert_object(connection, row):
            return
        outcome.objects += 1
        new = 0
        for candidate in found:
            if outcome.adopted_as.get(candidate.execution, candidate.experiment_id) != candidate.experiment_id:
                outcome.duplicates += 1
                continue
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
                if _conflicts(connection, candidate):
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

        def change(connection: Connection) -> None:
            mine = batches.c.batch_id == batch_id
            molecule = connection.execute(sa.select(batches.c.molecule).where(mine)).scalar_one()
            _lock_molecule(connection, molecule)
            connection.execute(batches.update().where(mine, batches.c.state == OPEN).values(state=DONE))

        self._transaction(change)

    def request_rebuild(self, molecule: str) -> str:
        """Ask for a rebuild: withdraw the molecule's batches and record the request, in one transaction.

        Returns:
            Identity of the rebuild; of the open one when there is one already.
        """
        row = {"rebuild_id": uuid.uuid4().hex, "molecule": molecule, "at": _now(), "state": OPEN}

        def change(connection: Connection) -> str:
            _lock_molecule(connection, molecule)
            found = connection.execute(open_rebuild_of(molecule)).scalar()
            if found:
                return found
            # Not new when the answer to its commit was lost and somebody has finished it since.
            if self._insert(connection, rebuilds, row):
                connection.execute(batches.update().where(batches.c.molecule == molecule).values(state=SUPERSEDED))
            return row["rebuild_id"]

        return self._transaction(change)

    def finish_rebuild(self, rebuild_id: str, molecule: str) -> None:
        """Forget the molecule's objects and experiments, and close the rebuild; once, whoever comes first."""

        def change(connection: Connection) -> None:
            _lock_molecule(connection, molecule)
            close = rebuilds.update().where(rebuilds.c.rebuild_id == rebuild_id, rebuilds.c.state == OPEN)
            if connection.execute(close.values(state=DONE)).rowcount:
                connection.execute(objects.delete().where(objects.c.molecule == molecule))
                connection.execute(experiments.delete().where(experiments.c.molecule == molecule))

        self._transaction(change)

    def adopt(
        self,
        warehouse: str,
        found: Sequence[Adopted],
        register: Callable[[Connection], None] = lambda connection: None,
        *,
        anew: bool = False,
    ) -> None:
        """Remember executions, so that objects that hold them are duplicates, and `register` in one transaction.

        Args:
            warehouse: where they come from.
            found: at most once each; what is known already stays as it is.
            register: what is to be true together with it; undone when it raises.
            anew: forget first what is known of them.
        """
        at = _now()

        def change(connection: Connection) -> None:
            for molecule in sorted({each.molecule for each in found}):
                _lock_molecule(connection, molecule)
            register(connection)
            for each in found:
                if anew:
                    connection.execute(adopted.delete().where(adopted.c.execution == each.execution))
                row = {"execution": each.execution, "experiment_id": each.experiment_id, "molecule": each.molecule}
                self._insert(connection, adopted, row | {"warehouse": warehouse, "at": at})

        self._transaction(change)

    def _insert_object(self, connection: Connection, row: dict[str, Any]) -> bool:
        """Insert a row of an object version, in the place of one that says that it was too large to be read."""
        mine = (objects.c.object_key == row["object_key"]) & (objects.c.etag == row["etag"])
        connection.execute(objects.delete().where(mine, IS_TOO_LARGE))
        return self._insert(connection, objects, row)

    def _insert(self, connection: Connection, table: sa.Table, row: dict[str, Any]) -> bool:
        """Insert unless the primary key is taken; returns whether the row is new."""
        if self._engine.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert as postgresql_insert

            return connection.execute(postgresql_insert(table).values(**row).on_conflict_do_nothing()).rowcount > 0
        from sqlalchemy.dialects.sqlite import insert

        return connection.execute(insert(table).values(**row).on_conflict_do_nothing()).rowcount > 0


def _lock_molecule(connection: Connection, molecule: str) -> None:
    lock_for_transaction(connection, f"qpipe molecule {molecule}")


def _claimed_before(connection: Connection, batch: Batch, candidates: Sequence[Candidate]) -> Claim:
    """The claim that was made although its answer was lost."""
    mine = sa.select(sa.func.count()).select_from(experiments).where(experiments.c.batch_id == batch.batch_id)
    claimed = connection.execute(mine).scalar_one()
    conflicting = tuple(f"{c.experiment_id} in {c.object_key}" for c in candidates if _conflicts(connection, c))
    return Claim(batch, claimed, len(candidates) - claimed, conflicting)


def _conflicts(connection: Connection, candidate: Candidate) -> bool:
    """Whether the experiment was claimed with another content."""
    query = sa.select(experiments.c.content_digest).where(experiments.c.experiment_id == candidate.experiment_id)
    return connection.execute(query).scalar() not in (candidate.content_digest, None)


def _adopted_as(connection: Connection, candidates: Sequence[Candidate]) -> dict[str, str]:
    """The experiment of each of the candidates' executions that was adopted."""
    executions = sorted({candidate.execution for candidate in candidates})
    found: dict[str, str] = {}
    for start in range(0, len(executions), CHUNK):
        query = sa.select(adopted).where(adopted.c.execution.in_(executions[start : start + CHUNK]))
        found |= {row.execution: row.experiment_id for row in connection.execute(query)}
    return found


@dataclass
class _ClaimOutcome:
    adopted_as: dict[str, str]
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
