"""Iceberg's predicates over columns by their names, as its type hints want them written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression


def equal(column: str, value: Any) -> BooleanExpression:
    """Rows with this value; with null where it is None."""
    from pyiceberg.expressions import EqualTo, Reference
    from pyiceberg.expressions.literals import literal

    return is_null(column) if value is None else EqualTo(term=Reference(column), value=literal(value))


def among(column: str, values: Iterable[Any]) -> BooleanExpression:
    """Rows with one of these values."""
    from pyiceberg.expressions import In, Reference
    from pyiceberg.expressions.literals import literal

    return In(term=Reference(column), literals={literal(value) for value in values})


def is_null(column: str) -> BooleanExpression:
    """Rows without a value."""
    from pyiceberg.expressions import IsNull, Reference

    return IsNull(term=Reference(column))
