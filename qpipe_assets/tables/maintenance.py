"""Keeping tables small: which snapshots' tags are retained, and left-over staging files."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from qpipe_assets.tables.ledger import Ledger
from qpipe_assets.tables.ledger_tables import DONE, SUPERSEDED
from qpipe_resources.lakehouse import Lakehouse
from qpipe_resources.object_store import ObjectStore

STAGING = "staging/"
_ORPHAN_AGE = dt.timedelta(days=1)
"""A staging file that no batch claimed is left alone this long: its owner may be about to claim it."""


@dataclass(frozen=True)
class Retention:
    """Tags that are kept: those of the newest `batches` snapshots, and one a day for `days` days."""

    batches: int
    days: int
    expire_every: int

    @property
    def trigger(self) -> int:
        """Number of tags on a table from which an expiry is worth its commit."""
        return self.batches + self.expire_every


def expirable(tags: dict[str, dt.datetime], retention: Retention, now: dt.datetime) -> list[str]:
    """Tags that may go, of those given with the times of their snapshots; the last of each retained day stays."""
    newest_first = sorted(tags, key=lambda tag: tags[tag], reverse=True)
    kept_days: set[dt.date] = set()
    expired = []
    for position, tag in enumerate(newest_first):
        day = tags[tag].date()
        recent = (now.date() - day).days < retention.days
        if position >= retention.batches and (day in kept_days or not recent):
            expired.append(tag)
        kept_days.add(day)
    return expired


def expire_tags(lakehouse: Lakehouse, ledger: Ledger, table: str, retention: Retention) -> list[str]:
    """Expire a table's old snapshots in one commit; only tags the ledger has settled (or rebuilds') may go."""

    def choose(tags: dict[str, dt.datetime]) -> list[str]:
        settled = ledger.settled_tags(table, tags)
        known = {t: at for t, at in tags.items() if t in settled or t.startswith("v_rebuild_")}
        found = expirable(known, retention, dt.datetime.now(dt.UTC))
        # The tags kept for their day add up: a few expirable ones are not worth a commit.
        return found if len(found) >= retention.expire_every else []

    return lakehouse.expire(table, choose)


def sweep_staging(store: ObjectStore, ledger: Ledger) -> None:
    """Delete staging files whose batch is finished or withdrawn, and old ones that no batch ever claimed."""
    for info in store.list_objects(STAGING):
        batch_id = info.key.removeprefix(STAGING).removesuffix(".arrow")
        state = ledger.batch_state(batch_id)
        orphaned = state is None and dt.datetime.now(dt.UTC) - info.modified > _ORPHAN_AGE
        if state in (DONE, SUPERSEDED) or orphaned:
            store.delete(info.key)
