"""The playground where something is wrong: with the request, or with the server."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.async_api import expect

from ..servers import ANYTIME, RealServer
from .playground import SLOW, Visit, ask, ended


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("question", " ", "There is no question yet"),
        ("budgets", "8, x", "whole numbers"),
        ("budgets", "8, 8", "twice"),
        ("deadline", "0", "at least 1"),
        ("budget", "1.5", "whole number"),
        ("budget", "-4", "at least 0"),
        ("budget", "", "How many tokens"),
        ("seed", "1.5", "whole number"),
    ],
)
async def test_a_fault_is_told_at_its_field(
    slow_server: RealServer, visit: Visit, name: str, value: str, words: str
) -> None:
    page = await visit(slow_server.url, refused=True)
    await ask(page, **{name: value})
    field, fault = page.locator(f"#{name}"), page.locator(f"#{name}-error")
    await expect(fault).to_contain_text(words)
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_be_focused()
    await expect(page.locator("#notice")).to_be_hidden()
    await field.fill("1")
    await expect(fault).to_be_empty()
    await expect(field).not_to_have_attribute("aria-invalid", "true")


@pytest.mark.parametrize(
    ("fields", "mend", "fault"),
    [
        ({"budgets": "8, 60", "budget": "50"}, {"budget": "70"}, "#budgets-error"),
        ({"budget": "1.5"}, {"budget-slider": "40"}, "#budget-error"),
    ],
)
async def test_a_fault_is_gone_when_another_field_mends_it(
    slow_server: RealServer, visit: Visit, fields: dict[str, str], mend: dict[str, str], fault: str
) -> None:
    page = await visit(slow_server.url, refused=True)
    await ask(page, **fields)
    await expect(page.locator(fault)).not_to_be_empty()
    for name, value in mend.items():
        await page.fill(f"#{name}", value)
    await expect(page.locator(fault)).to_be_empty()
    await expect(page.locator("[aria-invalid]")).to_have_count(0)


async def test_a_fault_is_gone_with_what_it_was_about(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url, refused=True)
    await page.check("#stable-on")
    await ask(page, stable="1")
    await expect(page.locator("#stable-error")).not_to_be_empty()
    await page.uncheck("#stable-on")
    await expect(page.locator("#stable-error")).to_be_empty()


async def test_a_server_that_goes_and_comes_again(start_server: Any, visit: Visit) -> None:
    server = start_server(*SLOW)
    page = await visit(server.url, refused=True)
    await ask(page, budget="300")
    await expect(page.locator("#thinking")).not_to_be_empty()
    server.process.send_signal(signal.SIGKILL)
    server.process.communicate()
    await ended(page, "Interrupted")
    await expect(page.locator("#notice")).to_contain_text("What had come is kept")
    await expect(page.locator("#thinking")).not_to_be_empty()
    await expect(page.locator("#readiness")).to_have_text("no server answers")
    await expect(page.locator("#ask")).to_be_disabled()
    await start_again(start_server, *SLOW, "--port", server.url.rpartition(":")[2])
    await expect(page.locator("#readiness")).to_have_text("ready", timeout=30_000)
    await expect(page.locator("#budget")).to_have_value("300")
    await page.click("#again")
    await page.click("#answer-now")
    await ended(page, "Done: you asked")
    await expect(page.locator("#notice")).to_be_hidden()


async def test_a_server_that_comes_again_with_another_model(
    start_server: Any, tiny_checkpoint: Path, visit: Visit
) -> None:
    server = start_server(*SLOW)
    page = await visit(server.url, refused=True)
    await expect(page.locator("#curve-panel")).to_be_visible()
    await ask(page)
    server.process.send_signal(signal.SIGKILL)
    server.process.communicate()
    await expect(page.locator("#readiness")).to_have_text("no server answers")
    port = server.url.rpartition(":")[2]
    await start_again(start_server, *SLOW, "--model", str(tiny_checkpoint), "--port", port)
    await expect(page.locator("#model")).to_have_text("tiny", timeout=30_000)
    await expect(page.locator("#curve-panel")).to_be_hidden()
    await expect(page.locator("#examples button").first).to_have_text("7-3")


async def start_again(start_server: Any, *arguments: str) -> None:
    """On a port that another program may have taken for a while."""
    async with asyncio.timeout(60):
        while True:
            try:
                start_server(*arguments)
                return
            except AssertionError as error:
                if "Address already in use" not in str(error):
                    raise
            await asyncio.sleep(0.5)


async def test_it_waits_for_a_model_that_is_loading(visit: Visit) -> None:
    process = await asyncio.create_subprocess_exec(
        str(ANYTIME), "serve", "--port", "0", stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            while not (port := listening(process.pid)):
                await asyncio.sleep(0.01)
        page = await visit(f"http://127.0.0.1:{port}", ready=False, refused=True)
        await expect(page.locator("#readiness")).to_have_text("the model is loading", timeout=30_000)
        await expect(page.locator("#ask")).to_be_disabled()
        await expect(page.locator("#readiness")).to_have_text("ready", timeout=90_000)
        await expect(page.locator("#ask")).to_be_enabled()
    finally:
        process.terminate()
        await process.wait()


def listening(pid: int) -> int | None:
    """The port on which a process listens, once it does."""
    connections = psutil.Process(pid).net_connections("tcp4")
    return next((one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN), None)


async def test_a_model_of_which_little_is_known(
    start_server: Any, tiny_checkpoint: Path, tmp_path: Path, visit: Visit
) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "little"))
    manifest = json.loads((folder / "anytime.json").read_text(encoding="utf-8"))
    told = {name: manifest[name] for name in ("think_start", "think_end", "truncation", "answer_lead_in")}
    (folder / "anytime.json").write_text(json.dumps(told), encoding="utf-8")
    server = start_server(*SLOW, "--model", str(folder))
    page = await visit(server.url, ready=False)
    await expect(page.locator("#model")).to_have_text("little")
    await expect(page.locator("#curve-panel")).to_be_hidden()
    await expect(page.locator("#examples")).to_be_hidden()
    await expect(page.locator("#budgets")).to_have_value("")
    await page.check("#unlimited")
    await ask(page)
    await expect(page.locator("#count")).to_contain_text(re.compile(r"^\d+ of \d+ tokens, "))
    await page.click("#answer-now")
    await ended(page, "Done: you asked")


async def test_an_answer_that_was_cut_off_says_so(
    start_server: Callable[..., RealServer], visit: Visit
) -> None:
    server = start_server(*SLOW, "--scripted.answer", "a very long answer that does not end")
    page = await visit(server.url)
    await ask(page, budget="2")
    await ended(page, "Done: budget used up")
    await expect(page.locator("#summary")).to_contain_text("The answer was cut off at its limit of 8 tokens.")
