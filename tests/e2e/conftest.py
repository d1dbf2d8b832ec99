"""A browser, and a server that is slow enough to be watched."""

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
    """Thinks 20 tokens a second, without end; its answers tell after how many, up to 20."""
    server = start([*SLOW, "--scripted.settle-after", "20"])
    yield server
    server.stop()


@pytest.fixture
async def visit(browser: Browser) -> AsyncGenerator[Visit, None]:
    """Opens the page of a server in a browser profile of its own, and waits until it is `ready` to ask.

    What the console tells of faults fails the test; of refusals by the server only if `refused` is not set.
    """
    faults: list[str] = []
    contexts = []

    async def open_page(url: str, *, ready: bool = True, refused: bool = False, **options: Any) -> Page:
        context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"], **options)
        contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))

        def told(kind: str, text: str) -> None:
            if kind in ("error", "warning") and not (refused and text.startswith("Failed to load resource")):
                faults.append(text)

        page.on("console", lambda message: told(message.type, message.text))
        await page.goto(url)
        if ready:
            await expect(page.locator("#examples button").first).to_be_visible()
        return page

    yield open_page
    for context in contexts:
        await context.close()
    assert faults == []
