"""What backup and restore tell of each of their parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Log = Callable[[str], None]
TELL_EVERY = 500
"""Items after which a part tells how far it is."""


@dataclass
class Part:
    """What became of one part.

    Attributes:
        part: which.
        items: that it has.
        new: items that were copied.
        bytes: of all items.
        left_out: items that stay where they are as they are, with the reason.
        damaged: items that a restore cannot put back, with the reason.
    """

    part: str
    items: int = 0
    new: int = 0
    bytes: int = 0
    left_out: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
