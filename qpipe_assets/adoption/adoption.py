"""Adopting a warehouse: look at it, register its tables in place, or read its runs in anew.

In place: our empty tables give way to the warehouse's, in one transaction with the executions that the ledger must
know. Anew (`rewrite`): each run that we lack becomes a raw object again, which the ordinary ingest takes; then the
rows go that were registered in place. Either is done again safely: what was done is found, and the rest follows.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from qpipe_assets.adoption.row_filters import is_null
from qpipe_assets.adoption.runs import HEADS, Run, Runs, find_runs, rows_of
from qpipe_assets.tables import schemas
from qpipe_assets.tables.ledger_tables import Adopted
from qpipe_resources.hadoop_warehouse import HadoopWarehouse, NoWarehouseError
from qpipe_resources.object_layout import result_key
from qpipe_resources.registration import (
    RegistrationRefusedError,
    fit,
    holds,
    prepare,
    replace_entries,
    was_registered,
    withdraw,
)

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable
    from sqlalchemy import Connection

    from qpipe_assets.tables.installation import Installation
    from qpipe_assets.tables.report import Log

TOPIC = "adopted"
"""Topic of the records that were made again from a warehouse."""
_SHOWN = 5


@dataclass(frozen=True)
class TableFound:
    """One table of the warehouse.

    `colliding_ids` counts rows whose key another row has too. `hidden_columns` leave the schema when the table is
    registered, and stay in its data files. `conflicts` rule that out.
    """

    table: str
    rows: int
    files: int
    colliding_ids: int
    registered: bool
    added_columns: tuple[str, ...]
    hidden_columns: tuple[str, ...]
    conflicts: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What an adoption did.

    Attributes:
        registered: tables that are ours now, where they lie.
        known: runs that were in our tables before.
        adopted: runs that came by this call.
        refused: runs that could not be taken, with the reason.
    """

    registered: tuple[str, ...]
    known: int
    adopted: int
    refused: tuple[str, ...]


