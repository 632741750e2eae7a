"""What the ledger knows, as questions; each is one short read."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from qpipe_assets.tables.ledger_tables import (
    DONE,
    OPEN,
    QUARANTINED,
    SUPERSEDED,
    Batch,
    TableCommit,
    adopted,
    batches,
    commits,
    experiments,
    locations,
    objects,
    rebuilds,
)
from qpipe_resources.catalog_database import Attempts

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

CHUNK = 500
"""Values in one question, at most: databases limit them."""
_TOO_LARGE = re.compile(r"the object has (\d+) bytes, more than the limit of ")
IS_TOO_LARGE = (objects.c.status == QUARANTINED) & objects.c.error.like("the object has % bytes, more than %")
"""Rows of objects that were refused for nothing but their size."""
_VERSIONS = sa.select(objects.c.object_key, objects.c.etag, objects.c.error)
_Result = TypeVar("_Result")


def open_rebuild_of(molecule: str) -> sa.Select[Any]:
    """The query for the molecule's open rebuild, for reads and inside changes."""
    return sa.select(rebuilds.c.rebuild_id).where(rebuilds.c.molecule == molecule, rebuilds.c.state == OPEN)


def too_large(size: int, limit: int) -> str:
    """The error of an object over the size limit (both in bytes); the ledger reads the size in it."""
    return (
        f"the object has {size} bytes, more than the limit of {limit}; it was not read; "
        "raise QPIPE_MAX_OBJECT_BYTES if it is a real record"
    )


def _settled(rows: Iterable[sa.Row[Any]], max_object_bytes: int) -> set[tuple[str, str]]:
    """(key, etag) of the rows, without those that were refused for a size that the limit allows."""
    return {
        (row.object_key, row.etag)
        for row in rows
        if not ((refused := _TOO_LARGE.match(row.error or "")) and int(refused[1]) <= max_object_bytes)
    }


