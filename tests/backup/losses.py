"""What backups are tested by, in a folder and on services: an installation that works on after its backup was taken."""

from __future__ import annotations

from pathlib import Path

from qpipe_assets.backup.backup import Part, take_backup
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation
from tests.tables.protocol import Content, content, land, undisturbed

TABLES = (*schemas.NORMALIZED_NAMES, *schemas.ML_NAMES)
ALL = frozenset({("H2", 0), ("H2", 1), ("LiH", 0), ("LiH", 1)})


def silent(line: str) -> None:
    """Log nothing."""


def ingest(installation: Installation, *molecules: str) -> None:
    for molecule in molecules or ("H2", "LiH"):
        installation.ingest().run(molecule)
        installation.ml_features().run(molecule)


def back_up(installation: Installation, folder: Path) -> dict[str, Part]:
    return {part.part: part for part in take_backup(installation.settings, installation.store, folder, silent)}


def worked_on(installation: Installation, folder: Path) -> None:
    """A backup of one run of each molecule; afterwards one more of each is ingested."""
    for molecule in ("H2", "LiH"):
        land(installation, [0], molecule)
    ingest(installation)
    back_up(installation, folder)
    for molecule in ("H2", "LiH"):
        land(installation, [1], molecule)
    ingest(installation)
    assert rows(installation) == expected()


def rows(installation: Installation) -> Content:
    return content(installation, TABLES)


def expected() -> Content:
    return undisturbed(ALL, ml=True)
