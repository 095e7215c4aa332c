"""A real browser for tests of pages, if this machine has one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def open_page(address: str, width: int = 1200, height: int = 800) -> Iterator:
    """A page in headless Chromium; skips the test, with the reason, where there is none.

    Whatever the page's scripts complain of fails the test at its end.
    """
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright (the dev extra)")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser here: install one of {', '.join(NAMES)}")
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    problems: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("requestfailed", lambda r: problems.extend(_told(r)))
            page.goto(address)
            yield page
        finally:
            browser.close()
    assert not problems, problems


def _told(request) -> list[str]:
    """Why a request failed; a map that is moved takes back its own, and that is none."""
    aborted = "ERR_ABORTED" in str(request.failure)
    return [] if aborted else [f"{request.url}: {request.failure}"]
