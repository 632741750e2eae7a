"""The record's Avro and Arrow schemas, derived from its one declaration, and its Avro container form."""

from __future__ import annotations

import functools
import io
import typing
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from simulation.annotations import without_none
from simulation.record import VQEDecoratedResult

if TYPE_CHECKING:
    import pyarrow as pa

NAMESPACE = "quantum_pipeline"
_AVRO = {int: "int", float: "double", str: "string", bool: "boolean"}


@functools.cache
def avro_schema() -> dict[str, Any]:
    """The record's Avro schema: every nullable field is a union whose default comes from the declaration."""
    return _avro_record(VQEDecoratedResult, set())


def _avro_record(model: type[BaseModel], seen: set[str]) -> Any:
    name = model.__name__
    if name in seen:
        return f"{NAMESPACE}.{name}"
    seen.add(name)
    fields = [_avro_field(field_name, field, seen) for field_name, field in model.model_fields.items()]
    return {"type": "record", "name": name, "namespace": NAMESPACE, "fields": fields}


def _avro_field(name: str, field: FieldInfo, seen: set[str]) -> dict[str, Any]:
    annotation, nullable = without_none(field.annotation)
    inner = _avro_type(annotation, seen)
    if field.is_required():
        return {"name": name, "type": ["null", inner] if nullable else inner}
    # Avro takes a union's default from its first branch.
    branches = ["null", inner] if field.default is None else [inner, "null"]
    return {"name": name, "type": branches if nullable else inner, "default": field.default}


def _avro_type(annotation: Any, seen: set[str]) -> Any:
    if typing.get_origin(annotation) is list:
        return {"type": "array", "items": _avro_type(_item(annotation), seen)}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _avro_record(annotation, seen)
    return _AVRO[annotation]


@functools.cache
def arrow_schema() -> pa.Schema:
    """The record's Arrow schema, field for field."""
    import pyarrow as pa

    return pa.schema(_arrow_fields(VQEDecoratedResult))


def _arrow_fields(model: type[BaseModel]) -> list[pa.Field]:
    import pyarrow as pa

    return [
        pa.field(name, _arrow_type(without_none(field.annotation)[0])) for name, field in model.model_fields.items()
    ]


def _arrow_type(annotation: Any) -> pa.DataType:
    import pyarrow as pa

    if typing.get_origin(annotation) is list:
        return pa.list_(_arrow_type(_item(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return pa.struct(_arrow_fields(annotation))
    return {int: pa.int32(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}[annotation]


def _item(annotation: Any) -> Any:
    return without_none(typing.get_args(annotation)[0])[0]


def to_avro_container(records: Iterable[VQEDecoratedResult]) -> bytes:
    """Records as an Avro container file that carries its writer's schema."""
    import fastavro

    buffer = io.BytesIO()
    fastavro.writer(buffer, fastavro.parse_schema(avro_schema()), [r.model_dump() for r in records], codec="deflate")
    return buffer.getvalue()
