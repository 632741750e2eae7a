"""One pass of maintenance over the tables: orphan files, expired snapshots, small files, in this order.

So the files that a pass takes out of use are removed by a later one, when the queries that were reading them are over.
Each step is a commit or a removal of its own: killed anywhere, the next pass goes on.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpipe_assets.tables import schemas
from qpipe_assets.tables.maintenance import Retention, expirable_tags, expire_tags
from qpipe_assets.tables.report import Log
from qpipe_assets.tables.staging import Staging

if TYPE_CHECKING:
    from qpipe_assets.tables.ledger import Ledger
    from qpipe_resources.file_rewrites import Rewritten
    from qpipe_resources.lakehouse import Lakehouse
    from qpipe_resources.object_store import ObjectStore


@dataclass(frozen=True)
class TableUpkeep:
    """What a pass did to a table, or would do.

    `files` and `bytes` are the data files of the newest version, `stored` is everything that lies under the table's
    location when the pass begins, orphans included.
    """

    table: str
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    compacted_files: int
    expired_tags: int
    orphan_files: int
    orphan_bytes: int
    stored_files: int
    stored_bytes: int


class Maintenance:
    """Keeps the tables of one installation small and fast."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        store: ObjectStore,
        ledger: Ledger,
        retention: Retention,
        orphan_age: dt.timedelta,
        log: Log = lambda line: None,
    ) -> None:
        self._lakehouse = lakehouse
        self._store = store
        self._ledger = ledger
        # A pass is rare: whatever may go is worth its commit.
        self._retention = dataclasses.replace(retention, expire_every=1)
        self._orphan_age = orphan_age
        self._log = log

    def run(
        self, tables: Sequence[str] | None = None, *, dry_run: bool = False, now: dt.datetime | None = None
    ) -> list[TableUpkeep]:
        """Maintain the tables; safe while others write, and while others maintain.

        Args:
            tables: names; all when None.
            dry_run: change nothing, tell what would be done.
            now: the moment that ages and closed days are measured from.

        Raises:
            KeyError: there is no such table.
            LostFilesError: a table needs files that are not there.
            LakehouseBusyError: other writers kept winning; what was done stands.
        """
        names = [schemas.table(name).name for name in tables] if tables else schemas.names(schemas.ALL)
        now = now or dt.datetime.now(dt.UTC)
        if not dry_run:
            Staging(self._store).sweep(self._ledger)
        return [self._maintain(name, now, dry_run) for name in names]

    def _maintain(self, name: str, now: dt.datetime, dry_run: bool) -> TableUpkeep:
        from qpipe_assets.tables.orphans import sweep_orphans

        sweep = sweep_orphans(self._lakehouse, self._ledger, name, now - self._orphan_age, dry_run=dry_run)
        expire = expirable_tags if dry_run else expire_tags
        expired = expire(self._lakehouse, self._ledger, name, self._retention)
        files, size = self._live(name)
        done = self._compact(name, now, dry_run)
        upkeep = TableUpkeep(
            table=name,
            files_before=files,
            files_after=files - done.files_before + done.files_after,
            bytes_before=size,
            bytes_after=size - done.bytes_before + done.bytes_after,
            compacted_files=done.files_before,
            expired_tags=len(expired),
            orphan_files=len(sweep.orphans),
            orphan_bytes=sweep.orphan_bytes,
            stored_files=sweep.files,
            stored_bytes=sweep.bytes,
        )
        self._log(
            f"{name}: {done.files_before} small files into {done.files_after}, {len(expired)} tags expired, "
            f"{len(sweep.orphans)} orphans of {sweep.orphan_bytes} bytes{' (dry run)' if dry_run else ''}"
        )
        return upkeep

    def _compact(self, name: str, now: dt.datetime, dry_run: bool) -> Rewritten:
        from qpipe_assets.tables.compaction import compact, planned

        return (planned if dry_run else compact)(self._lakehouse, self._ledger, name, now)

    def _live(self, name: str) -> tuple[int, int]:
        snapshot = self._lakehouse.load(name).current_snapshot()
        summary = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
        return int(summary.get("total-data-files", 0)), int(summary.get("total-files-size", 0))
