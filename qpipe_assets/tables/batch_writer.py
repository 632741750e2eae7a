"""One batch into one table: append and tag, record the commit, expire what is due; the same for all twelve tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING

from qpipe_assets.tables.ledger import Ledger
from qpipe_assets.tables.ledger_tables import Batch, TableCommit
from qpipe_assets.tables.maintenance import Retention, expirable, expire_tags

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.table import Table as IcebergTable

    from qpipe_resources.commits import Commit
    from qpipe_resources.data_files import Written
    from qpipe_resources.lakehouse import Lakehouse

    Rows = Callable[[IcebergTable], Written]


class BatchWriter:
    """Writes a batch's rows, each table at most once."""

    def __init__(self, lakehouse: Lakehouse, ledger: Ledger, retention: Retention) -> None:
        self._lakehouse = lakehouse
        self._ledger = ledger
        self._retention = retention

    def write(self, name: str, data: pa.Table | Rows, batch: Batch, while_in: str) -> Commit | None:
        """Append rows (or what writes their files) while the batch is in state `while_in` and not in the table.

        The ledger is asked besides the tag, which may have come, been recorded and expired again.

        Returns:
            The commit, of this call or of another process; None when it is not wanted any more.

        Raises:
            LakehouseBusyError: other writers kept winning; run again.
        """

        def wanted() -> bool:
            in_state = self._ledger.batch_state(batch.batch_id) == while_in
            return in_state and name not in self._ledger.batch_commits(batch.batch_id)

        commit = self._lakehouse.append(name, data, batch.batch_id, wanted)
        if commit is not None:
            made = TableCommit(name, commit.rows, commit.snapshot_id, commit.tag)
            self._ledger.record_commits(batch.batch_id, [made])
            due = expirable(commit.tags, self._retention, dt.datetime.now(dt.UTC))
            if len(due) >= self._retention.expire_every:
                expire_tags(self._lakehouse, self._ledger, name, self._retention)
        return commit
