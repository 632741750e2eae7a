"""An installation with rows of three molecules in all tables, shared by the tests that only read it, and one's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from qpipe_assets.exports.export import Export
from qpipe_assets.exports.target import ExportTarget, open_target
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.export_settings import ExportSettings
from tests.tables.protocol import land, settings_in

SETTINGS = ExportSettings()
MOLECULES = ("H2", "LiH", "HeH+")


def bring_in(installation: Installation, molecule: str, numbers: Iterable[int]) -> None:
    """Rows of these runs into all tables, as one batch."""
    land(installation, numbers, molecule)
    installation.ingest().run(molecule)
    installation.ml_features().run(molecule)


def fill(folder: Path, molecules: Sequence[str]) -> Installation:
    """Two runs each of these molecules."""
    installation = open_installation(settings_in(folder))
    for molecule in molecules:
        bring_in(installation, molecule, range(2))
    return installation


def export_to(place: Path | str, installation: Installation, dataset: str = "demo") -> Export:
    """Exports of an installation."""
    return Export(installation, open_target(str(place), dataset, installation.settings, SETTINGS), SETTINGS)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation that no test changes."""
    return fill(tmp_path_factory.mktemp("filled"), MOLECULES)


@pytest.fixture
def own(tmp_path: Path) -> Installation:
    """One with H2 and LiH that the test may change."""
    return fill(tmp_path, MOLECULES[:2])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where exports go; does not exist yet."""
    return tmp_path / "exports"


@pytest.fixture
def export(filled: Installation, folder: Path) -> Export:
    """Exports of the filled installation."""
    return export_to(folder, filled)


@pytest.fixture
def target(export: Export) -> ExportTarget:
    """The dataset's folder below it."""
    return export.target
