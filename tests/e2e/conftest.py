"""A browser, and a server that is slow enough for tests to act while it thinks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from ..servers import RealServer, start
from .chromium import launch
from .playground import SLOW, Visit


@pytest.fixture(scope="session")
async def browser() -> AsyncGenerator[Browser, None]:
    async with async_playwright() as playwright:
        browser = await launch(playwright)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def slow_server() -> Generator[RealServer, None, None]:
    """Thinks 20 tokens per second without end. Its answers hold the number of thinking tokens, up to 20."""
    server = start([*SLOW, "--scripted.settle-after", "20"])
    yield server
    server.stop()


@pytest.fixture
async def visit(browser: Browser) -> AsyncGenerator[Visit, None]:
    """Opens the playground in a new browser profile and, with `ready`, waits until it has loaded.

    Errors and warnings in the console fail the test. `refused` allows those for failed requests.
    """
    faults: list[str] = []
    contexts = []

    async def open_page(url: str, *, ready: bool = True, refused: bool = False, **options: Any) -> Page:
        context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"], **options)
        contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))

        def on_console(kind: str, text: str) -> None:
            if kind in ("error", "warning") and not (refused and text.startswith("Failed to load resource")):
                faults.append(text)

        page.on("console", lambda message: on_console(message.type, message.text))
        await page.goto(url)
        if ready:
            await expect(page.locator("#examples button").first).to_be_visible()
        return page

    yield open_page
    for context in contexts:
        await context.close()
    assert faults == []
