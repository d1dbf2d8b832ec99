"""The request as code and as a link: both send the same request, whatever characters it has."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from anytime_server.api.playground import FOLDER
from playwright.async_api import expect

from ..servers import RealServer
from .playground import Visit, ask, text, wait_for_end
from .reverse_proxy import behind_a_prefix

HOSTILE = (
    "It's \"quoted\" \\ 'twice' $HOME `id` $(id) !! %s {x} ${y}\n\ttab, newline\r\n"
    "\\n \\u0041 😀 \u2028\u2029\u0085\ufeff\x7f </script> é ''' \"\"\" #"
)


async def test_link_restores_question_and_budget(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await ask(page, HOSTILE, budget="3")
    await wait_for_end(page, "Done: budget used up")
    other = await visit(page.url)
    await expect(other.locator("#question")).to_have_value(await page.input_value("#question"))
    await expect(other.locator("#budget")).to_have_value("3")


def program(language: str, code: str, folder: Path) -> list[str]:
    """The command that runs the copied code."""
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


@pytest.mark.parametrize(
    "language",
    ["python", *(pytest.param(other, marks=pytest.mark.nightly) for other in ("curl", "typescript"))],
)
async def test_copied_code_sends_the_same_request(
    demo_server: RealServer, visit: Visit, language: str, tmp_path: Path
) -> None:
    bodies: list[Any] = []
    async with behind_a_prefix(demo_server.url, bodies) as url:
        page = await visit(url)
        await page.check("#stable-on")
        await page.fill("#confidence", "90")
        await ask(page, HOSTILE, seed="4", budget="12", deadline="60000", budgets="4, 8")
        await wait_for_end(page, "Done")
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
    form_body, code_body = bodies
    assert form_body["messages"] == [{"role": "user", "content": HOSTILE.replace("\r\n", "\n")}]
    assert form_body["budget"] == {"tokens": 12, "deadline_ms": 60000}
    assert form_body["budgets"] == [4, 8]
    assert form_body["stop_when"] == {"stable": 2, "every_tokens": 8, "min_confidence": 0.9}
    assert form_body["thinking"] == {"seed": 4}
    assert code_body | {"stream": True} == form_body
    assert await text(page, "#answer") in out.decode()
