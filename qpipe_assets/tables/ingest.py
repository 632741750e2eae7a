"""The ingest protocol: raw objects into the nine tables, every row exactly once, at the cost of the new data.

One run for a molecule: finish a rebuild that was asked for, finish the open batches, then take the new objects in
batches of bounded size: decode, stage, claim in one ledger transaction, append and tag each table, close the batch.
Killed anywhere, the next run goes on; several at once on the same molecule do no harm (docs/architecture.md).
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from qpipe_assets.tables import schemas
from qpipe_assets.tables.batch_writer import BatchWriter
from qpipe_assets.tables.batching import portions
from qpipe_assets.tables.decode import valid_partition_key
from qpipe_assets.tables.discovery import Discovery, Limits
from qpipe_assets.tables.engine import Examined, TableEngine
from qpipe_assets.tables.flatten import PROCESSING_NAME
from qpipe_assets.tables.garbage import rare_collections
from qpipe_assets.tables.ledger import Ledger, RebuildPendingError
from qpipe_assets.tables.ledger_tables import OPEN, Batch, TableCommit
from qpipe_assets.tables.maintenance import Retention
from qpipe_assets.tables.report import Log, Report
from qpipe_assets.tables.staging import Staging, StagingLostError
from qpipe_resources.object_store import ObjectInfo, ObjectMissingError, ObjectStore

if TYPE_CHECKING:
    from qpipe_resources.lakehouse import Lakehouse

NO_CHANGES = "no_changes"


class Ingest:
    """Brings one molecule's tables up to date with its raw objects."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        store: ObjectStore,
        ledger: Ledger,
        limits: Limits,
        retention: Retention,
        engine: TableEngine,
        log: Log = lambda line: None,
    ) -> None:
        self._lakehouse = lakehouse
        self._engine = engine
        self._staging = Staging(store)
        self._ledger = ledger
        self._limits = limits
        self._writer = BatchWriter(lakehouse, ledger, retention)
        self._log = log
        self._discovery = Discovery(store, ledger, limits)

    @rare_collections()
    def run(self, molecule: str, tables: Sequence[str] = schemas.NORMALIZED_NAMES, *, rebuild: bool = False) -> Report:
        """Process what is new for `molecule`.

        Args:
            molecule: partition key.
            tables: which of the nine; a subset leaves batches open, and a later run finishes them.
            rebuild: first delete the molecule's rows everywhere, then take all its objects again.

        Raises:
            ValueError: the partition key or a table's name is not valid.
            LakehouseBusyError: other writers kept winning; run again.
            StagingLostError: an open batch cannot be resumed.
        """
        if not valid_partition_key(molecule):
            raise ValueError(f"molecule {molecule!r} is no valid partition key: expected A-Z a-z 0-9 _ . + -, no '..'")
        unknown = set(tables) - set(schemas.NORMALIZED_NAMES)
        if unknown:
            raise ValueError(f"tables {sorted(unknown)} are not among {list(schemas.NORMALIZED_NAMES)}")
        report = Report(molecule, rows=dict.fromkeys(tables, 0))
        if rebuild:
            self._ledger.request_rebuild(molecule)
        self._staging.sweep(self._ledger)
        while not self._pass(molecule, tables, report):
            self._log(f"{molecule}: a rebuild was asked for meanwhile; starting over")
        for name in tables:
            commit = self._ledger.latest_commits(name, molecule)
            if commit is not None:
                report.latest[name] = commit
        return report

    def _pass(self, molecule: str, tables: Sequence[str], report: Report) -> bool:
        """One pass over rebuild, open batches and new objects; False when a rebuild came in between."""
        rebuild_id = self._ledger.open_rebuild(molecule)
        if rebuild_id is not None:
            self._finish_rebuild(rebuild_id, molecule)
        for batch in self._ledger.open_batches(molecule):
            self._log(f"{molecule}: resuming batch {batch.batch_id}")
            self._finish(batch, tables, report)
        known = self._ledger.known_versions(molecule, self._limits.max_object_bytes)
        new = [info for info in self._discovery.of_molecule(molecule) if (info.key, info.etag) not in known]
        if new:
            self._log(f"{molecule}: {len(new)} new objects, {sum(info.size for info in new)} bytes")
        with contextlib.closing(self._staged(molecule, new)) as staged:
            for batch_id, examined in staged:
                try:
                    claimed = self._claim(molecule, batch_id, examined, report)
                except RebuildPendingError:
                    return False
                if claimed is not None:
                    self._finish(claimed, tables, report)
        return True

    # Steps 2 and 3: decode, stage, claim

    def _staged(self, molecule: str, new: list[ObjectInfo]) -> Generator[tuple[str, list[Examined]]]:
        """Each portion, staged; the next one is decoded while this one's rows are written, which leaves a core idle."""
        ahead: list[tuple[str, Future[list[Examined]]]] = []
        with ThreadPoolExecutor(1) as background:
            try:
                for portion in portions(new, self._engine.batch_bytes, self._limits.max_object_bytes):
                    batch_id = uuid.uuid4().hex
                    ahead.append((batch_id, background.submit(self._engine.stage, molecule, batch_id, portion)))
                    if len(ahead) > 1:
                        yield _result(*ahead.pop(0))
                if ahead:
                    yield _result(*ahead.pop())
            finally:
                # What will not be claimed any more: the caller has stopped, or staging has failed.
                for batch_id, stage in ahead:
                    stage.exception()
                    self._staging.delete(batch_id)

    def _claim(self, molecule: str, batch_id: str, examined: list[Examined], report: Report) -> Batch | None:
        candidates = [candidate for item in examined for candidate in item.candidates]
        for item in examined:
            self._note(item, molecule, report)
        if not candidates:
            return None
        try:
            claim = self._ledger.claim(molecule, batch_id, candidates)
        except RebuildPendingError:
            self._staging.delete(batch_id)
            raise
        report.duplicates += claim.duplicates
        for conflict in claim.conflicting:
            message = f"another content was already ingested as {conflict}; the first one stays"
            report.warnings.append(message)
            self._log(f"{molecule}: {message}")
        if claim.batch is None:
            self._staging.delete(batch_id)
            return None
        self._log(
            f"{molecule}: claimed batch {batch_id}: {claim.experiments} experiments, {claim.duplicates} duplicates"
        )
        return claim.batch

    def _note(self, item: Examined, molecule: str, report: Report) -> None:
        if item.postponed is not None:
            self._log(f"{molecule}: left for the next run: {item.postponed}")
        if item.refused is not None:
            self._discovery.quarantine(item.info, molecule, item.refused.reason, copy=item.refused.copy)
            report.quarantined += 1
            self._log(f"{molecule}: quarantined {item.info.key}: {item.refused.reason}")

    # Steps 4 and 5: append and tag, close

    def _finish(self, batch: Batch, tables: Sequence[str], report: Report) -> None:
        """Bring the selected tables up to the batch; close it when all nine have it."""
        report.batches.append(batch.batch_id)
        experiments = self._ledger.batch_experiments(batch.batch_id)
        committed = self._ledger.batch_commits(batch.batch_id)
        if not experiments:
            empty = [TableCommit(name, 0, None, None) for name in schemas.NORMALIZED_NAMES if name not in committed]
            self._ledger.record_commits(batch.batch_id, empty)
        else:
            missing = [name for name in schemas.NORMALIZED_NAMES if name in tables and name not in committed]
            if missing and not self._append(batch, missing, experiments, report):
                self._log(f"{batch.molecule}: batch {batch.batch_id} was finished or withdrawn by another process")
                return
        self._close(batch)

    def _append(self, batch: Batch, names: list[str], experiments: set[str], report: Report) -> bool:
        """Append the batch to tables; False when it is not open any more."""
        try:
            return self._append_rows(batch, names, experiments, report)
        except (ObjectMissingError, StagingLostError):
            if self._is_open(batch):
                raise
            return False

    def _append_rows(self, batch: Batch, names: list[str], experiments: set[str], report: Report) -> bool:
        rows = self._engine.rows(batch, experiments, names)
        for name in names:
            commit = self._writer.write(name, partial(rows.write, name), batch, while_in=OPEN)
            if commit is None:
                if self._is_open(batch):
                    continue
                return False
            if commit.written:
                report.rows[name] += commit.rows
                self._log(f"{batch.molecule}: {name} +{commit.rows} rows, {commit.tag}")
        return True

    def _is_open(self, batch: Batch) -> bool:
        return self._ledger.batch_state(batch.batch_id) == OPEN

    def _close(self, batch: Batch) -> None:
        committed = self._ledger.batch_commits(batch.batch_id)
        if not set(schemas.NORMALIZED_NAMES) <= set(committed):
            self._log(f"{batch.molecule}: batch {batch.batch_id} stays open for the tables that were not selected")
            return
        name = schemas.PROCESSING_METADATA.name
        if name not in committed:
            audit = self._audit_row(batch, committed)
            if self._writer.write(name, audit, batch, while_in=OPEN) is None and not self._is_open(batch):
                return
        self._ledger.finish_batch(batch.batch_id)
        self._staging.delete(batch.batch_id)

    def _audit_row(self, batch: Batch, committed: dict[str, TableCommit]) -> pa.Table:
        topics = sorted({key.split("/")[1] for key in self._ledger.batch_keys(batch.batch_id) if key.count("/") > 1})
        row = {
            "processing_batch_id": batch.batch_id,
            "processing_name": PROCESSING_NAME,
            "processing_timestamp": batch.at,
            "processing_date": batch.at.date(),
            "table_names": list(schemas.NORMALIZED_NAMES),
            "table_versions": [committed[name].tag or NO_CHANGES for name in schemas.NORMALIZED_NAMES],
            "record_counts": [committed[name].rows for name in schemas.NORMALIZED_NAMES],
            "source_data_info": f"Incremental VQE simulation data processing from topic {', '.join(topics)}",
            "molecule": batch.molecule,
        }
        return pa.Table.from_pylist([row], schema=schemas.PROCESSING_METADATA.arrow_schema())

    # Rebuild

    def _finish_rebuild(self, rebuild_id: str, molecule: str) -> None:
        """Delete the molecule's rows from every table but the audit, then forget its objects, once."""
        self._log(f"{molecule}: rebuild {rebuild_id}: deleting rows")
        for name in (*schemas.NORMALIZED_NAMES, *schemas.ML_NAMES):
            self._lakehouse.delete_molecule(
                name, molecule, rebuild_id, lambda: self._ledger.open_rebuild(molecule) == rebuild_id
            )
        self._ledger.finish_rebuild(rebuild_id, molecule)


def _result(batch_id: str, stage: Future[list[Examined]]) -> tuple[str, list[Examined]]:
    return batch_id, stage.result()
