"""The two ML tables: for each finished batch that a table lacks, run its SQL over the batch's rows, append and tag.

Nothing depends on when the nine tables were written: whatever is missing is caught up, and an expired tag never means
twice, because the ledger remembers every commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qpipe_assets.tables import schemas
from qpipe_assets.tables.batch_writer import BatchWriter
from qpipe_assets.tables.engine import TableEngine
from qpipe_assets.tables.ledger import Ledger
from qpipe_assets.tables.ledger_tables import DONE, Batch
from qpipe_assets.tables.maintenance import Retention
from qpipe_assets.tables.report import Log, Report

if TYPE_CHECKING:
    from qpipe_resources.lakehouse import Lakehouse

_ITERATIONS, _SUMMARY = schemas.ML_NAMES


class FanOutError(RuntimeError):
    """The SQL made more rows than the source has: a source holds a key twice, nothing was written."""


class MLFeatures:
    """Brings one molecule's ML tables up to date with the nine tables."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        ledger: Ledger,
        retention: Retention,
        engine: TableEngine,
        log: Log = lambda line: None,
    ) -> None:
        self._engine = engine
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
        features = self._engine.features(name, batch, self._ledger.batch_commits(batch.batch_id))
        source = schemas.driving_source(name)
        if features.rows > features.source_rows:
            raise FanOutError(
                f"{name}: {features.rows} rows from {features.source_rows} rows of {source} in batch "
                f"{batch.batch_id} of {batch.molecule}: a joined table holds a key twice; rebuild {batch.molecule}"
            )
        if name == _ITERATIONS and features.rows < features.source_rows:
            dropped = features.source_rows - features.rows
            report.warnings.append(f"{name}: {dropped} rows of batch {batch.batch_id} lack a required column; dropped")
            self._log(report.warnings[-1])
        report.batches.append(batch.batch_id)
        # No rows were read while another process withdrew the batch, or of duplicates: only the latter is recorded,
        # because the writer asks first whether the batch still is what it was.
        commit = self._writer.write(name, features.write, batch, while_in=DONE)
        if commit is not None and commit.written:
            report.rows[name] += commit.rows
            self._log(f"{batch.molecule}: {name} +{commit.rows} rows, {commit.tag}")
