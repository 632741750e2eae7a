"""What backups are tested by, in a folder and on services: an installation that works on after its backup was taken."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from pyiceberg.table import Table

from qpipe_assets.backup.backup import take_backup
from qpipe_assets.backup.part import Log, Part
from qpipe_assets.backup.restore import restore_tables
from qpipe_assets.backup.table_metadata import named_metadata
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.settings import Settings
from tests.tables.protocol import Content, content, h2, land, undisturbed

TABLES = (*schemas.NORMALIZED_NAMES, *schemas.ML_NAMES)
ALL = frozenset({("H2", 0), ("H2", 1), ("LiH", 0), ("LiH", 1)})


def silent(line: str) -> None:
    """Log nothing."""


def lose_the_catalog(settings: Settings) -> None:
    """Catalog and ledger of a home."""
    for path in settings.home.glob("catalog.db*"):
        path.unlink()


def waiting_record(settings: Settings) -> Path:
    """A file in the outbox that has not left."""
    waiting = settings.outbox / "kafka" / "undelivered" / "H2" / "run.json"
    waiting.parent.mkdir(parents=True)
    waiting.write_text("{}")
    return waiting


def ingest(installation: Installation, *molecules: str) -> None:
    for molecule in molecules or ("H2", "LiH"):
        installation.ingest().run(molecule)
        installation.ml_features().run(molecule)


def back_up(installation: Installation, folder: Path, log: Log = silent, *, verify: bool = False) -> dict[str, Part]:
    parts = take_backup(installation.settings, installation.store, folder, log, verify=verify)
    return {part.part: part for part in parts}


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


def assert_fits_after_many_commits(installation: Installation, folder: Path, lose: Callable[[], None]) -> None:
    """Tables delete a metadata file after 20 commits; the backup has the one that its catalog names."""
    land(installation, [0])
    ingest(installation, "H2")
    named = named_metadata(installation.lakehouse)
    back_up(installation, folder)
    name = "molecules"
    for _ in range(25):
        installation.lakehouse.commit_once(name, (), lambda: True, _touch)
    assert not installation.lakehouse.load(name).io.new_input(named[name]).exists(), "the file is still there"
    land(installation, [1])
    ingest(installation, "H2")
    lose()
    assert restore_tables(installation.settings, folder, silent) == []
    again = open_installation(installation.settings)
    ingest(again, "H2")
    assert rows(again) == undisturbed(h2(0, 1), ml=True)


def _touch(table: Table) -> None:
    with table.transaction() as change:
        change.set_properties(touched=uuid.uuid4().hex)
