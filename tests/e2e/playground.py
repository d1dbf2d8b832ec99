"""The playground's page, as its reader handles it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from playwright.async_api import Page, expect

Visit = Callable[..., Awaitable[Page]]
"""The fixture `visit`."""

SLOW = ["--engine", "scripted", "--scripted.never-end", "true", "--scripted.seconds-per-token", "0.05"]
"""Options of a server that thinks 20 tokens a second, without end."""


async def ask(page: Page, question: str = "7-3", **fields: str) -> None:
    await page.fill("#question", question)
    if "seed" in fields:
        await page.click("summary")
    for name, value in fields.items():
        await page.fill(f"#{name}", value)
    await page.click("#ask")


async def ended(page: Page, words: str) -> None:
    await expect(page.locator("#run")).to_have_attribute("data-phase", "ended", timeout=30_000)
    await expect(page.locator("#status")).to_contain_text(words)


async def text(page: Page, selector: str) -> str:
    return await page.locator(selector).text_content() or ""
