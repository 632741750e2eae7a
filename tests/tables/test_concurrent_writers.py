"""Many processes that ingest at once into one lakehouse, on a folder and SQLite: every row once, whoever wins."""

from __future__ import annotations

from pathlib import Path

from qpipe_assets.tables.installation import open_installation
from tests.tables.protocol import settings_in
from tests.tables.writers import assert_all_rows_once, land_all, write_at_once


def test_twenty_writers_on_different_molecules_beside_four_on_one_write_every_row_once(tmp_path: Path) -> None:
    installation = open_installation(settings_in(tmp_path))
    land_all(installation.store, [0, 1])
    write_at_once(installation.settings)
    assert_all_rows_once(installation, [0, 1])
