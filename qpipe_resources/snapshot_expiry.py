"""Expiry of a table's snapshots: tags go, and the snapshots that no tag or branch holds any more."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING

from qpipe_resources.commits import tag_times

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable


def chosen(table: IcebergTable, choose: Callable[[dict[str, dt.datetime]], list[str]]) -> list[str]:
    """The tags that `choose` picks among tag -> time, without those of the current snapshot."""
    current, references = table.current_snapshot(), table.refs()
    picked = choose(tag_times(table))
    return [tag for tag in picked if current is None or references[tag].snapshot_id != current.snapshot_id]


def remove(table: IcebergTable, tags: list[str]) -> None:
    """Remove these tags and their snapshots in one commit; a snapshot stays while another tag or branch holds it.

    Raises:
        CommitFailedException: another commit came first; load the table and choose again.
    """
    from pyiceberg.table.update.snapshot import ExpireSnapshots, ManageSnapshots

    from qpipe_resources.iceberg_transaction import CachedTransaction

    references = table.refs()
    held = {reference.snapshot_id for ref, reference in references.items() if ref not in tags}
    unneeded = sorted({references[tag].snapshot_id for tag in tags} - held)
    with CachedTransaction(table) as transaction:
        with ManageSnapshots(transaction) as manage:
            for tag in tags:
                manage.remove_tag(tag)
        if unneeded:
            with ExpireSnapshots(transaction) as expire:
                expire.by_ids(unneeded)
