"""The two ML tables: for each finished batch that a table lacks, run its SQL over the batch's rows, append and tag.

Nothing depends on when the nine tables were written: whatever is missing is caught up, and an expired tag never means
twice, because the ledger remembers every commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING

from qpipe_assets.tables import schemas
from qpipe_assets.tables.batch_writer import BatchWriter
from qpipe_assets.tables.ledger import Ledger
from qpipe_assets.tables.ledger_tables import DONE, Batch, TableCommit
from qpipe_assets.tables.maintenance import Retention
from qpipe_assets.tables.report import Log, Report

if TYPE_CHECKING:
    import pyarrow as pa

    from qpipe_resources.lakehouse import Lakehouse

_ITERATIONS, _SUMMARY = schemas.ML_NAMES


class FanOutError(RuntimeError):
    """The SQL made more rows than the source has: a source holds a key twice, nothing was written."""


class MLFeatures:
    """Brings one molecule's ML tables up to date with the nine tables."""

    def __init__(
        self, lakehouse: Lakehouse, ledger: Ledger, retention: Retention, log: Log = lambda line: None
    ) -> None:
        self._lakehouse = lakehouse
        self._ledger = ledger
        self._writer = BatchWriter(lakehouse, ledger, retention)
        self._log = log

    def run(self, molecule: str, tables: Sequence[str] = schemas.ML_NAMES) -> Report:
        """Process the molecule's finished batches that `tables` lack.

        Raises:
            FanOutError: a source holds a key twice.
            LakehouseBusyError: other writers kept winning; run again.
        """
        report = Report(molecule, rows=dict.fromkeys(tables, 0))
        for name in schemas.ML_NAMES:
            if name in tables:
                after = _ITERATIONS if name == _SUMMARY else None
                for batch in self._ledger.done_batches_without(molecule, name, after=after):
                    self._build(name, batch, report)
                commit = self._ledger.latest_commits(name, molecule)
                if commit is not None:
                    report.latest[name] = commit
        return report

    def _build(self, name: str, batch: Batch, report: Report) -> None:
        sources = {source: self._rows(source, batch) for source in schemas.table(name).sources}
        driving = "vqe_iterations" if name == _ITERATIONS else _ITERATIONS
        data = compute(name, sources)
        if data.num_rows > sources[driving].num_rows:
            raise FanOutError(
                f"{name}: {data.num_rows} rows from {sources[driving].num_rows} rows of {driving} in batch "
                f"{batch.batch_id} of {batch.molecule}: a joined table holds a key twice; rebuild {batch.molecule}"
            )
        if name == _ITERATIONS and data.num_rows < sources[driving].num_rows:
            dropped = sources[driving].num_rows - data.num_rows
            report.warnings.append(f"{name}: {dropped} rows of batch {batch.batch_id} lack a required column; dropped")
            self._log(report.warnings[-1])
        report.batches.append(batch.batch_id)
        if data.num_rows == 0:
            # Read while another process withdrew the batch, or a batch of duplicates: only the latter is recorded.
            if self._ledger.batch_state(batch.batch_id) == DONE:
                self._ledger.record_commits(batch.batch_id, [TableCommit(name, 0, None, None)])
            return
        commit = self._writer.write(name, data, batch, while_in=DONE)
        if commit is not None and commit.written:
            report.rows[name] += data.num_rows
            self._log(f"{batch.molecule}: {name} +{data.num_rows} rows, {commit.tag}")

    def _rows(self, source: str, batch: Batch) -> pa.Table:
        """The batch's rows of a source: from its own snapshot, or by a scan when that has expired."""
        commit = self._ledger.batch_commits(batch.batch_id).get(source)
        if commit is not None and commit.snapshot_id is not None:
            rows = self._lakehouse.added_by(source, commit.snapshot_id)
            if rows is not None:
                return rows
        mine = f"processing_date == '{batch.at.date().isoformat()}' and processing_batch_id == '{batch.batch_id}'"
        return self._lakehouse.load(source).scan(row_filter=mine).to_arrow()


def compute(name: str, sources: dict[str, pa.Table]) -> pa.Table:
    """Run an ML table's SQL with DuckDB over Arrow tables under their names; rows in the declared schema."""
    import duckdb

    sql = (resources.files("qpipe_assets.tables") / f"{name}.sql").read_text(encoding="utf-8")
    with duckdb.connect() as connection:
        connection.execute("create macro size(list) as len(list)")  # Spark's name for it
        for source, rows in sources.items():
            connection.register(source, rows)
        result = connection.sql(sql).to_arrow_table()
    schema = schemas.table(name).arrow_schema()
    return result.select(schema.names).cast(schema)
