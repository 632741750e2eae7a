"""pyiceberg's catalog in an SQL database, without reading a table's metadata again that this process knows.

A metadata file never changes and no two have one name. pyiceberg reads it at every load, and once more inside every
commit, so the cost of a commit grew with the number of retained snapshots, which it lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.table import CommitTableResponse, Table

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import TableRequirement, TableUpdate


class RememberingCatalog(SqlCatalog):
    """The database says which metadata file a table has now; what is in the newest one is remembered."""

    def __init__(self, name: str, **properties: Any) -> None:
        super().__init__(name, **properties)
        self._known: dict[tuple[str, ...], tuple[str, TableMetadata]] = {}

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """See SqlCatalog."""
        response = super().commit_table(table, requirements, updates)
        self._known[table.name()] = (response.metadata_location, response.metadata)
        return response

    def _convert_orm_to_iceberg(self, orm_table: IcebergTables) -> Table:
        identifier = (*self.identifier_to_tuple(orm_table.table_namespace), orm_table.table_name)
        known = self._known.get(identifier)
        if known is not None and known[0] == orm_table.metadata_location:
            location, metadata = known
            io = self._load_file_io(metadata.properties, location)
            # A warehouse that was lost must be noticed before anything is added to it.
            if io.new_input(location).exists():
                return Table(identifier, metadata, location, io, self)
        table = super()._convert_orm_to_iceberg(orm_table)
        self._known[identifier] = (table.metadata_location, table.metadata)
        return table
