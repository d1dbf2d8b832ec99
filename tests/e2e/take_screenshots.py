"""Takes the playground's screenshots for the documentation: `python -m tests.e2e.take_screenshots`."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.async_api import Browser, Page, async_playwright

from ..servers import start
from .chromium import launch

FOLDER = Path(__file__).parents[2] / "docs" / "images"
DESKTOP, PHONE = (1180, 1340), (360, 780)


async def run_to_the_end(page: Page, *, example: int, seed: int, budget: int, budgets: str) -> None:
    await page.locator("#examples button").first.wait_for()
    question: str = await page.evaluate(
        "async index => (await (await fetch('v1/models')).json()).data[0].anytime.examples[index]", example
    )
    await page.fill("#question", question)
    await page.click("summary")
    await page.fill("#seed", str(seed))
    await page.click("summary")
    await page.fill("#budget", str(budget))
    await page.fill("#budgets", budgets)
    await page.click("#ask")
    await page.locator("#run[data-phase=ended]").wait_for()
    await page.locator(".flag.final").wait_for()


async def take(browser: Browser, url: str, name: str, size: tuple[int, int], scheme: Any) -> None:
    page = await browser.new_page(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce"
    )
    await page.goto(url)
    await run_to_the_end(page, example=7, seed=12, budget=80, budgets="8, 16, 24, 32, 40, 48, 56")
    top = 0 if size == DESKTOP else await page.evaluate("document.getElementById('run').offsetTop")
    await page.evaluate("document.activeElement.blur()")
    await page.evaluate("top => scrollTo(0, top)", top)
    await page.wait_for_function("top => Math.abs(scrollY - top) < 2", arg=top)
    picture = Image.open(io.BytesIO(await page.screenshot()))
    picture.quantize(256, Image.Quantize.MAXCOVERAGE).save(FOLDER / f"playground-{name}.png", optimize=True)
    await page.close()


async def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    server = start([])
    try:
        async with async_playwright() as playwright:
            browser = await launch(playwright)
            await take(browser, server.url, "light", DESKTOP, "light")
            await take(browser, server.url, "dark", DESKTOP, "dark")
            await take(browser, server.url, "phone", PHONE, "light")
            await browser.close()
    finally:
        server.stop()


if __name__ == "__main__":
    asyncio.run(main())
