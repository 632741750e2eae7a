"""How far an export is: told what is done and what there is to do, in rows or bytes."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]


def silent(done: int, whole: int) -> None:
    """Show nothing."""


def each_tenth(progress: Progress) -> Progress:
    """Tell each tenth of the way only, for logs."""
    told = -1

    def tell(done: int, whole: int) -> None:
        nonlocal told
        tenth = 10 * done // whole if whole else 10
        if tenth > told:
            told = tenth
            progress(done, whole)

    return tell
