"""Maintenance killed by SIGKILL at random moments, and beside ingesters: nothing lost, nothing twice, nothing left."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

import pytest

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_assets.tables.orphans import sweep_orphans
from qpipe_resources.stored_files import needed_files, stored_files
from tests import crash_worker
from tests.crash_worker import LATER, Worker
from tests.tables.protocol import assert_at_rest, content, h2, land, run_trials, settings_in, undisturbed
from tests.tables.test_kills import Kills, work_and_kill

pytestmark = pytest.mark.timeout(900)

EVERY_TABLE = (*schemas.NORMALIZED_NAMES, *schemas.ML_NAMES)
MAINTAINED = ("vqe_iterations", "vqe_results", "processing_metadata")


def three_batches(folder: Path, **values: int) -> Installation:
    """Three small files in each table; few tags are retained, so that a pass expires some."""
    installation = open_installation(settings_in(folder, retained_batches=2, retained_days=0, **values))
    for number in range(3):
        land(installation, [number])
        installation.ingest().run("H2")
    return installation


def rows_by_tag(installation: Installation) -> dict[tuple[str, str], int]:
    """Number of rows of the maintained tables at every tag."""
    return {
        (name, tag): installation.lakehouse.arrow(name, tag).num_rows
        for name in MAINTAINED
        for tag in installation.lakehouse.load(name).refs()
        if tag != "main"
    }


@pytest.fixture(scope="module")
def seconds(tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long an undisturbed pass over three batches takes here."""
    settings = three_batches(tmp_path_factory.mktemp("measure")).settings
    return crash_worker.run(settings, *(("maintain", name) for name in MAINTAINED))


@pytest.mark.usefixtures("at_noon")
def test_a_pass_killed_at_any_moment_loses_and_doubles_nothing_and_the_next_ones_clean_up(seconds: float) -> None:
    kills, orphans = Kills(seconds), []

    def trial(folder: Path, chance: random.Random) -> None:
        installation = three_batches(folder)
        victim = Worker(installation.settings, [("maintain", name) for name in MAINTAINED])
        kills.strike(victim, chance, 1.2)
        assert content(installation) == undisturbed(h2(*range(3)))
        assert_at_rest(installation)
        before = rows_by_tag(installation)
        later = dt.datetime.now(dt.UTC) + LATER
        done = installation.maintenance().run(MAINTAINED, now=later)
        assert [table.files_after for table in done] == [1, 1, 1]
        orphans.append(sum(table.orphan_files for table in done))
        after = rows_by_tag(installation)
        kept = after.keys() & before.keys()
        assert len(kept) >= len(MAINTAINED) and all(before[tag] == after[tag] for tag in kept)
        for name in MAINTAINED:
            sweep_orphans(installation.lakehouse, installation.ledger, name, later)
            table = installation.lakehouse.load(name)
            needed = needed_files(table)
            stored = {file.path for file in stored_files(installation.lakehouse, table)}
            assert stored == needed.content | needed.metadata, name
        assert content(installation) == undisturbed(h2(*range(3)))
        assert_at_rest(installation)

    run_trials(trial, 8, first_seed=5000, enough=lambda: kills.hits >= 4 and any(orphans))
    assert kills.hits >= 4, f"only {kills}"
    assert any(orphans), "no kill left a file behind: the trials proved nothing of it"


def test_passes_beside_ingesters_and_a_rebuild_lose_and_double_nothing() -> None:
    def trial(folder: Path, chance: random.Random) -> None:
        # The clock of a pass is five days ahead here: what the others are about to commit must not be old to it.
        installation = three_batches(folder, orphan_days=2 * LATER.days)
        settings = installation.settings
        land(installation, range(3, 6))
        land(installation, [0, 1], "LiH")
        steps = [
            [("ingest", "H2"), ("ml", "H2")],
            [("ingest", "LiH"), ("ml", "LiH")],
            [("maintain", ""), ("maintain", "")],
            [chance.choice([("maintain", ""), ("rebuild", "H2")])],
        ]
        work_and_kill([Worker(settings, each) for each in steps], [None, None, None, None])
        crash_worker.run(settings, ("ingest", "H2"), ("ml", "H2"), ("ingest", "LiH"), ("ml", "LiH"))
        crash_worker.run(settings, ("maintain", ""))
        everything = frozenset({*h2(*range(6)), ("LiH", 0), ("LiH", 1)})
        assert content(installation, EVERY_TABLE) == undisturbed(everything, ml=True)
        assert_at_rest(installation, ("H2", "LiH"))

    run_trials(trial, 2, first_seed=6000)
