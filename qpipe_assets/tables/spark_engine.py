"""The Spark engine: executors read, decode, flatten and write data files; the driver claims and commits.

A batch is as large as QPIPE_SPARK_BATCH_BYTES: one commit a table, and in it a staging file and a data file for each
QPIPE_BATCH_BYTES, which is what an executor has in memory at a time.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpipe_assets.tables import schemas
from qpipe_assets.tables.batching import portions
from qpipe_assets.tables.embedded_engine import ml_sql
from qpipe_assets.tables.engine import BatchRows, Examined, FeatureRows
from qpipe_assets.tables.flatten import BatchConstants
from qpipe_assets.tables.ledger_tables import Batch, TableCommit
from qpipe_assets.tables.spark_tasks import WRITTEN, ReadExperiments, StageObjects, WriteStaged, writing
from qpipe_assets.tables.staging import Staging, owned
from qpipe_resources.data_files import Written, no_files
from qpipe_resources.lakehouse_reads import CATALOG
from qpipe_resources.object_store import ObjectInfo, ObjectStore
from qpipe_resources.spark.spread import spread

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable
    from pyspark.sql import SparkSession

    from qpipe_assets.tables.discovery import Limits
    from qpipe_resources.lakehouse import Lakehouse
    from qpipe_resources.spark.source import SparkSource


class SparkEngine:
    """See TableEngine. Its session is opened by the first batch that it computes."""

    def __init__(
        self, lakehouse: Lakehouse, store: ObjectStore, limits: Limits, batch_bytes: int, source: SparkSource
    ) -> None:
        """Prepare.

        Args:
            lakehouse: Whose tables.
            store: The raw objects; executors open it anew.
            limits: Of what an executor reads at a time.
            batch_bytes: Bytes of objects that one batch should hold.
            source: Who opens the session.

        Raises:
            SparkUnavailableError: this machine lacks something that Spark needs; names the remedy.
        """
        source.require()
        self.batch_bytes = batch_bytes
        self._lakehouse = lakehouse
        self._store = store
        self._limits = limits
        self._source = source
        self._staged: dict[str, dict[str, list[str]]] = {}

    @property
    def _session(self) -> SparkSession:
        return self._source.open().session

    def stage(self, molecule: str, batch_id: str, objects: Sequence[ObjectInfo]) -> list[Examined]:
        """See TableEngine: a staging file for each chunk."""
        chunks = list(portions(objects, self._limits.batch_bytes, self._limits.max_object_bytes))
        work = StageObjects(self._store, molecule, batch_id, chunks, self._limits.max_object_bytes)
        parts = spread(self._session, work, len(chunks))
        self._staged[batch_id] = {part.key: part.experiments for part in parts if part.key is not None}
        return [item for part in parts for item in part.examined]

    def rows(self, batch: Batch, experiments: set[str], names: Sequence[str]) -> BatchRows:
        """See TableEngine: one job, at the first table, writes the files of all."""
        givers = owned(self._held(batch), experiments, batch)
        parts = [(key, given) for key, given in givers.items() if given]

        def write(targets: Mapping[str, IcebergTable]) -> dict[str, Written]:
            constants = BatchConstants(batch.batch_id, batch.at, batch.molecule)
            texts = {name: self._lakehouse.write_target(table) for name, table in targets.items()}
            done = spread(self._session, WriteStaged(self._store, parts, constants, texts), len(parts))
            return {name: sum((part[name] for part in done), no_files(table)) for name, table in targets.items()}

        return _Rows(self._lakehouse, list(names), write)

    def _held(self, batch: Batch) -> dict[str, list[str]]:
        """The experiments of each staging file: as they were staged here, or read again where others have staged."""
        held = self._staged.pop(batch.batch_id, None)
        if held is not None:
            return held
        keys = Staging(self._store).parts(batch.batch_id)
        return dict(zip(keys, spread(self._session, ReadExperiments(self._store, keys), len(keys)), strict=True))

    def features(self, name: str, batch: Batch, commits: Mapping[str, TableCommit]) -> FeatureRows:
        """See TableEngine: the rows are counted as they are written."""

        def compute(table: IcebergTable) -> tuple[int, Written]:
            write = writing(self._lakehouse.write_target(table), schemas.table(name).arrow_schema())
            with self._rows_of(batch, schemas.table(name).sources) as session:
                source_rows = session.table(schemas.driving_source(name)).count()
                rows = session.sql(ml_sql(name)).mapInArrow(write, WRITTEN).collect()
            return source_rows, sum((pickle.loads(row.written) for row in rows), no_files(table))

        return _Features(*compute(self._lakehouse.load(name)), lambda table: compute(table)[1])

    @contextmanager
    def _rows_of(self, batch: Batch, sources: Sequence[str]) -> Iterator[SparkSession]:
        """Let the sources' names stand for the batch's own rows meanwhile."""
        mine = f"processing_date = date '{batch.at.date().isoformat()}' and processing_batch_id = '{batch.batch_id}'"
        session = self._session
        try:
            for source in sources:
                table = session.table(f"{CATALOG}.{self._lakehouse.namespace}.{source}")
                table.where(mine).createOrReplaceTempView(source)
            yield session
        finally:
            for source in sources:
                session.catalog.dropTempView(source)


class _Rows:
    """See BatchRows: files that were written for a table as it is no more are written again."""

    def __init__(
        self, lakehouse: Lakehouse, names: list[str], write: Callable[[Mapping[str, IcebergTable]], dict[str, Written]]
    ) -> None:
        self._lakehouse = lakehouse
        self._names = names
        self._write = write
        self._written: dict[str, Written] = {}

    def write(self, name: str, table: IcebergTable) -> Written:
        if not self._written:
            others = {other: self._lakehouse.load(other) for other in self._names if other != name}
            self._written = self._write({name: table, **others})
        elif not self._written[name].fits(table.metadata):
            self._written |= self._write({name: table})
        return self._written[name]


@dataclass
class _Features:
    """See FeatureRows."""

    source_rows: int
    written: Written
    again: Callable[[IcebergTable], Written]

    @property
    def rows(self) -> int:
        return self.written.rows

    def write(self, table: IcebergTable) -> Written:
        if not self.written.fits(table.metadata):
            self.written = self.again(table)
        return self.written
