"""pyiceberg's transaction without its repeated copies of the table's metadata.

`Transaction.table_metadata` applies the staged updates and deep-copies the whole metadata at every access, some twenty
times for one append, so the cost of a commit grew with the number of retained snapshots. The outcome depends on the
table's metadata and the staged updates alone, so it is kept until one of them changes; and as nobody here changes it,
it shares with the table's metadata what the updates leave alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyiceberg.table import Transaction
from pyiceberg.table.update import _apply_table_update, _TableMetadataUpdateContext

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata


class CachedTransaction(Transaction):
    """A transaction that computes its staged metadata once for each state of its updates."""

    _cached: tuple[Any, Any, TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The table's metadata with the staged updates applied; not to be changed by its readers."""
        base, updates = self._table.metadata, self._updates
        if self._cached is None or self._cached[0] is not base or self._cached[1] is not updates:
            metadata, context = base, _TableMetadataUpdateContext()
            for update in updates:
                metadata = _apply_table_update(update, metadata, context)
            self._cached = (base, updates, metadata)
        return self._cached[2]
