"""What one run of the ingest or of the ML tables did for a molecule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from qpipe_assets.tables.ledger_tables import TableCommit

Log = Callable[[str], None]
"""Takes one line of progress."""


@dataclass
class Report:
    """Rows added by table, newest commit by table, batches worked on, objects by outcome, warnings."""

    molecule: str
    rows: dict[str, int] = field(default_factory=dict)
    latest: dict[str, TableCommit] = field(default_factory=dict)
    batches: list[str] = field(default_factory=list)
    quarantined: int = 0
    duplicates: int = 0
    warnings: list[str] = field(default_factory=list)
