"""Rows that tables alone hold: those that were registered where they lay, and have not become raw objects since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qpipe_assets.adoption.row_filters import is_null
from qpipe_assets.backup.table_metadata import named_metadata
from qpipe_assets.tables import schemas
from qpipe_resources.registration import was_registered

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable

    from qpipe_resources.lakehouse import Lakehouse


def registered_rows(lakehouse: Lakehouse) -> list[str]:
    """Names of the tables that hold such rows; answered from metadata alone.

    Raises:
        LostMetadataError: a table's metadata is gone.
    """
    there = named_metadata(lakehouse)
    names = (name for name in (*schemas.NORMALIZED_NAMES, *schemas.ML_NAMES) if name in there)
    return [name for name in names if _holds_some(lakehouse.load(name))]


def _holds_some(table: IcebergTable) -> bool:
    if not was_registered(table):
        return False
    try:
        # `qpipe adopt --rewrite` deletes these rows; what was ingested names its molecule.
        return any(True for _ in table.scan(row_filter=is_null("molecule")).plan_files())
    except (OSError, ValueError):
        # A manifest is gone or damaged: what it named cannot be asked for, and may have been such rows.
        return True
