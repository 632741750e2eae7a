"""The UI in a real browser: the asset graph with the nine tables, and a materialization started from it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qpipe_assets.tables import schemas
from tests.chromium import chromium_page
from tests.daemon import Daemon

pytestmark = [pytest.mark.xdist_group("daemon"), pytest.mark.timeout(900)]


@pytest.fixture
def page(daemon: Daemon) -> Iterator:
    # Tall: the graph draws only what is in sight.
    with chromium_page(viewport={"width": 1800, "height": 2600}) as page:
        yield page


@pytest.mark.browser
def test_the_graph_shows_the_nine_tables(daemon: Daemon, page) -> None:
    page.goto(f"{daemon.url}/locations/qpipe/asset-groups/normalized")
    for name in schemas.NORMALIZED_NAMES:
        page.get_by_text(name, exact=True).first.wait_for()


@pytest.mark.browser
def test_a_materialization_started_in_the_browser_succeeds(daemon: Daemon, page) -> None:
    page.goto(f"{daemon.url}/assets/vqe_runs")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text("Select a partition or create one").click()
    page.keyboard.type("HeH+")
    page.get_by_text("Select all (1)").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Launch").last.click()
    daemon.wait_for_runs(
        lambda run: run["tags"].get("dagster/partition") == "HeH+" and "dagster/backfill" not in run["tags"]
    )
    objects = list((daemon.shell.home / "raw-results" / "experiments").rglob("molecule=HeH+/**/*.json"))
    assert len(objects) == 1
