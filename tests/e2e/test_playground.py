"""The playground in a real Chromium, against real servers."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from anytime_server.api.playground import FOLDER
from playwright.async_api import Browser, Page, async_playwright, expect

from ..servers import ANYTIME, RealServer, start
from .asking import engine_is_idle
from .chromium import launch
from .prefix import behind_a_prefix

SLOW = ["--engine", "scripted", "--scripted.never-end", "true", "--scripted.seconds-per-token", "0.05"]
HOSTILE = (
    "It's \"quoted\" \\ 'twice' $HOME `id` $(id) !! %s {x} ${y}\n\ttab, newline\r\n"
    "\\n \\u0041 😀 \u2028\u2029\u0085\ufeff\x7f </script> é ''' \"\"\" #"
)

AXE = Path(__file__).parents[2] / "clients" / "typescript" / "node_modules" / "axe-core" / "axe.min.js"

Visit = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="module")
async def browser() -> AsyncGenerator[Browser, None]:
    async with async_playwright() as playwright:
        browser = await launch(playwright)
        yield browser
        await browser.close()


@pytest.fixture(scope="module")
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


async def test_a_run_shows_what_the_server_says(demo_server: RealServer, visit: Visit) -> None:
    page = await visit(demo_server.url)
    await expect(page.locator("#model")).to_have_text("anytime-demo")
    await page.click("#examples button >> nth=1")
    question = await page.input_value("#question")
    await ask(page, question, seed="7", budget="24", budgets="4, 8")
    await ended(page, "Done")
    request = {"messages": [{"role": "user", "content": question}], "budget": 24, "budgets": [4, 8]}
    async with demo_server.client() as client:
        response = await client.post("/v1/anytime", json=request | {"thinking": {"seed": 7}, "stream": False})
    told = response.json()
    assert await text(page, "#answer") == told["answer"]
    assert await text(page, "#thinking") == told["thinking"]
    assert await page.locator("#answers .words").all_text_contents() == [a["text"] for a in told["answers"]]
    assert await page.locator(".flag .words").count() == len(told["answers"])
    assert f"{told['stop']['thinking_tokens']} of 24 tokens" == await text(page, "#count")
    assert f"{told['usage']['prompt_tokens']} of prompt" in await text(page, "#summary")
    assert re.search(r"24 tokens: right in about \d\d% of such problems", await text(page, "#reading"))
    assert (await text(page, ".cut .why")) in ("ended by the model", "budget used up")


async def test_answers_that_are_the_same_look_the_same(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await ask(page, budget="34", budgets="5, 22, 28")
    await ended(page, "Done: budget used up")
    shapes = "els => els.map(e => e.querySelector('path').getAttribute('d') + getComputedStyle(e).fill)"
    early, *settled = await page.locator(".flag .glyph").evaluate_all(shapes)
    assert len(settled) == 3
    assert len(set(settled)) == 1
    assert early not in settled
    for part in zip(early.split("rgb"), settled[0].split("rgb"), strict=True):
        assert part[0] != part[1]  # neither by colour alone nor by shape alone


async def test_answer_now(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await ask(page)
    await page.click("#answer-now")
    await ended(page, "Done: you asked")
    await expect(page.locator("#answer")).not_to_be_empty()
    await expect(page.locator(".cut .why")).to_have_text("you asked")
    for control in ("#answer-now", "#extend", "#stop"):
        await expect(page.locator(control)).to_be_disabled()


async def test_think_more(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await page.fill("#step", "16")
    await ask(page, budget="30")
    await page.click("#extend")
    await expect(page.locator("#count")).to_contain_text("of 46 tokens")
    await ended(page, "Done: budget used up")
    await expect(page.locator("#count")).to_have_text("46 of 46 tokens")


async def test_stopping_keeps_what_had_come(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await ask(page)
    await expect(page.locator("#thinking")).not_to_be_empty()
    await page.keyboard.press("Escape")
    await ended(page, "Stopped")
    await expect(page.locator("#thinking")).not_to_be_empty()
    await expect(page.locator("#notice")).to_be_hidden()
    async with slow_server.client() as client:
        await engine_is_idle(client)


async def test_thinking_on_from_where_it_was_cut(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await ask(page, budget="10", budgets="5")
    await ended(page, "Done: budget used up")
    thought = await text(page, "#thinking")
    await page.click("#continue")
    await expect(page.locator("#count")).to_have_text("20 of 20 tokens", timeout=30_000)
    await ended(page, "Done: budget used up")
    assert (await text(page, "#thinking")).startswith(thought)
    where = [words.split(",")[-2].strip() for words in await page.locator(".where").all_text_contents()]
    assert where == ["after 5 tokens", "after 10 tokens", "after 15 tokens", "after 20 tokens"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("question", " ", "There is no question yet"),
        ("budgets", "8, x", "whole numbers"),
        ("budgets", "8, 8", "twice"),
        ("deadline", "0", "greater than or equal to 1"),
        ("budget", "1.5", "whole number"),
        ("seed", "1.5", "integer"),
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


async def test_a_server_that_goes_and_comes_again(start_server: Any, visit: Visit) -> None:
    server = start_server(*SLOW)
    page = await visit(server.url, refused=True)
    await ask(page)
    await expect(page.locator("#thinking")).not_to_be_empty()
    server.process.send_signal(signal.SIGKILL)
    server.process.communicate()
    await ended(page, "Interrupted")
    await expect(page.locator("#notice")).to_contain_text("What had come is kept")
    await expect(page.locator("#thinking")).not_to_be_empty()
    await expect(page.locator("#readiness")).to_have_text("no server answers")
    await expect(page.locator("#ask")).to_be_disabled()
    start_server(*SLOW, "--port", server.url.rpartition(":")[2])
    await expect(page.locator("#readiness")).to_have_text("ready", timeout=30_000)
    await page.click("#again")
    await page.click("#answer-now")
    await ended(page, "Done: you asked")
    await expect(page.locator("#notice")).to_be_hidden()


async def test_it_waits_for_a_model_that_is_loading(visit: Visit) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        str(ANYTIME), "serve", "--port", str(port), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            while not await listens(port):
                await asyncio.sleep(0.01)
        page = await visit(f"http://127.0.0.1:{port}", ready=False, refused=True)
        await expect(page.locator("#readiness")).to_have_text("the model is loading", timeout=30_000)
        await expect(page.locator("#ask")).to_be_disabled()
        await expect(page.locator("#readiness")).to_have_text("ready", timeout=90_000)
        await expect(page.locator("#ask")).to_be_enabled()
    finally:
        process.terminate()
        await process.wait()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


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
    await expect(page.locator("#count")).to_contain_text(re.compile(r"^\d+ tokens, "))
    await page.click("#answer-now")
    await ended(page, "Done: you asked")


async def test_everything_by_keyboard(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)

    async def tab_to(name: str) -> None:
        for _ in range(40):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.id") == name:
                outline = "getComputedStyle(document.activeElement).outlineStyle"
                assert await page.evaluate(outline) == "solid"
                return
        raise AssertionError(f"#{name} is not reached")

    await tab_to("question")
    await page.keyboard.type("7-3")
    await tab_to("budget-slider")
    await page.keyboard.press("ArrowLeft")
    await expect(page.locator("#budget")).to_have_value("95")
    for name in ("budget", "unlimited", "deadline", "budgets", "stable-on"):
        await tab_to(name)
    await page.keyboard.press("Space")
    for name in ("stable", "every", "confidence"):
        await tab_to(name)
    await page.keyboard.press("Shift+Tab")
    await page.fill("#stable", "100")
    await tab_to("ask")
    await page.keyboard.press("Enter")
    await expect(page.locator("#answer-now")).to_be_focused()
    await page.keyboard.press("Enter")
    await ended(page, "Done: you asked")
    await expect(page.locator("#continue")).to_be_focused()
    await page.locator("#tab-curl").focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("#tab-python")).to_be_focused()
    await expect(page.locator("#snippet")).to_contain_text("from anytime_client import Client")
    await page.keyboard.press("End")
    await expect(page.locator("#tab-typescript")).to_have_attribute("aria-selected", "true")
    await page.locator("#question").focus()
    await page.keyboard.press("Control+Enter")
    await expect(page.locator("#run")).to_have_attribute("data-phase", "thinking")
    await expect(page.locator("#question")).to_be_focused()


@pytest.mark.parametrize("width", [360, 768])
async def test_nothing_is_wider_than_the_screen(slow_server: RealServer, visit: Visit, width: int) -> None:
    page = await visit(slow_server.url, viewport={"width": width, "height": 780}, has_touch=True)
    await page.check("#stable-on")
    await page.click(".more-examples")
    await ask(page, "unbroken" * 60, budget="40", budgets=", ".join(str(tokens) for tokens in range(1, 40)))
    await expect(page.locator("#ruler")).to_be_in_viewport()
    await ended(page, "Done")
    assert await page.evaluate("document.documentElement.scrollWidth") == width
    boxes = await page.locator(".flag:not(.crowded) .label").evaluate_all(
        "els => els.map(e => e.getBoundingClientRect()).map(r => [r.left, r.right, r.top, r.bottom])"
    )
    assert len(boxes) > 3
    for index, (left, right, top, bottom) in enumerate(boxes):
        assert 0 <= left <= right <= width
        for left2, right2, top2, bottom2 in boxes[index + 1 :]:
            assert right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top


async def test_the_theme_is_the_system_s_until_chosen(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url, color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = await page.evaluate(paper)
    await page.click("#theme")
    light = await page.evaluate(paper)
    assert light != dark
    await page.reload()
    assert await page.evaluate(paper) == light
    await expect(page.locator("#theme")).to_have_text("Dark theme")


async def test_a_link_brings_question_and_budget(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await ask(page, HOSTILE, budget="3")
    await ended(page, "Done: budget used up")
    other = await visit(page.url)
    await expect(other.locator("#question")).to_have_value(await page.input_value("#question"))
    await expect(other.locator("#budget")).to_have_value("3")


def program(language: str, code: str, folder: Path) -> list[str]:
    """How to run copied code."""
    if language == "curl":
        return ["bash", "-c", code]
    if language == "python":
        return [sys.executable, "-c", code]
    package = folder / "node_modules" / "anytime-client"
    package.mkdir(parents=True)
    shutil.copy(FOLDER / "anytime-client.js", package / "index.js")
    (package / "package.json").write_text(
        '{"name": "anytime-client", "type": "module", "exports": "./index.js"}'
    )
    (folder / "copied.mjs").write_text(code, encoding="utf-8")
    return ["node", str(folder / "copied.mjs")]


@pytest.mark.parametrize("language", ["curl", "python", "typescript"])
async def test_the_code_asks_what_the_form_asks(
    demo_server: RealServer, visit: Visit, language: str, tmp_path: Path
) -> None:
    bodies: list[Any] = []
    async with behind_a_prefix(demo_server.url, bodies) as url:
        page = await visit(url)
        await page.check("#stable-on")
        await page.fill("#confidence", "90")
        await ask(page, HOSTILE, seed="4", budget="12", deadline="60000", budgets="4, 8")
        await ended(page, "Done")
        await page.click(f"#tab-{language}")
        await page.click("#copy")
        await expect(page.locator("#copied")).to_have_text("Copied")
        code = await page.evaluate("navigator.clipboard.readText()")
        assert "\u2028" not in code
        process = await asyncio.create_subprocess_exec(
            *program(language, code, tmp_path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    asked, copied = bodies
    assert asked["messages"] == [{"role": "user", "content": HOSTILE.replace("\r\n", "\n")}]
    assert asked["budget"] == {"tokens": 12, "deadline_ms": 60000}
    assert asked["budgets"] == [4, 8]
    assert asked["stop_when"] == {"stable": 2, "every_tokens": 8, "min_confidence": 0.9}
    assert asked["thinking"] == {"seed": 4}
    assert copied | {"stream": True} == asked
    assert await text(page, "#answer") in out.decode()


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_axe_finds_no_barrier(
    slow_server: RealServer, visit: Visit, width: int, color_scheme: str
) -> None:
    page = await visit(slow_server.url, color_scheme=color_scheme, viewport={"width": width, "height": 800})
    await ask(page, budget="12", budgets="4, 8")
    await ended(page, "Done")
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run()")
    assert found["passes"]
    assert [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in found["violations"]] == []
