"""Actions on the page of the playground."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from playwright.async_api import Page, expect

Visit = Callable[..., Awaitable[Page]]
"""Type of the fixture `visit`, which opens the page of a server."""

SLOW = ["--engine", "scripted", "--scripted.never-end", "true", "--scripted.seconds-per-token", "0.05"]
"""Options of a server that thinks 20 tokens per second and never ends the thinking itself."""


async def ask(page: Page, question: str = "7-3", **fields: str) -> None:
    await page.fill("#question", question)
    if "seed" in fields:
        await page.click("summary")
    for name, value in fields.items():
        await page.fill(f"#{name}", value)
    await page.click("#ask")


async def wait_for_end(page: Page, status: str) -> None:
    """Wait until the run has ended with the status."""
    await expect(page.locator("#run")).to_have_attribute("data-phase", "ended", timeout=30_000)
    await expect(page.locator("#status")).to_contain_text(status)


async def text(page: Page, selector: str) -> str:
    return await page.locator(selector).text_content() or ""