class LedgerQueries:
    """Reads of the ledger.

    An object that was refused only for its size counts as looked at until `max_object_bytes` allows it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _transaction(self, change: Callable[[Connection], _Result], *, readonly: bool = False) -> _Result:
        """The result of a transaction, which may run several times: it must find out what it has done before."""
        engine = self._engine.execution_options(readonly=True) if readonly else self._engine
        attempts = Attempts("the ledger")
        while True:
            try:
                with engine.begin() as connection:
                    return change(connection)
            except sa.exc.DBAPIError as error:
                attempts.failed(error)

    def _rows(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        return self._transaction(lambda connection: connection.execute(query).all(), readonly=True)

    def known_versions(self, molecule: str, max_object_bytes: int) -> set[tuple[str, str]]:
        """(key, etag) of every object version of the molecule, or of none, that was looked at."""
        mine = (objects.c.molecule == molecule) | objects.c.molecule.is_(None)
        return _settled(self._rows(_VERSIONS.where(mine)), max_object_bytes)

    def looked_at(self, keys: Iterable[str], max_object_bytes: int) -> set[tuple[str, str]]:
        """(key, etag) of every version of these objects that was looked at, for whatever molecule."""
        return _settled(self._rows_of(_VERSIONS, objects.c.object_key, keys), max_object_bytes)

    def located(self, keys: Iterable[str]) -> dict[tuple[str, str], str]:
        """Molecule of every known version of these objects, whose keys do not say it."""
        found = self._rows_of(sa.select(locations), locations.c.object_key, keys)
        return {(r.object_key, r.etag): r.molecule for r in found}

    def _rows_of(self, query: sa.Select[Any], column: sa.Column[str], values: Iterable[str]) -> Iterator[sa.Row[Any]]:
        """The rows with these values in the column, at the cost of these rows, not of the table."""
        wanted = list(values)
        for start in range(0, len(wanted), CHUNK):
            yield from self._rows(query.where(column.in_(wanted[start : start + CHUNK])))

    def unreadable_versions(self, max_object_bytes: int) -> set[tuple[str, str]]:
        """(key, etag) of quarantined objects of which not even the molecule is known."""
        return _settled(self._rows(_VERSIONS.where(objects.c.molecule.is_(None))), max_object_bytes)

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

    def days_pending(self, table: str) -> set[dt.date]:
        """Days on which a batch was claimed that is open, or done and without its commit in the table."""
        written = sa.select(commits.c.batch_id).where(commits.c.table_name == table)
        missing = sa.and_(batches.c.state == DONE, batches.c.batch_id.not_in(written))
        query = sa.select(batches.c.date).where(sa.or_(batches.c.state == OPEN, missing)).distinct()
        return {dt.date.fromisoformat(row.date) for row in self._rows(query)}

    def oldest_open_claim(self) -> dt.datetime | None:
        """When the oldest batch that is still open was claimed."""
        oldest = self._rows(sa.select(sa.func.min(batches.c.at)).where(batches.c.state == OPEN))[0][0]
        return dt.datetime.fromisoformat(oldest) if oldest else None

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

    def rows_committed(self, batch_ids: Iterable[str]) -> dict[str, dict[str, int]]:
        """Of each of these batches that the ledger knows: rows that it added to each table so far."""
        wanted = list(batch_ids)
        found: dict[str, dict[str, int]] = {
            r.batch_id: {} for r in self._rows_of(sa.select(batches.c.batch_id), batches.c.batch_id, wanted)
        }
        for row in self._rows_of(sa.select(commits), commits.c.batch_id, wanted):
            found[row.batch_id][row.table_name] = row.rows
        return found

    def withdrawn(self, batch_ids: Iterable[str]) -> set[str]:
        """Those of these batches that a rebuild has withdrawn."""
        query = sa.select(batches.c.batch_id).where(batches.c.state == SUPERSEDED)
        return {r.batch_id for r in self._rows_of(query, batches.c.batch_id, batch_ids)}

    def withdrawn_molecules(self) -> set[str]:
        """Molecules of which a rebuild has withdrawn all batches, and no other was claimed since."""
        there = sa.select(batches.c.molecule).where(batches.c.state != SUPERSEDED)
        query = sa.select(batches.c.molecule).where(batches.c.molecule.not_in(there)).distinct()
        return {r.molecule for r in self._rows(query)}

    def batch_keys(self, batch_id: str) -> list[str]:
        """Keys of the batch's objects, duplicates included."""
        return [r.object_key for r in self._rows(sa.select(objects.c.object_key).where(objects.c.batch_id == batch_id))]

    def settled_tags(self, table: str, tags: Iterable[str]) -> set[str]:
        """Those of the table's tags that may expire: recorded in commits, or of a batch that a rebuild withdrew."""
        batch_ids = {tag: tag.removeprefix("v_").removeprefix("incr_") for tag in tags}
        recorded = sa.select(commits.c.tag).where(commits.c.table_name == table, commits.c.tag.in_(list(batch_ids)))
        settled = {r.tag for r in self._rows(recorded)}
        gone = self.withdrawn(batch_ids.values())
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

    def adopted(self, executions: Iterable[str]) -> dict[str, str]:
        """The experiment of each of these executions that was adopted."""
        found = self._rows_of(sa.select(adopted), adopted.c.execution, executions)
        return {r.execution: r.experiment_id for r in found}

    def object_versions(self, experiment_id: str) -> list[dict[str, Any]]:
        """Object versions that carried the experiment, first seen first: the one that it was claimed from among them.

        Of an object with several records, which is known by its first, others are told only as that one.
        """
        claimed = sa.and_(
            experiments.c.experiment_id == experiment_id,
            experiments.c.object_key == objects.c.object_key,
            experiments.c.etag == objects.c.etag,
        )
        mine = sa.or_(objects.c.experiment_id == experiment_id, sa.exists().where(claimed))
        query = sa.select(objects).where(mine).order_by(objects.c.at)
        return [dict(r._mapping) for r in self._rows(query)]

    def open_rebuild(self, molecule: str) -> str | None:
        """Identity of the molecule's open rebuild."""
        rows = self._rows(open_rebuild_of(molecule))
        return rows[0].rebuild_id if rows else None
