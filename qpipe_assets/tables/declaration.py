"""What a table declaration consists of, and the Iceberg and Arrow schemas that derive from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema


@dataclass(frozen=True)
class Column:
    """One column; `type` is written as Iceberg writes it, `unit` is empty for plain values."""

    name: str
    type: str
    doc: str
    unit: str = ""
    required: bool = False

    @property
    def described(self) -> str:
        """The documentation with the unit, as it lands in the Iceberg schema."""
        return f"{self.doc} [{self.unit}]" if self.unit else self.doc


@dataclass(frozen=True)
class Table:
    """One Iceberg table of the namespace."""

    name: str
    comment: str
    key: tuple[str, ...]
    partition: tuple[str, ...]
    columns: tuple[Column, ...]
    sources: tuple[str, ...] = field(default=("raw_vqe_objects",))

    @property
    def column_names(self) -> list[str]:
        """Names of the columns in order."""
        return [column.name for column in self.columns]

    @property
    def fingerprint(self) -> str:
        """Differs when a column, its type, place or documentation, or the partition does."""
        return repr((self.name, self.partition, self.columns))

    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema of data that is appended to the table."""
        import pyarrow as pa

        fields = [
            pa.field(c.name, arrow_type(c.type), nullable=not c.required, metadata={"doc": c.described})
            for c in self.columns
        ]
        return pa.schema(fields)

    def iceberg_schema(self) -> Schema:
        """The Iceberg schema with documentation and fresh field ids."""
        from pyiceberg.schema import Schema, assign_fresh_schema_ids
        from pyiceberg.types import NestedField

        fields = [
            NestedField(i, c.name, _iceberg_type(c.type), required=c.required, doc=c.described)
            for i, c in enumerate(self.columns, start=1)
        ]
        return assign_fresh_schema_ids(Schema(*fields))

    def partition_spec(self) -> PartitionSpec:
        """Identity partitions in the declared order."""
        from pyiceberg.partitioning import PartitionField, PartitionSpec
        from pyiceberg.transforms import IdentityTransform

        schema = self.iceberg_schema()
        fields = [
            PartitionField(schema.find_field(name).field_id, 1000 + i, IdentityTransform(), name)
            for i, name in enumerate(self.partition)
        ]
        return PartitionSpec(*fields)


def arrow_type(text: str) -> pa.DataType:
    """Arrow's type for a type written as Iceberg writes it."""
    import pyarrow as pa

    if text.startswith("list<"):
        return pa.list_(arrow_type(text[5:-1]))
    simple: dict[str, Any] = {
        "string": pa.string(),
        "int": pa.int32(),
        "long": pa.int64(),
        "double": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "timestamptz": pa.timestamp("us", tz="UTC"),
    }
    return simple[text]


def _iceberg_type(text: str) -> Any:
    from pyiceberg import types as t

    if text.startswith("list<"):
        # Field id 1 is a placeholder: the ids of a whole schema are assigned afresh.
        return t.ListType(element_id=1, element_type=_iceberg_type(text[5:-1]), element_required=False)
    simple: dict[str, Any] = {
        "string": t.StringType(),
        "int": t.IntegerType(),
        "long": t.LongType(),
        "double": t.DoubleType(),
        "boolean": t.BooleanType(),
        "date": t.DateType(),
        "timestamptz": t.TimestamptzType(),
    }
    return simple[text]
