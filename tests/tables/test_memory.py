"""Memory of an ingest stays bounded whatever lies in the raw folder, measured in processes of its own."""

from __future__ import annotations

from pathlib import Path

from qpipe_assets.tables.installation import open_installation
from qpipe_resources.object_store import FolderObjectStore
from tests.crash_worker import Worker
from tests.tables.protocol import content, land, settings_in, undisturbed

MEBIBYTE = 1024 * 1024
FOLDER = "experiments/experiment.vqe/"


def peak_of_ingest(folder: Path, garbage: int, **limits: int) -> int:
    """Peak memory (bytes) of an ingest of one record beside two sparse files of `garbage` bytes."""
    settings = settings_in(folder, **limits)
    land(FolderObjectStore(settings.raw_results), [0])
    if garbage:
        for name in (f"{FOLDER}flat.json", f"{FOLDER}molecule=H2/garbage.json"):
            with open(settings.raw_results / name, "wb") as file:
                file.truncate(garbage)
    worker = Worker(settings, [("ingest", "H2")])
    worker.go()
    peak = worker.finish()
    installation = open_installation(settings)
    assert content(installation) == undisturbed(frozenset({("H2", 0)}))
    assert len(installation.ledger.quarantined()) == (2 if garbage else 0)
    return peak


def test_two_hundred_megabytes_of_garbage_cost_no_memory(tmp_path: Path) -> None:
    plain = peak_of_ingest(tmp_path / "plain", 0)
    assert peak_of_ingest(tmp_path / "garbage", 200 * MEBIBYTE) < plain + 30 * MEBIBYTE


def test_refusing_an_object_costs_little_more_than_its_size(tmp_path: Path) -> None:
    plain = peak_of_ingest(tmp_path / "plain", 0)
    assert peak_of_ingest(tmp_path / "garbage", 60 * MEBIBYTE) < plain + 2.5 * 60 * MEBIBYTE