class Adoption:
    """Takes one warehouse over into one installation."""

    def __init__(self, installation: Installation, warehouse: HadoopWarehouse, log: Log = lambda line: None) -> None:
        self._installation = installation
        self._lakehouse = installation.lakehouse
        self._ledger = installation.ledger
        self._warehouse = warehouse
        self._log = log

    @cached_property
    def found(self) -> dict[str, IcebergTable]:
        """The warehouse's tables by name.

        A table that is ours loses the metadata of its old catalog in time, as it is written on; then it is itself.

        Raises:
            NoWarehouseError: it has none.
        """
        try:
            return self._warehouse.tables(schemas.NAMESPACE, schemas.names(schemas.ALL))
        except NoWarehouseError:
            ours = {name: self._lakehouse.load(name) for name in schemas.names(schemas.ALL)}
            registered = {name: table for name, table in ours.items() if was_registered(table)}
            here = {name: table for name, table in registered.items() if self._warehouse.contains(table.location())}
            if not here:
                raise
            return here

    @cached_property
    def runs(self) -> Runs:
        """The warehouse's runs."""
        heads = [self.found[name] for name in HEADS if name in self.found]
        # Where the tables are ours, what we have ingested is in them too.
        ours = all("molecule" in table.schema().column_names for table in heads)
        return find_runs(self.found, is_null("molecule") if ours else None)

    def look(self) -> list[TableFound]:
        """What is there; reads the keys of every table, changes nothing."""
        return [self._look(name, table) for name, table in self.found.items()]

    def _look(self, name: str, table: IcebergTable) -> TableFound:
        difference = fit(table, schemas.table(name))
        snapshot = table.current_snapshot()
        summary = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
        return TableFound(
            name,
            int(summary.get("total-records", 0)),
            int(summary.get("total-data-files", 0)),
            self._colliding(name, table),
            self._is_ours(name, table),
            difference.added,
            difference.hidden,
            difference.conflicts,
        )

    def _colliding(self, name: str, table: IcebergTable) -> int:
        import duckdb

        from qpipe_resources.table_version import version_of

        key = schemas.table(name).key
        if not set(key) <= set(table.schema().column_names):
            return 0
        with duckdb.connect() as connection:
            connection.register("rows", version_of(table, name, self._warehouse.data_files).dataset(()))
            columns = ", ".join(key)
            alike = f"select count(*) n from rows group by {columns} having count(*) > 1"
            return int(connection.sql(f"select coalesce(sum(n), 0) from ({alike})").fetchall()[0][0])

    def _is_ours(self, name: str, table: IcebergTable) -> bool:
        return self._lakehouse.load(name).metadata.table_uuid == table.metadata.table_uuid

    # In place

    def obstacles(self) -> list[str]:
        """Why the tables cannot be registered in place, one sentence each."""
        ours = {name: self._lakehouse.load(name) for name in self.found}
        new = {name: table for name, table in self.found.items() if not self._is_ours(name, table)}
        reasons = [
            f"{name}: the warehouse was written to since it was registered here"
            for name, table in self.found.items()
            if name not in new and table.metadata_location != ours[name].metadata_location
            if not holds(ours[name], table)
        ]
        reasons += [f"{name}: ours holds rows" for name in new if ours[name].current_snapshot() is not None]
        reasons += [conflict for name in new for conflict in fit(new[name], schemas.table(name)).conflicts]
        if new and (self._warehouse.files is None) != self._lakehouse.warehouse.startswith("file://"):
            reasons.append(f"{self._warehouse.location} is not on the store of our own tables")
        return reasons

    def register(self) -> Outcome:
        """Register the warehouse's tables where they lie, all or none; nothing to do where they are ours.

        Raises:
            NoWarehouseError: there is no warehouse.
            RegistrationRefusedError: they cannot be; nothing was changed.
        """
        reasons = self.obstacles()
        if reasons:
            more = f"; and {len(reasons) - _SHOWN} more, see --dry-run" if len(reasons) > _SHOWN else ""
            raise RegistrationRefusedError("; ".join(reasons[:_SHOWN]) + more)
        new = {name: table for name, table in self.found.items() if not self._is_ours(name, table)}
        refused = tuple(f"{key}: {reason}" for key, reason in self.runs.unusable.items())
        if not new:
            return Outcome((), len(self.runs.usable), 0, refused)
        before = {name: self._lakehouse.load(name).metadata_location for name in new}
        after = prepare(self._lakehouse, new, {name: schemas.table(name) for name in new})

        def change(connection: Connection) -> None:
            if set(new) & set(schemas.NORMALIZED_NAMES):
                self._refuse_claims(connection)
            replace_entries(connection, self._lakehouse, before, after)

        found = [Adopted(run.execution, run.experiment_id, run.molecule) for run in self.runs.usable.values()]
        self._ledger.adopt(self._warehouse.location, found, change)
        return Outcome(tuple(new), 0, len(found), refused)

    @staticmethod
    def _refuse_claims(connection: Connection) -> None:
        """An experiment that is claimed, and not written yet, could be one of the warehouse's."""
        import sqlalchemy as sa

        from qpipe_assets.tables.ledger_tables import experiments

        claimed = connection.execute(sa.select(experiments.c.experiment_id).limit(1)).scalar()
        if claimed is not None:
            raise RegistrationRefusedError(f"experiment {claimed} was ingested here")

    # Anew

    def rewrite(self) -> Outcome:
        """Ingest the warehouse's runs that our tables lack, from raw objects: as they landed, else made again.

        Raises:
            NoWarehouseError: there is no warehouse.
            LakehouseBusyError: other writers kept winning; run again.
        """
        molecules = sorted({run.molecule for run in self.runs.usable.values()})
        for molecule in molecules:
            # An object that has landed says more than the tables keep, so it goes first.
            self._installation.ingest(self._log).run(molecule)
        ours = self._ingested()
        missing = [run for execution, run in self.runs.usable.items() if execution not in ours]
        refused = [f"{key}: {reason}" for key, reason in self.runs.unusable.items()]
        refused += self._land(missing)
        for molecule in molecules:
            self._installation.ingest(self._log).run(molecule)
            self._installation.ml_features(self._log).run(molecule)
        self._withdraw_registered()
        failed = len(refused) - len(self.runs.unusable)
        return Outcome((), len(self.runs.usable) - len(missing), len(missing) - failed, tuple(refused))

    def _ingested(self) -> Collection[str]:
        """Executions that our tables have from raw objects."""
        from pyiceberg.expressions import Not

        return find_runs({name: self._lakehouse.load(name) for name in HEADS}, Not(is_null("molecule"))).usable

    def _withdraw_registered(self) -> None:
        """Delete the rows that were registered in place and have been ingested since."""
        from pyiceberg.expressions import And, Not

        ours = self._ingested()
        kept = [*self.runs.unusable, *(run.key for execution, run in self.runs.usable.items() if execution not in ours)]
        for name in (*schemas.NORMALIZED_NAMES, *schemas.ML_NAMES):
            if name in self.found and self._is_ours(name, self.found[name]):
                rows = is_null("molecule")
                if kept:
                    rows = And(rows, Not(rows_of(kept, self.runs.joined_by, self.found[name])))
                withdraw(self._lakehouse, name, rows)

    def _land(self, missing: list[Run]) -> list[str]:
        """Make the runs' raw objects; returns why some have none."""
        from qpipe_assets.adoption.reconstruction import IncompleteError, reconstruct
        from simulation.identity import content_id

        refused = []
        for run, record in reconstruct(self.found, self.runs, missing):
            if isinstance(record, IncompleteError):
                refused.append(str(record))
                continue
            # First the ledger: an object of the same execution that lands now is a duplicate already.
            adopted = Adopted(run.execution, content_id(record), run.molecule)
            self._ledger.adopt(self._warehouse.location, [adopted], anew=True)
            key = object_key(run)
            if self._installation.store.size(key) is None:
                self._installation.store.put(key, record.to_json())
                self._log(f"{run.molecule}: made {key} again")
        return refused


def object_key(run: Run) -> str:
    """Where the record of a run lies that was made again: under the day on which it was first processed."""
    return result_key(TOPIC, run.molecule, run.row["processing_date"].isoformat(), run.execution)
