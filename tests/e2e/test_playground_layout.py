"""The playground by keyboard, on small screens, in both themes, and checked for accessibility."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from ..servers import RealServer
from .playground import Visit, ask, wait_for_end

AXE = Path(__file__).parents[2] / "clients" / "typescript" / "node_modules" / "axe-core" / "axe.min.js"


async def test_every_control_works_by_keyboard(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)

    async def tab_to(name: str) -> None:
        for _ in range(40):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.id") == name:
                outline = "getComputedStyle(document.activeElement).outlineStyle"
                assert await page.evaluate(outline) == "solid"
                return
        raise AssertionError(f"#{name} cannot be reached")

    await tab_to("question")
    await page.keyboard.type("7-3")
    await tab_to("budget-slider")
    await page.keyboard.press("ArrowLeft")
    await expect(page.locator("#budget")).to_have_value("95")
    for name in ("budget", "unlimited"):
        await tab_to(name)
    await page.keyboard.press("Space")  # no limit: it thinks until "answer now"
    for name in ("deadline", "budgets", "stable-on"):
        await tab_to(name)
    await page.keyboard.press("Space")
    for name in ("stable", "every", "confidence"):
        await tab_to(name)
    await page.keyboard.press("Shift+Tab")
    await page.fill("#stable", "100")
    await tab_to("ask")
    await page.keyboard.press("Enter")
    await expect(page.locator("#status")).to_be_focused()
    await page.keyboard.press("Enter")  # a repeated key press must not stop the thinking
    await tab_to("answer-now")
    await expect(page.locator("#run")).to_have_attribute("data-phase", "thinking")
    await page.keyboard.press("Enter")
    await wait_for_end(page, "Done: answer requested")
    await expect(page.locator("#status")).to_be_focused()
    for name in ("step", "continue"):
        await tab_to(name)
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


@pytest.mark.parametrize("width", [360, pytest.param(768, marks=pytest.mark.nightly)])
async def test_page_fits_the_screen_width(slow_server: RealServer, visit: Visit, width: int) -> None:
    page = await visit(slow_server.url, viewport={"width": width, "height": 780}, has_touch=True)
    await page.check("#stable-on")
    await page.click(".more-examples")
    await ask(page, "unbroken" * 60, budget="40", budgets=", ".join(str(tokens) for tokens in range(1, 40)))
    await expect(page.locator("#ruler")).to_be_in_viewport()
    await wait_for_end(page, "Done")
    assert await page.evaluate("document.documentElement.scrollWidth") == width
    boxes = await page.locator(".flag:not(.crowded) .label").evaluate_all(
        "els => els.map(e => e.getBoundingClientRect()).map(r => [r.left, r.right, r.top, r.bottom])"
    )
    assert len(boxes) > 3
    for index, (left, right, top, bottom) in enumerate(boxes):
        assert 0 <= left <= right <= width
        for left2, right2, top2, bottom2 in boxes[index + 1 :]:
            assert right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top


async def test_theme_follows_the_system_until_switched(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url, color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = await page.evaluate(paper)
    await page.click("#theme")
    light = await page.evaluate(paper)
    assert light != dark
    await page.reload()
    assert await page.evaluate(paper) == light
    await expect(page.locator("#theme")).to_have_text("Dark theme")


@pytest.mark.parametrize(
    ("width", "color_scheme"),
    [
        (360, "dark"),
        *(
            pytest.param(*page, marks=pytest.mark.nightly)
            for page in ((360, "light"), (1280, "light"), (1280, "dark"))
        ),
    ],
)
async def test_page_has_no_accessibility_violations(
    slow_server: RealServer, visit: Visit, width: int, color_scheme: str
) -> None:
    page = await visit(slow_server.url, color_scheme=color_scheme, viewport={"width": width, "height": 800})
    await ask(page, budget="12", budgets="4, 8")
    await wait_for_end(page, "Done")
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run()")
    assert found["passes"]
    assert [
        (violation["id"], [node["html"] for node in violation["nodes"]]) for violation in found["violations"]
    ] == []
