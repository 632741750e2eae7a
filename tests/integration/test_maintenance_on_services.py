"""Maintenance on Garage and PostgreSQL: as in a folder, and beside ingesters of other processes."""

from __future__ import annotations

import datetime as dt

import pytest

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import open_installation
from qpipe_assets.tables.orphans import sweep_orphans
from qpipe_resources.settings import Settings
from qpipe_resources.stored_files import needed_files, stored_files
from tests.crash_worker import LATER, Worker
from tests.integration.test_lakehouse_on_services import fresh, settings
from tests.tables.protocol import assert_at_rest, content, h2, land, undisturbed
from tests.tables.test_kills import work_and_kill

__all__ = ["fresh", "settings"]
EVERY_TABLE = (*schemas.NORMALIZED_NAMES, *schemas.ML_NAMES)


@pytest.mark.usefixtures("at_noon")
def test_a_pass_makes_few_files_of_many_and_only_needed_ones_stay(settings: Settings) -> None:
    installation = open_installation(settings)
    for number in range(3):
        land(installation, [number])
        installation.ingest().run("H2")
    installation.ml_features().run("H2")
    table = installation.lakehouse.load("vqe_iterations")
    with table.io.new_output(f"{table.location()}/data/left-over.parquet").create() as stray:
        stray.write(b"12345")
    later = dt.datetime.now(dt.UTC) + LATER
    plan = {upkeep.table: upkeep for upkeep in installation.maintenance().run(dry_run=True, now=later)}
    assert (plan["vqe_iterations"].orphan_files, plan["vqe_iterations"].orphan_bytes) == (1, 5)
    done = {upkeep.table: upkeep for upkeep in installation.maintenance().run(now=later)}
    assert {(upkeep.files_before, upkeep.files_after) for upkeep in done.values()} == {(3, 1)}
    assert done["vqe_iterations"].orphan_files == 1
    for name in schemas.names(schemas.ALL):
        installation.lakehouse.expire(name, lambda tags: [tag for tag in tags if not tag.startswith("v_compaction_")])
        sweep_orphans(installation.lakehouse, installation.ledger, name, later)
        table = installation.lakehouse.load(name)
        needed = needed_files(table)
        assert {file.path for file in stored_files(installation.lakehouse, table)} == needed.content | needed.metadata
    assert content(installation, EVERY_TABLE) == undisturbed(h2(0, 1, 2), ml=True)
    assert_at_rest(installation)


def test_passes_killed_and_not_killed_beside_ingesters_lose_and_double_nothing(settings: Settings) -> None:
    settings = settings.model_copy(update={"orphan_days": 2 * LATER.days})
    installation = open_installation(settings)
    for number in range(2):
        land(installation, [number])
        installation.ingest().run("H2")
    land(installation, range(2, 5))
    steps = [[("ingest", "H2"), ("ml", "H2")], [("maintain", "")], [("maintain", "")]]
    work_and_kill([Worker(settings, each) for each in steps], [None, None, 0.8])
    installation.ingest().run("H2")
    installation.ml_features().run("H2")
    assert content(installation, EVERY_TABLE) == undisturbed(h2(*range(5)), ml=True)
    assert_at_rest(installation)
