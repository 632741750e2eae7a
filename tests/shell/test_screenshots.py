"""What people see in Dagster's UI, in a real browser: asset graph, backfill, a run with its convergence plot.

`make screenshots` keeps the pictures in docs/images.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from qpipe_assets.tables import schemas
from tests.chromium import chromium_page
from tests.daemon import Daemon, wait_for

pytestmark = [pytest.mark.xdist_group("daemon"), pytest.mark.browser, pytest.mark.timeout(900)]

MOLECULES = ["H2", "HeH+"]
CONFIG = {"optimizer": ["L-BFGS-B", "COBYLA"], "init_strategy": ["random"], "seed": [7]}
ASSETS = {"vqe_runs", "raw_vqe_objects", *schemas.names(schemas.ALL)}
LAUNCH = """mutation($backfill: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfill) { ... on LaunchBackfillSuccess { backfillId } }
}"""
FEWEST_COLOURS = 16
MOST_BYTES = 200_000


@pytest.fixture
def page(daemon: Daemon) -> Iterator:
    with chromium_page(viewport={"width": 1600, "height": 1000}) as page:
        yield page


@pytest.fixture(scope="module")
def backfill(daemon: Daemon) -> str:
    """A backfill of vqe_runs over two molecules, ended: its identity."""
    asked = {
        "assetSelection": [{"path": ["vqe_runs"]}],
        "partitionNames": MOLECULES,
        "title": "two optimizers from a random start",
        "runConfigData": {"ops": {"vqe_runs": {"config": CONFIG}}},
    }
    identity = daemon.graphql(LAUNCH, backfill=asked)["launchPartitionBackfill"]["backfillId"]
    daemon.wait_for_runs(lambda run: run["tags"].get("dagster/backfill") == identity, count=len(MOLECULES))
    return identity


def kept(page: Any, name: str, tmp_path: Path) -> None:
    """Keep what is on the screen as a small picture, which must show something."""
    path = Path(os.environ.get("SCREENSHOTS") or tmp_path) / f"{name}.png"
    page.screenshot(path=path)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(64)
    small.save(path, optimize=True)
    colours = small.convert("RGB").getcolors(maxcolors=256)
    assert colours is not None
    assert len(colours) >= FEWEST_COLOURS, "the page is blank"
    assert max(count for count, _ in colours) < 0.95 * small.width * small.height, "the page is all but blank"
    assert path.stat().st_size < MOST_BYTES


def stands_for(shown: str, name: str) -> bool:
    """Whether a node's text is the asset's name: Dagster cuts long ones in the middle."""
    start, cut, end = shown.partition("…")
    return name.startswith(start) and name.endswith(end) if cut else shown == name


def missing_assets(page: Any) -> set[str]:
    """Assets that the graph does not show (yet)."""
    shown = page.locator("svg foreignObject div").all_inner_texts()
    words = {word for text in shown for word in text.split()}
    return {name for name in ASSETS if not any(stands_for(word, name) for word in words)}


def test_the_asset_graph_shows_every_table_from_the_runs_to_the_features(daemon: Daemon, page, tmp_path: Path) -> None:
    page.goto(f"{daemon.url}/asset-groups")
    page.locator("svg").get_by_text("normalized").first.wait_for()
    page.keyboard.press("Alt+KeyE")  # expands the groups
    page.locator("svg").get_by_text("vqe_runs").wait_for()
    page.get_by_text("Hide navigation").click()
    page.set_viewport_size({"width": 1900, "height": 1850})
    page.reload()
    page.locator("svg").get_by_text("vqe_runs").wait_for()
    with suppress(AssertionError):  # the names that are missing say more
        wait_for(lambda: not missing_assets(page), "the whole graph", 60)
    assert missing_assets(page) == set()
    page.wait_for_timeout(2000)  # for the picture alone: the graph comes to rest
    kept(page, "asset-graph", tmp_path)


def test_the_backfills_page_shows_its_partitions_and_their_end(
    daemon: Daemon, page, backfill: str, tmp_path: Path
) -> None:
    page.goto(f"{daemon.url}/runs/b/{backfill}")
    page.get_by_text("100% completed").wait_for()
    for molecule in MOLECULES:
        page.get_by_text(molecule, exact=True).first.wait_for()
    page.get_by_text("Succeeded", exact=True).first.wait_for()
    page.set_viewport_size({"width": 1400, "height": 400})
    kept(page, "backfill", tmp_path)


def test_a_run_shows_its_convergence_plot(daemon: Daemon, page, backfill: str, tmp_path: Path) -> None:
    mine = [run for run in daemon.runs() if run["tags"].get("dagster/backfill") == backfill]
    run = next(one for one in mine if one["tags"]["dagster/asset_partition_range_start"] == "H2")
    page.goto(f"{daemon.url}/runs/{run['runId']}?logs=materialized")
    page.get_by_text("View full message").last.click()
    page.get_by_text("[Show Markdown]").last.click()
    plot = page.get_by_role("img", name="convergence of H2")
    plot.wait_for()
    assert plot.evaluate("image => [image.naturalWidth, image.naturalHeight, image.complete]") == [640, 340, True]
    box = plot.bounding_box()
    assert box is not None
    assert (box["width"], box["height"]) > (300, 150)
    plot.screenshot(path=tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        found = picture.convert("RGB").getcolors(maxcolors=1 << 20)
    assert found is not None
    assert len(found) > FEWEST_COLOURS, "nothing is drawn"
    kept(page, "convergence", tmp_path)


def test_the_run_of_the_backfill_tells_what_it_computed(daemon: Daemon, backfill: str) -> None:
    query = """{assetNodeOrError(assetKey: {path: ["vqe_runs"]}) {... on AssetNode {
      assetMaterializations(partitions: ["H2"], limit: 1) {
        metadataEntries { label ... on IntMetadataEntry { intValue } ... on MarkdownMetadataEntry { mdStr } }
    }}}}"""
    (event,) = daemon.graphql(query)["assetNodeOrError"]["assetMaterializations"]
    entries = {entry["label"]: entry for entry in event["metadataEntries"]}
    assert (entries["asked"]["intValue"], entries["failed"]["intValue"]) == (2, 0)
    assert entries["convergence"]["mdStr"].startswith("![convergence of H2](data:image/png;base64,")
    assert len(json.dumps(entries["convergence"])) < 60_000
