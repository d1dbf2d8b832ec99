"""The playground with invalid requests, unavailable servers and incomplete manifests."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from ..servers import RealServer
from .playground import SLOW, Visit, ask, wait_for_end


async def test_invalid_input_shows_an_error_beside_it(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url, refused=True)
    for name, value, message in (
        ("question", " ", "Enter a question"),
        ("budgets", "8, x", "whole numbers"),
        ("budgets", "8, 8", "twice"),
        ("deadline", "0", "at least 1"),
        ("budget", "1.5", "whole number"),
        ("budget", "-4", "at least 0"),
        ("budget", "", "Enter a number of tokens"),
        ("seed", "1.5", "whole number"),
    ):
        await ask(page, **{name: value})
        field, error = page.locator(f"#{name}"), page.locator(f"#{name}-error")
        await expect(error).to_contain_text(message)
        await expect(field).to_have_attribute("aria-invalid", "true")
        await expect(field).to_be_focused()
        await expect(page.locator("#notice")).to_be_hidden()
        await field.fill("1")
        await expect(error).to_be_empty()
        await expect(field).not_to_have_attribute("aria-invalid", "true")


@pytest.mark.parametrize(
    ("fields", "correction", "error"),
    [
        ({"budgets": "8, 60", "budget": "50"}, {"budget": "70"}, "#budgets-error"),
        ({"budget": "1.5"}, {"budget-slider": "40"}, "#budget-error"),
    ],
)
async def test_error_disappears_when_another_input_corrects_it(
    slow_server: RealServer, visit: Visit, fields: dict[str, str], correction: dict[str, str], error: str
) -> None:
    page = await visit(slow_server.url, refused=True)
    await ask(page, **fields)
    await expect(page.locator(error)).not_to_be_empty()
    for name, value in correction.items():
        await page.fill(f"#{name}", value)
    await expect(page.locator(error)).to_be_empty()
    await expect(page.locator("[aria-invalid]")).to_have_count(0)


async def test_error_disappears_with_its_option(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url, refused=True)
    await page.check("#stable-on")
    await ask(page, stable="1")
    await expect(page.locator("#stable-error")).not_to_be_empty()
    await page.uncheck("#stable-on")
    await expect(page.locator("#stable-error")).to_be_empty()


async def test_page_recovers_when_the_server_restarts(start_server: Any, visit: Visit) -> None:
    server = start_server(*SLOW)
    page = await visit(server.url, refused=True)
    await ask(page, budget="300")
    await expect(page.locator("#thinking")).not_to_be_empty()
    server.process.send_signal(signal.SIGKILL)
    server.process.communicate()
    await wait_for_end(page, "Interrupted")
    await expect(page.locator("#notice")).to_contain_text("The text received so far is kept")
    await expect(page.locator("#thinking")).not_to_be_empty()
    await expect(page.locator("#readiness")).to_have_text("server unreachable")
    await expect(page.locator("#ask")).to_be_disabled()
    await restart(start_server, *SLOW, "--port", server.url.rpartition(":")[2])
    await expect(page.locator("#readiness")).to_have_text("ready", timeout=30_000)
    await expect(page.locator("#budget")).to_have_value("300")
    await page.click("#again")
    await page.click("#answer-now")
    await wait_for_end(page, "Done: answer requested")
    await expect(page.locator("#notice")).to_be_hidden()


async def test_page_shows_another_model_after_a_restart(
    start_server: Any, tiny_checkpoint: Path, visit: Visit
) -> None:
    server = start_server(*SLOW)
    page = await visit(server.url, refused=True)
    await expect(page.locator("#curve-panel")).to_be_visible()
    await ask(page)
    server.process.send_signal(signal.SIGKILL)
    server.process.communicate()
    await expect(page.locator("#readiness")).to_have_text("server unreachable")
    port = server.url.rpartition(":")[2]
    await restart(start_server, *SLOW, "--model", str(tiny_checkpoint), "--port", port)
    await expect(page.locator("#model")).to_have_text("tiny", timeout=30_000)
    await expect(page.locator("#curve-panel")).to_be_hidden()
    await expect(page.locator("#examples button").first).to_have_text("7-3")


async def restart(start_server: Any, *arguments: str) -> None:
    """Start a server on a port that another program may occupy for a while."""
    async with asyncio.timeout(60):
        while True:
            try:
                start_server(*arguments)
                return
            except AssertionError as error:
                if "Address already in use" not in str(error):
                    raise
            await asyncio.sleep(0.5)


async def test_page_waits_while_the_model_is_loading(slow_server: RealServer, browser: Browser) -> None:
    page = await browser.new_page()
    loading = {"status": "not ready", "reason": "the model is loading"}
    await page.route("**/ready", lambda route: route.fulfill(status=503, json=loading))
    await page.goto(slow_server.url)
    await expect(page.locator("#readiness")).to_have_text("the model is loading")
    await expect(page.locator("#ask")).to_be_disabled()
    await page.unroute("**/ready")
    await expect(page.locator("#readiness")).to_have_text("ready")
    await expect(page.locator("#ask")).to_be_enabled()
    await page.close()


async def test_model_with_a_minimal_manifest(
    start_server: Any, tiny_checkpoint: Path, tmp_path: Path, visit: Visit
) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "minimal"))
    manifest = json.loads((folder / "anytime.json").read_text(encoding="utf-8"))
    required = {name: manifest[name] for name in ("think_start", "think_end", "truncation", "answer_lead_in")}
    (folder / "anytime.json").write_text(json.dumps(required), encoding="utf-8")
    server = start_server(*SLOW, "--model", str(folder))
    page = await visit(server.url, ready=False)
    await expect(page.locator("#model")).to_have_text("minimal")
    await expect(page.locator("#curve-panel")).to_be_hidden()
    await expect(page.locator("#examples")).to_be_hidden()
    await expect(page.locator("#budgets")).to_have_value("")
    await page.check("#unlimited")
    await ask(page)
    await expect(page.locator("#count")).to_contain_text(re.compile(r"^\d+ of \d+ tokens, "))
    await page.click("#answer-now")
    await wait_for_end(page, "Done: answer requested")


async def test_answer_cut_off_at_the_window_is_reported(
    start_server: Callable[..., RealServer], visit: Visit
) -> None:
    server = start_server(
        "--engine", "scripted", "--scripted.never-end", "true", "--scripted.answer", "7" * 1100
    )
    page = await visit(server.url)
    await ask(page, budget="2")
    await wait_for_end(page, "Done: budget used up")
    limit = re.compile(r"The answer was cut off at its limit of 1,0\d\d tokens\.")
    await expect(page.locator("#summary")).to_contain_text(limit)
