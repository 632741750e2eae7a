"""Parts of a backup that failed: told at once, raised when the other parts are done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qpipe_assets.backup.part import Log
from qpipe_resources.errors import ServiceError


class Failures:
    """Gathers what services could not give."""

    def __init__(self, log: Log) -> None:
        self.found: list[ServiceError] = []
        self._log = log

    @contextmanager
    def gathered(self, part: str) -> Iterator[None]:
        """Let the failure of a part keep no other from being copied."""
        try:
            yield
        except ServiceError as error:
            self._log(f"{part} could not be copied: {error}")
            self.found.append(error)

    def raise_first(self) -> None:
        """Raise the first failure, if there was one."""
        if self.found:
            raise self.found[0]
