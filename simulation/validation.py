"""Values from outside: those that the environment gives, and why one was refused, in a line to act on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
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


def set_in_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The values of those fields whose variable is set; one that is set to nothing is not.

    Args:
        variables: Variable of the environment behind each field.
    """
    return {field: text for field, name in variables.items() if (text := os.environ.get(name))}
