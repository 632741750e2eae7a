"""Keeping tables small: which snapshots' tags are retained."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from qpipe_assets.tables.ledger import Ledger
from qpipe_resources.lakehouse import Lakehouse

_OF_UPKEEP = ("v_rebuild_", "v_compaction_")


@dataclass(frozen=True)
class Retention:
    """Tags that are kept: those of the newest `batches` snapshots, and one a day for `days` days.

    `expire_every` is how many others make an expiry worth its commit.
    """

    batches: int
    days: int
    expire_every: int


def expirable(tags: Mapping[str, dt.datetime], retention: Retention, now: dt.datetime) -> list[str]:
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
    """Expire a table's old snapshots in one commit; returns their tags."""
    return lakehouse.expire(table, lambda tags: _may_go(ledger, table, retention, tags))


def expirable_tags(lakehouse: Lakehouse, ledger: Ledger, table: str, retention: Retention) -> list[str]:
    """The tags that `expire_tags` would remove."""
    from qpipe_resources.snapshot_expiry import chosen

    return chosen(lakehouse.load(table), lambda tags: _may_go(ledger, table, retention, tags))


def _may_go(ledger: Ledger, table: str, retention: Retention, tags: dict[str, dt.datetime]) -> list[str]:
    """Only tags may go that the ledger has settled, and those of rebuilds and compactions."""
    settled = ledger.settled_tags(table, tags)
    known = {tag: at for tag, at in tags.items() if tag in settled or tag.startswith(_OF_UPKEEP)}
    found = expirable(known, retention, dt.datetime.now(dt.UTC))
    # The tags kept for their day add up: a few expirable ones are not worth a commit.
    return found if len(found) >= retention.expire_every else []
