"""The ingest protocol: raw objects into the nine tables, every row exactly once, at the cost of the new data.

One run for a molecule: finish a rebuild that was asked for, finish the open batches, then take the new objects in
batches of bounded size: decode, stage, claim in one ledger transaction, append and tag each table, close the batch.
Killed anywhere, the next run goes on; several at once on the same molecule do no harm (docs/architecture.md).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from qpipe_assets.tables import schemas
from qpipe_assets.tables.batch_writer import BatchWriter
from qpipe_assets.tables.decode import Decoded, DecodeError, decode, valid_partition_key
from qpipe_assets.tables.discovery import Discovery, Limits
from qpipe_assets.tables.flatten import PROCESSING_NAME, BatchConstants, flatten
from qpipe_assets.tables.ledger import Ledger, RebuildPendingError
from qpipe_assets.tables.ledger_queries import too_large
from qpipe_assets.tables.ledger_tables import OPEN, Batch, Candidate, TableCommit
from qpipe_assets.tables.maintenance import STAGING, Retention, sweep_staging
from qpipe_assets.tables.report import Log, Report
from qpipe_resources.object_store import (
    InvalidKeyError,
    ObjectChangedError,
    ObjectInfo,
    ObjectMissingError,
    ObjectStore,
)
from qpipe_resources.serialization import arrow_schema

if TYPE_CHECKING:
    from qpipe_resources.lakehouse import Lakehouse

NO_CHANGES = "no_changes"


class StagingLostError(RuntimeError):
    """The staging file of an open batch is gone; only a rebuild of the molecule can help."""


@dataclass(frozen=True)
class _Staged:
    """A decoded object with the etag of the content that was decoded."""

    info: ObjectInfo
    records: list[Decoded]


class Ingest:
    """Brings one molecule's tables up to date with its raw objects."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        store: ObjectStore,
        ledger: Ledger,
        limits: Limits,
        retention: Retention,
        log: Log = lambda line: None,
    ) -> None:
        self._lakehouse = lakehouse
        self._store = store
        self._ledger = ledger
        self._limits = limits
        self._writer = BatchWriter(lakehouse, ledger, retention)
        self._log = log
        self._discovery = Discovery(store, ledger, limits)

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
        sweep_staging(self._store, self._ledger)
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
        for chunk in self._chunks(new):
            try:
                claimed = self._claim(molecule, chunk, report)
            except RebuildPendingError:
                return False
            if claimed is not None:
                self._finish(claimed, tables, report)
        return True

    def _chunks(self, new: list[ObjectInfo]) -> Iterator[list[ObjectInfo]]:
        chunk: list[ObjectInfo] = []
        size = 0
        for info in new:
            weight = min(info.size, self._limits.max_object_bytes)
            if chunk and size + weight > self._limits.batch_bytes:
                yield chunk
                chunk, size = [], 0
            chunk.append(info)
            size += weight
        if chunk:
            yield chunk

    # Steps 2 and 3: decode, stage, claim

    def _claim(self, molecule: str, chunk: list[ObjectInfo], report: Report) -> Batch | None:
        staged = [item for info in chunk if (item := self._read(molecule, info, report)) is not None]
        if not staged:
            return None
        candidates = [
            Candidate(record.experiment_id, item.info.key, item.info.etag, record.content_digest)
            for item in staged
            for record in item.records
        ]
        first = {record.experiment_id: record for item in reversed(staged) for record in reversed(item.records)}
        batch_id = uuid.uuid4().hex
        rows = [record.row | {"experiment_id": experiment_id} for experiment_id, record in first.items()]
        self._store.put(_staging_key(batch_id), _to_ipc(pa.Table.from_pylist(rows, schema=arrow_schema())))
        del rows, first, staged
        try:
            claim = self._ledger.claim(molecule, batch_id, candidates)
        except RebuildPendingError:
            self._store.delete(_staging_key(batch_id))
            raise
        report.duplicates += claim.duplicates
        for conflict in claim.conflicting:
            message = f"another content was already ingested as {conflict}; the first one stays"
            report.warnings.append(message)
            self._log(f"{molecule}: {message}")
        if claim.batch is None:
            self._store.delete(_staging_key(batch_id))
            return None
        self._log(
            f"{molecule}: claimed batch {batch_id}: {claim.experiments} experiments, {claim.duplicates} duplicates"
        )
        return claim.batch

    def _read(self, molecule: str, info: ObjectInfo, report: Report) -> _Staged | None:
        try:
            if info.size > self._limits.max_object_bytes:
                raise _TooLargeError(too_large(info.size, self._limits.max_object_bytes))
            stored = self._store.get(info.key)
            records = decode(stored.data)
            if records[0].molecule != molecule:
                raise DecodeError(
                    f"the object is filed under molecule={molecule}, its record is of {records[0].molecule}; move it"
                )
        except (ObjectChangedError, ObjectMissingError) as error:
            self._log(f"{molecule}: left for the next run: {error}")
            return None
        except (DecodeError, InvalidKeyError, _TooLargeError) as error:
            self._discovery.quarantine(info, molecule, str(error), copy=not isinstance(error, _TooLargeError))
            report.quarantined += 1
            self._log(f"{molecule}: quarantined {info.key}: {error}")
            return None
        if stored.etag != info.etag:
            # Overwritten since it was listed: what was read is what counts.
            info = ObjectInfo(info.key, stored.etag, len(stored.data), info.modified)
        return _Staged(info, records)

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
        staged = self._load_staged(batch, experiments)
        if staged is None:
            return False
        constants = BatchConstants(batch.batch_id, batch.at, batch.molecule)
        for name in names:
            data = flatten(staged, name, constants)
            if data.num_rows == 0:
                self._ledger.record_commits(batch.batch_id, [TableCommit(name, 0, None, None)])
                continue
            commit = self._writer.write(name, data, batch, while_in=OPEN)
            if commit is None:
                if self._is_open(batch):
                    continue
                return False
            if commit.written:
                report.rows[name] += data.num_rows
                self._log(f"{batch.molecule}: {name} +{data.num_rows} rows, {commit.tag}")
        return True

    def _is_open(self, batch: Batch) -> bool:
        return self._ledger.batch_state(batch.batch_id) == OPEN

    def _load_staged(self, batch: Batch, experiments: set[str]) -> pa.Table | None:
        try:
            data = self._store.get(_staging_key(batch.batch_id)).data
        except ObjectMissingError as error:
            if not self._is_open(batch):
                return None
            raise StagingLostError(
                f"batch {batch.batch_id} of {batch.molecule} is open but {_staging_key(batch.batch_id)} is gone; "
                f"rebuild {batch.molecule} from its raw objects"
            ) from error
        staged = pa.ipc.open_file(pa.BufferReader(data)).read_all()
        if staged.schema != arrow_schema():
            # Staged by another version of qpipe: fields that it did not know are null.
            staged = pa.Table.from_pylist(staged.to_pylist(), schema=arrow_schema())
        keep = [identity in experiments for identity in staged.column("experiment_id").to_pylist()]
        return staged.filter(pa.array(keep))

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
        self._store.delete(_staging_key(batch.batch_id))

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


class _TooLargeError(Exception):
    """An object over the size limit."""


def _staging_key(batch_id: str) -> str:
    return f"{STAGING}{batch_id}.arrow"


def _to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
