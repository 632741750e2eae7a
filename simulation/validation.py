"""Why a value was refused, in one line that a person can act on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


def reasons(error: ValidationError, name: Callable[[str], str] = str, shown: Callable[[Any], str] = repr) -> str:
    """Each refused field with its value and the reason; a reason that concerns several fields names them itself.

    Args:
        error: What pydantic raised.
        name: Makes of a field's name (parts joined by dots) what the reader calls it.
        shown: Text of a value; for those that may hold a secret.
    """
    found = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        message = str(item["msg"]).removeprefix("Value error, ")
        found.append(f"{name(where)}={shown(item['input'])}: {message}" if where else message)
    return "; ".join(found)
