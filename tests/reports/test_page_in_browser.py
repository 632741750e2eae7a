"""The HTML report in a real browser without a network: no error, and a molecule that turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe_assets.reports.writing import ReportFormat, write_molecule_report
from tests.chromium import chromium_page
from tests.reports.conftest import made, sampled

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_molecule_turns_and_nothing_is_fetched(tmp_path: Path, scheme: str) -> None:
    (path,) = write_molecule_report([made(0), sampled(1)], tmp_path, ReportFormat.HTML)
    problems: list[str] = []
    fetched: list[str] = []
    with chromium_page(color_scheme=scheme) as page:
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(path.as_uri())
        canvas = page.locator("figure canvas")
        before = canvas.screenshot()
        box = canvas.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 100, box["y"] + 80)
        page.mouse.down()
        page.mouse.move(box["x"] + 180, box["y"] + 120)
        page.mouse.up()
        assert canvas.screenshot() != before
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        page.emulate_media(media="print")
        printed = page.evaluate("getComputedStyle(document.body).color")
    assert problems == []
    assert fetched == [path.as_uri()]
    assert (ground == "rgb(255, 255, 255)") is (scheme == "light")
    assert wide == 0
    assert printed == "rgb(32, 36, 43)"


def test_without_scripts_the_still_picture_stays(tmp_path: Path) -> None:
    (path,) = write_molecule_report([made(0)], tmp_path, ReportFormat.HTML)
    with chromium_page(java_script_enabled=False) as page:
        page.goto(path.as_uri())
        assert page.locator("figure[data-scene] > svg").bounding_box() is not None
