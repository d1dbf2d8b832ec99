"""A run in the playground, in a real Chromium, against real servers."""

from __future__ import annotations

import re

from playwright.async_api import Route, expect

from ..servers import RealServer
from .native_api import engine_is_idle
from .playground import Visit, ask, ended, text


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
    assert re.search(
        r"24 tokens: right in about \d\d% of the problems it was measured on", await text(page, "#reading")
    )
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
    await ask(page, budget="300")
    await page.click("#answer-now")
    await ended(page, "Done: you asked")
    await expect(page.locator("#answer")).not_to_be_empty()
    await expect(page.locator(".cut .why")).to_have_text("you asked")
    for control in ("#answer-now", "#extend", "#stop"):
        await expect(page.locator(control)).to_be_disabled()


async def test_think_more(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await page.fill("#step", "16")
    await ask(page, budget="300")
    await page.click("#extend")
    await expect(page.locator("#count")).to_contain_text("of 316 tokens")
    await page.click("#answer-now")
    await ended(page, "Done: you asked")
    await expect(page.locator("#count")).to_have_text(re.compile(r"^\d+ of 316 tokens$"))


async def test_stopping_keeps_what_had_come(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await ask(page, budget="300")
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


async def test_thinking_on_that_breaks_can_be_repeated(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await ask(page, budget="10", budgets="5")
    await ended(page, "Done: budget used up")
    thought = await text(page, "#thinking")

    async def break_off(route: Route) -> None:
        response = await route.fetch()
        come, _, _ = (await response.text()).partition('data: {"type":"done"')
        await route.fulfill(response=response, body=come)

    await page.route("**/v1/anytime", break_off, times=1)
    await page.click("#continue")
    await ended(page, "Interrupted")
    await expect(page.locator("#notice")).to_contain_text("The stream ended before the answer was done")
    await expect(page.locator("#count")).to_have_text("20 of 20 tokens")
    await expect(page.locator("#continue")).to_be_visible()
    await page.click("#again")
    await ended(page, "Done: budget used up")
    assert (await text(page, "#thinking")).startswith(thought)
    where = [words.split(",")[-2].strip() for words in await page.locator(".where").all_text_contents()]
    assert where == ["after 5 tokens", "after 10 tokens", "after 15 tokens", "after 20 tokens"]
    assert await page.locator(".flag").count() == 4
    assert await page.locator(".cut").count() == 2


async def test_a_cause_of_a_later_server(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)

    async def know_more(route: Route) -> None:
        response = await route.fetch()
        body = (await response.text()).replace('"cause":"budget"', '"cause":"weather"')
        await route.fulfill(response=response, body=body)

    await page.route("**/v1/anytime", know_more)
    await ask(page, budget="3")
    await ended(page, "Done: weather")
    await expect(page.locator(".cut .why")).to_have_text("weather")


async def test_without_a_limit_the_server_s_own_is_told(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await page.check("#unlimited")
    await ask(page)
    await expect(page.locator("#count")).to_contain_text(re.compile(r"^\d+ of 1,\d+ tokens, "))
    await page.click("#stop")
    await ended(page, "Stopped")


async def test_what_is_refused_leaves_the_run_before_it(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url, refused=True)
    await ask(page, budget="3")
    await ended(page, "Done: budget used up")
    shown = [await text(page, name) for name in ("#thinking", "#answer", "#summary", "#count")]
    await ask(page, budget="100000000")
    await ended(page, "Refused")
    assert [await text(page, name) for name in ("#thinking", "#answer", "#summary", "#count")] == shown
    await expect(page.locator("#continue")).to_be_visible()


async def test_a_later_run_shows_no_provisional_answer_as_final(
    slow_server: RealServer, visit: Visit
) -> None:
    page = await visit(slow_server.url)
    await ask(page, budget="2", budgets="")
    await ended(page, "Done: budget used up")
    await ask(page, budget="300", budgets="2")
    await expect(page.locator("#answers li")).to_have_count(1)
    await expect(page.locator("#answer")).to_have_attribute("data-state", "provisional")
