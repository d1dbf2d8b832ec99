"""The browser that tests of pages use."""

from __future__ import annotations

import asyncio
import shutil

from playwright.async_api import Browser, Playwright, async_playwright

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


async def launch(playwright: Playwright) -> Browser:
    """The system's Chromium, or Playwright's own where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    return await playwright.chromium.launch(executable_path=program, args=QUIET)


async def main() -> None:
    """Fail where no browser can be started."""
    async with async_playwright() as playwright:
        await (await launch(playwright)).close()


if __name__ == "__main__":
    asyncio.run(main())
