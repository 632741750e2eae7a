"""What the lakehouse must know of a table: the declarations themselves are given to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema


class TableDeclaration(Protocol):
    """A table as it shall be."""

    @property
    def name(self) -> str:
        """Name inside the namespace."""

    @property
    def comment(self) -> str:
        """One sentence about the table."""

    @property
    def fingerprint(self) -> str:
        """Differs when anything of the declaration does."""

    def iceberg_schema(self) -> Schema:
        """Columns with documentation."""

    def partition_spec(self) -> PartitionSpec:
        """Partition fields."""
