"""The UI in a real browser: the asset graph with the nine tables, and a materialization started from it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from qpipe_assets.tables import schemas
from tests.daemon import Daemon

pytestmark = pytest.mark.xdist_group("daemon")

QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


@pytest.fixture
def page(daemon: Daemon) -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        # Tall: the graph draws only what is in sight.
        page = browser.new_page(viewport={"width": 1800, "height": 2600})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


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
