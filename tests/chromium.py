"""A page of a real, headless Chromium that asks nobody but the page under test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
_PATIENCE = 60_000
"""Milliseconds that the page waits for something."""


@contextmanager
def chromium_page(**context: Any) -> Iterator[Any]:
    """An empty page in a browser that ends with the block.

    Args:
        **context: What Playwright's `Browser.new_context` takes: `viewport`, `color_scheme`, `http_credentials`.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_QUIET)
        page = browser.new_context(**context).new_page()
        page.set_default_timeout(_PATIENCE)
        yield page
        browser.close()
