"""The playground of a server that asks for API keys."""

from __future__ import annotations

import hashlib
from collections.abc import Generator

import pytest
from playwright.async_api import Page, expect

from ..servers import RealServer, start
from .playground import SLOW, Visit, ask, ended
from .test_playground_layout import AXE

GOOD, OFF = "a-good-key", "a-key-that-is-off"


@pytest.fixture(scope="module")
def keyed_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RealServer, None, None]:
    """Takes one key, whose holder may ask two requests a minute, and knows one that is disabled."""

    def sha256(key: str) -> str:
        return hashlib.sha256(key.encode()).hexdigest()

    keys = tmp_path_factory.mktemp("keys") / "keys.toml"
    keys.touch(mode=0o600)
    keys.write_text(
        f'[[keys]]\nname = "good"\nsha256 = "{sha256(GOOD)}"\nrequests_per_minute = 2\n'
        f'[[keys]]\nname = "off"\nsha256 = "{sha256(OFF)}"\ndisabled = true\n'
    )
    server = start([*SLOW, "--keys", str(keys)])
    yield server
    server.stop()


async def give(page: Page, key: str) -> None:
    await page.fill("#key", key)
    await page.keyboard.press("Enter")


async def test_a_key_is_asked_for_and_kept_in_the_tab(keyed_server: RealServer, visit: Visit) -> None:
    page = await visit(keyed_server.url, ready=False, refused=True)
    field, readiness = page.locator("#key"), page.locator("#readiness")
    await expect(readiness).to_have_text("API key needed")
    await expect(field).to_be_focused()
    await expect(field).to_have_attribute("type", "password")
    await expect(page.locator("#ask")).to_be_disabled()
    for wrong in ("schlüssel", "a-wrong-key", OFF):
        await give(page, wrong)
        await expect(page.locator("#key-error")).not_to_be_empty()
        await expect(field).to_have_attribute("aria-invalid", "true")
        await field.fill("")
        await expect(page.locator("#key-error")).to_be_empty()
    await give(page, GOOD)
    await expect(readiness).to_have_text("ready")
    await expect(field).to_be_hidden()
    await page.reload()
    await expect(readiness).to_have_text("ready")

    await ask(page, budget="2")
    await ended(page, "Done")
    for language in ("curl", "python", "typescript"):
        await page.click(f"#tab-{language}")
        await expect(page.locator("#snippet")).to_contain_text("ANYTIME_API_KEY")
    assert GOOD not in page.url
    assert GOOD not in await page.content()
    assert await page.evaluate("JSON.stringify(localStorage)") == "{}"

    for _ in range(2):
        await ask(page, budget="2")
        await expect(page.locator("#ask")).to_be_enabled(timeout=20_000)
    await expect(page.locator("#notice")).to_contain_text("Try again in")


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
async def test_axe_finds_no_barrier_where_a_key_is_asked_for(
    keyed_server: RealServer, visit: Visit, color_scheme: str
) -> None:
    page = await visit(
        keyed_server.url,
        ready=False,
        refused=True,
        color_scheme=color_scheme,
        viewport={"width": 360, "height": 780},
    )
    await give(page, "a-wrong-key")
    await expect(page.locator("#key-error")).not_to_be_empty()
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run()")
    assert found["passes"]
    assert [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in found["violations"]] == []
