"""The embedded engine: everything in this process, Arrow kernels for the nine tables and DuckDB for the ML tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from qpipe_assets.tables import schemas
from qpipe_assets.tables.engine import BatchRows, Examined, FeatureRows
from qpipe_assets.tables.examination import examine
from qpipe_assets.tables.flatten import BatchConstants, flatten
from qpipe_assets.tables.ledger_tables import Batch, TableCommit
from qpipe_assets.tables.staging import Staging, experiments_of, only, owned, pieces
from qpipe_resources.data_files import Written, write_data_files
from qpipe_resources.object_store import ObjectInfo, ObjectStore

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds
    from pyiceberg.table import Table as IcebergTable

    from qpipe_assets.tables.discovery import Limits
    from qpipe_resources.lakehouse import Lakehouse


class EmbeddedEngine:
    """See TableEngine."""

    def __init__(self, lakehouse: Lakehouse, store: ObjectStore, limits: Limits) -> None:
        self.batch_bytes = limits.batch_bytes
        self._lakehouse = lakehouse
        self._store = store
        self._limits = limits

    def stage(self, molecule: str, batch_id: str, objects: Sequence[ObjectInfo]) -> list[Examined]:
        """See TableEngine: one staging file."""
        examined: list[Examined] = []
        records = examine(self._store, molecule, objects, self._limits.max_object_bytes, examined)
        Staging(self._store).put(batch_id, records)
        return examined

    def rows(self, batch: Batch, experiments: set[str], names: Sequence[str]) -> BatchRows:
        """See TableEngine: of several staging files one is in memory at a time."""
        return _StagedRows(Staging(self._store), batch, experiments)

    def features(self, name: str, batch: Batch, commits: Mapping[str, TableCommit]) -> FeatureRows:
        """See TableEngine."""
        sources = {source: self._added(source, batch, commits.get(source)) for source in schemas.table(name).sources}
        return _Features(sources[schemas.driving_source(name)].count_rows(), compute(name, sources))

    def _added(self, source: str, batch: Batch, commit: TableCommit | None) -> ds.Dataset:
        """The batch's rows of a source: from its own snapshot, or by a scan when that has expired."""
        if commit is not None and commit.snapshot_id is not None:
            rows = self._lakehouse.added_by(source, commit.snapshot_id)
            if rows is not None:
                return rows
        import pyarrow.dataset as ds

        mine = f"processing_date == '{batch.at.date().isoformat()}' and processing_batch_id == '{batch.batch_id}'"
        return ds.dataset(self._lakehouse.load(source).scan(row_filter=mine).to_arrow())


class _StagedRows:
    """See BatchRows."""

    def __init__(self, staging: Staging, batch: Batch, experiments: set[str]) -> None:
        self._staging = staging
        self._constants = BatchConstants(batch.batch_id, batch.at, batch.molecule)
        held: dict[str, list[str]] = {}
        for key in staging.parts(batch.batch_id):
            loaded = staging.load(key)
            held[key] = experiments_of(loaded)
        self._owned = owned(held, experiments, batch)
        # Mostly there is one part, which is read once.
        self._cached = (key, only(loaded, self._owned[key])) if held else None

    def write(self, name: str, table: IcebergTable) -> Written:
        staged = (piece for key in self._owned for piece in pieces(self._part(key)))
        return write_data_files(table, (flatten(piece, name, self._constants) for piece in staged))

    def _part(self, key: str) -> pa.Table:
        if self._cached is None or self._cached[0] != key:
            self._cached = key, only(self._staging.load(key), self._owned[key])
        return self._cached[1]


@dataclass(frozen=True)
class _Features:
    """See FeatureRows."""

    source_rows: int
    data: pa.Table

    @property
    def rows(self) -> int:
        return self.data.num_rows

    def write(self, table: IcebergTable) -> Written:
        return write_data_files(table, [self.data])


def compute(name: str, sources: Mapping[str, pa.Table | ds.Dataset]) -> pa.Table:
    """Run an ML table's SQL with DuckDB over Arrow data under their names; rows in the declared schema."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("create macro size(list) as len(list)")  # Spark's name for it
        for source, rows in sources.items():
            connection.register(source, rows)
        result = connection.sql(ml_sql(name)).to_arrow_table()
    schema = schemas.table(name).arrow_schema()
    return result.select(schema.names).cast(schema)


def ml_sql(name: str) -> str:
    """The SQL of an ML table, in what DuckDB and Spark have in common."""
    return (resources.files("qpipe_assets.tables") / f"{name}.sql").read_text(encoding="utf-8")
