"""What a declared type says without its constraints; forms derived from a declaration (Avro, flags, config) need it."""

from __future__ import annotations

import types
import typing
from typing import Any


def without_none(annotation: Any) -> tuple[Any, bool]:
    """The annotation without constraints and without None, and whether None was allowed.

    Of a union of several types it is the first.
    """
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return without_none(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        arguments = typing.get_args(annotation)
        inner, nullable = without_none(next(a for a in arguments if a is not type(None)))
        return inner, nullable or type(None) in arguments
    return annotation, False
