"""The reports in a real browser: Debian's chromium, driven by playwright, with the network cut off.

Where there is no chromium these tests are skipped; with ROOFLINE_BROWSER=required, as in CI, they fail instead.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from roofline.reports.pages import write_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, ViewportSize

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
LIGHT = (
    "--js-flags=--no-enable-lazy-source-positions",  # else half of plotly.js is parsed again for a stack trace
    "--process-per-site",  # the pages of a context share a process, and in it the plotly.js that stands beside them
)

Opener = Callable[..., "Page"]


def _program() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


def _missing() -> str:
    """What these tests lack on this machine; empty if nothing."""
    if _program() is None:
        return "no chromium on the PATH (Debian: apt-get install chromium)"
    if importlib.util.find_spec("playwright") is None:  # pip has no wheel of it for some machines
        return "playwright is not installed (pip install playwright)"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = _missing()
    if missing and os.environ.get("ROOFLINE_BROWSER") != "required":
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=f"{missing}: the reports are not tried in a browser"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    assert not _missing(), _missing()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=_program(), args=[*QUIET, *LIGHT])
        yield chromium
        chromium.close()


def _listen(page: Page, complaints: list[str]) -> None:
    """Note what a page must not do: complain, fail, ask, or want something from the network."""

    def on_dialog(dialog: Dialog) -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def on_message(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def on_request(request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            complaints.append(request.url)

    page.on("dialog", on_dialog)
    page.on("console", on_message)
    page.on("request", on_request)
    page.on("pageerror", lambda error: complaints.append(str(error)))


@pytest.fixture(scope="module")
def open_page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opener]:
    """Open a result's page from file://, offline; when the module is done, none of them may have complained.

    ``open_page(data, command=..., plotlyjs=..., **options of a browser context)``; the page has drawn when it returns.
    Pages of the same options but for size and colours are tabs of one reader, whose browser keeps nothing between them.
    """
    complaints: list[str] = []
    contexts: dict[str, BrowserContext] = {}
    folder = tmp_path_factory.mktemp("pages")
    numbers = count()

    def context_of(options: Mapping[str, Any]) -> BrowserContext:
        key = repr(sorted(options.items()))
        if key not in contexts:
            contexts[key] = browser.new_context(offline=True, **options)
            contexts[key].add_init_script("try { localStorage.clear() } catch {}")  # of the theme that another chose
        return contexts[key]

    def opened(
        data: Mapping[str, Any],
        *,
        command: str | None = None,
        plotlyjs: str = "inline",
        viewport: ViewportSize | None = None,
        color_scheme: Literal["dark", "light"] = "light",
        **options: Any,
    ) -> Page:
        file = folder / f"report_{next(numbers)}.html"
        write_page(file, data, command=command, plotlyjs=plotlyjs)
        page = context_of(options).new_page()
        page.set_viewport_size(viewport or {"width": 1200, "height": 900})
        page.emulate_media(color_scheme=color_scheme)
        page.set_default_timeout(20_000)  # of a busy machine
        _listen(page, complaints)
        page.goto(file.as_uri())
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        page.evaluate("Roofline.drawHidden()")  # the figures that the reader has not come to
        return page

    yield opened
    for context in contexts.values():
        context.close()
    assert complaints == []
