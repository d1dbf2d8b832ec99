"""The playground of a server that requires API keys."""

from __future__ import annotations

import hashlib
from collections.abc import Generator

import pytest
from playwright.async_api import Page, expect

from ..servers import RealServer, start
from .playground import SLOW, Visit, ask, wait_for_end
from .test_playground_layout import AXE

VALID_KEY, DISABLED_KEY = "a-valid-key", "a-disabled-key"


@pytest.fixture(scope="module")
def keyed_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RealServer, None, None]:
    """Has a valid key, with a limit of two requests per minute, and a disabled key."""

    def sha256(key: str) -> str:
        return hashlib.sha256(key.encode()).hexdigest()

    keys = tmp_path_factory.mktemp("keys") / "keys.toml"
    keys.touch(mode=0o600)
    keys.write_text(
        f'[[keys]]\nname = "valid"\nsha256 = "{sha256(VALID_KEY)}"\nrequests_per_minute = 2\n'
        f'[[keys]]\nname = "disabled"\nsha256 = "{sha256(DISABLED_KEY)}"\ndisabled = true\n'
    )
    server = start([*SLOW, "--keys", str(keys)])
    yield server
    server.stop()


async def enter_key(page: Page, key: str) -> None:
    await page.fill("#key", key)
    await page.keyboard.press("Enter")


async def test_key_is_requested_and_kept_in_the_tab(keyed_server: RealServer, visit: Visit) -> None:
    page = await visit(keyed_server.url, ready=False, refused=True)
    field, readiness = page.locator("#key"), page.locator("#readiness")
    await expect(readiness).to_have_text("API key required")
    await expect(field).to_be_focused()
    await expect(field).to_have_attribute("type", "password")
    await expect(page.locator("#ask")).to_be_disabled()
    for wrong in ("schlüssel", "a-wrong-key", DISABLED_KEY):
        await enter_key(page, wrong)
        await expect(page.locator("#key-error")).not_to_be_empty()
        await expect(field).to_have_attribute("aria-invalid", "true")
        await field.fill("")
        await expect(page.locator("#key-error")).to_be_empty()
    await enter_key(page, VALID_KEY)
    await expect(readiness).to_have_text("ready")
    await expect(field).to_be_hidden()
    await page.reload()
    await expect(readiness).to_have_text("ready")

    await ask(page, budget="2")
    await wait_for_end(page, "Done")
    for language in ("curl", "python", "typescript"):
        await page.click(f"#tab-{language}")
        await expect(page.locator("#snippet")).to_contain_text("ANYTIME_API_KEY")
    assert VALID_KEY not in page.url
    assert VALID_KEY not in await page.content()
    assert await page.evaluate("JSON.stringify(localStorage)") == "{}"

    for _ in range(2):
        await ask(page, budget="2")
        await expect(page.locator("#ask")).to_be_enabled(timeout=20_000)
    await expect(page.locator("#notice")).to_contain_text("Try again in")


@pytest.mark.parametrize("color_scheme", ["light", pytest.param("dark", marks=pytest.mark.nightly)])
async def test_key_form_has_no_accessibility_violations(
    keyed_server: RealServer, visit: Visit, color_scheme: str
) -> None:
    page = await visit(
        keyed_server.url,
        ready=False,
        refused=True,
        color_scheme=color_scheme,
        viewport={"width": 360, "height": 780},
    )
    await enter_key(page, "a-wrong-key")
    await expect(page.locator("#key-error")).not_to_be_empty()
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run()")
    assert found["passes"]
    assert [
        (violation["id"], [node["html"] for node in violation["nodes"]]) for violation in found["violations"]
    ] == []
