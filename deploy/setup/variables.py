"""The environment of a set-up program."""

from __future__ import annotations

import os
import sys


def need(name: str) -> str:
    """Value of a variable; where it is missing the program ends and says so."""
    value = os.environ.get(name)
    if not value:
        sys.exit(f"error: {name} is not set; `make env` writes what docker-compose.yml needs into .env")
    return value
