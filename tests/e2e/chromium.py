"""The browser for tests of the playground."""

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
    """Start the system's Chromium or, if there is none, Playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    return await playwright.chromium.launch(executable_path=program, args=QUIET)


async def main() -> None:
    """Raise an error if no browser starts."""
    async with async_playwright() as playwright:
        await (await launch(playwright)).close()


if __name__ == "__main__":
    asyncio.run(main())
