"""An installation with rows of three molecules in all tables, and exports of it into a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from qpipe_assets.exports.export import Export
from qpipe_assets.exports.target import ExportTarget, open_target
from qpipe_assets.tables.installation import Installation
from qpipe_resources.export_settings import ExportSettings
from tests.tables.protocol import land

SETTINGS = ExportSettings()


def bring_in(installation: Installation, molecule: str, numbers: Iterable[int]) -> None:
    """Rows of these runs into all tables, as one batch."""
    land(installation, numbers, molecule)
    installation.ingest().run(molecule)
    installation.ml_features().run(molecule)


@pytest.fixture
def filled(installation: Installation) -> Installation:
    """Two runs each of H2, LiH and HeH+."""
    for molecule in ("H2", "LiH", "HeH+"):
        bring_in(installation, molecule, range(2))
    return installation


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where exports go; does not exist yet."""
    return tmp_path / "exports"


@pytest.fixture
def target(filled: Installation, folder: Path) -> ExportTarget:
    """The dataset's folder below it."""
    return open_target(str(folder), "demo", filled.settings, SETTINGS)


@pytest.fixture
def export(filled: Installation, target: ExportTarget) -> Export:
    """Exports of the filled installation."""
    return Export(filled, target, SETTINGS)
