"""A run in the playground, in Chromium, against real servers."""

from __future__ import annotations

import re

from playwright.async_api import Route, expect

from ..servers import RealServer
from .native_api import engine_is_idle
from .playground import Visit, ask, text, wait_for_end


async def test_run_shows_the_servers_response(demo_server: RealServer, visit: Visit) -> None:
    page = await visit(demo_server.url)
    await expect(page.locator("#model")).to_have_text("anytime-demo")
    await page.click("#examples button >> nth=1")
    question = await page.input_value("#question")
    await ask(page, question, seed="7", budget="24", budgets="4, 8")
    await wait_for_end(page, "Done")
    request = {"messages": [{"role": "user", "content": question}], "budget": 24, "budgets": [4, 8]}
    async with demo_server.client() as client:
        response = await client.post("/v1/anytime", json=request | {"thinking": {"seed": 7}, "stream": False})
    body = response.json()
    assert await text(page, "#answer") == body["answer"]
    assert await text(page, "#thinking") == body["thinking"]
    assert await page.locator("#answers .words").all_text_contents() == [a["text"] for a in body["answers"]]
    assert await page.locator(".flag .words").count() == len(body["answers"])
    assert f"{body['stop']['thinking_tokens']} of 24 tokens" == await text(page, "#count")
    assert f"{body['usage']['prompt_tokens']} prompt" in await text(page, "#summary")
    assert re.search(r"24 tokens: about \d\d% of the measured problems correct", await text(page, "#reading"))
    assert (await text(page, ".stop-mark .reason")) in ("ended by the model", "budget used up")


async def test_equal_answers_have_the_same_symbol(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await ask(page, budget="34", budgets="5, 22, 28")
    await wait_for_end(page, "Done: budget used up")
    shapes = "els => els.map(e => e.querySelector('path').getAttribute('d') + getComputedStyle(e).fill)"
    early, *settled = await page.locator(".flag .glyph").evaluate_all(shapes)
    assert len(settled) == 3
    assert len(set(settled)) == 1
    assert early not in settled
    for part in zip(early.split("rgb"), settled[0].split("rgb"), strict=True):
        assert part[0] != part[1]  # different answers differ in both shape and colour


async def test_answer_now_stops_the_thinking(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await ask(page, budget="300")
    await page.click("#answer-now")
    await wait_for_end(page, "Done: answer requested")
    await expect(page.locator("#answer")).not_to_be_empty()
    await expect(page.locator(".stop-mark .reason")).to_have_text("answer requested")
    for control in ("#answer-now", "#extend", "#stop"):
        await expect(page.locator(control)).to_be_disabled()


async def test_think_more_raises_the_budget(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await page.fill("#step", "16")
    await ask(page, budget="300")
    await page.click("#extend")
    await expect(page.locator("#count")).to_contain_text("of 316 tokens")
    await page.click("#answer-now")
    await wait_for_end(page, "Done: answer requested")
    await expect(page.locator("#count")).to_have_text(re.compile(r"^\d+ of 316 tokens$"))


async def test_stop_keeps_the_received_text(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await ask(page, budget="300")
    await expect(page.locator("#thinking")).not_to_be_empty()
    await page.keyboard.press("Escape")
    await wait_for_end(page, "Stopped")
    await expect(page.locator("#thinking")).not_to_be_empty()
    await expect(page.locator("#notice")).to_be_hidden()
    async with slow_server.client() as client:
        await engine_is_idle(client)


async def test_continue_thinking_resumes_the_run(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await ask(page, budget="10", budgets="5")
    await wait_for_end(page, "Done: budget used up")
    thinking = await text(page, "#thinking")
    await page.click("#continue")
    await expect(page.locator("#count")).to_have_text("20 of 20 tokens", timeout=30_000)
    await wait_for_end(page, "Done: budget used up")
    assert (await text(page, "#thinking")).startswith(thinking)
    positions = [text.split(",")[-2].strip() for text in await page.locator(".details").all_text_contents()]
    assert positions == ["after 5 tokens", "after 10 tokens", "after 15 tokens", "after 20 tokens"]


async def test_interrupted_continuation_can_be_repeated(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await ask(page, budget="10", budgets="5")
    await wait_for_end(page, "Done: budget used up")
    thinking = await text(page, "#thinking")

    async def cut_off_response(route: Route) -> None:
        response = await route.fetch()
        received, _, _ = (await response.text()).partition('data: {"type":"done"')
        await route.fulfill(response=response, body=received)

    await page.route("**/v1/anytime", cut_off_response, times=1)
    await page.click("#continue")
    await wait_for_end(page, "Interrupted")
    await expect(page.locator("#notice")).to_contain_text("The stream ended before the answer was done")
    await expect(page.locator("#count")).to_have_text("20 of 20 tokens")
    await expect(page.locator("#continue")).to_be_visible()
    await page.click("#again")
    await wait_for_end(page, "Done: budget used up")
    assert (await text(page, "#thinking")).startswith(thinking)
    positions = [text.split(",")[-2].strip() for text in await page.locator(".details").all_text_contents()]
    assert positions == ["after 5 tokens", "after 10 tokens", "after 15 tokens", "after 20 tokens"]
    assert await page.locator(".flag").count() == 4
    assert await page.locator(".stop-mark").count() == 2


async def test_unknown_cause_is_shown_by_its_name(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)

    async def replace_cause(route: Route) -> None:
        response = await route.fetch()
        body = (await response.text()).replace('"cause":"budget"', '"cause":"weather"')
        await route.fulfill(response=response, body=body)

    await page.route("**/v1/anytime", replace_cause)
    await ask(page, budget="3")
    await wait_for_end(page, "Done: weather")
    await expect(page.locator(".stop-mark .reason")).to_have_text("weather")


async def test_run_without_a_limit_shows_the_servers_budget(slow_server: RealServer, visit: Visit) -> None:
    page = await visit(slow_server.url)
    await page.check("#unlimited")
    await ask(page)
    await expect(page.locator("#count")).to_contain_text(re.compile(r"^\d+ of 1,\d+ tokens, "))
    await page.click("#stop")
    await wait_for_end(page, "Stopped")


async def test_refused_request_keeps_the_previous_run_in_the_page(
    slow_server: RealServer, visit: Visit
) -> None:
    page = await visit(slow_server.url, refused=True)
    await ask(page, budget="3")
    await wait_for_end(page, "Done: budget used up")
    shown = [await text(page, name) for name in ("#thinking", "#answer", "#summary", "#count")]
    await ask(page, budget="100000000")
    await wait_for_end(page, "Refused")
    assert [await text(page, name) for name in ("#thinking", "#answer", "#summary", "#count")] == shown
    await expect(page.locator("#continue")).to_be_visible()


async def test_early_answer_of_a_second_run_is_not_shown_as_final(
    slow_server: RealServer, visit: Visit
) -> None:
    page = await visit(slow_server.url)
    await ask(page, budget="2", budgets="")
    await wait_for_end(page, "Done: budget used up")
    await ask(page, budget="300", budgets="2")
    await expect(page.locator("#answers li")).to_have_count(1)
    await expect(page.locator("#answer")).to_have_attribute("data-state", "provisional")
