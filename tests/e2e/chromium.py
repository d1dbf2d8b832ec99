"""The browser that tests of pages use."""

from __future__ import annotations

import shutil

from playwright.async_api import Browser, Playwright

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
    program = shutil.which("chromium") or shutil.which("google-chrome")
    return await playwright.chromium.launch(executable_path=program, args=QUIET)
