"""What a report consists of, before it becomes HTML or PDF."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from qpipe_assets.reports.drawing import Draw
from qpipe_assets.reports.molecule_geometry import Scene


class Grade(enum.StrEnum):
    """How good the news of a verdict is."""

    GOOD = "good"
    FAIR = "fair"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """The one sentence a reader looks for."""

    grade: Grade
    text: str


@dataclass(frozen=True)
class Facts:
    """Named values, below an optional heading of their own."""

    rows: tuple[tuple[str, str], ...]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text; those in `marked` stand out, columns in `numeric` are aligned to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: frozenset[int] = frozenset()
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Picture:
    """A drawing of `width` x `height` inches; one with a scene can be turned where the medium allows it."""

    draw: Draw
    width: float
    height: float
    caption: str
    scene: Scene | None = None


@dataclass(frozen=True)
class Note:
    """A remark in running text."""

    text: str


Block = Verdict | Facts | Table | Picture | Note


@dataclass(frozen=True)
class Section:
    """A heading and what is below it; `beside` stands to the left of the other blocks where there is room."""

    title: str
    blocks: tuple[Block, ...]
    beside: Picture | None = None


@dataclass(frozen=True)
class Document:
    """A whole report; `name` is unique among reports and safe as the stem of a file name."""

    name: str
    title: str
    subtitle: str
    sections: tuple[Section, ...] = field(default_factory=tuple)
