"""The same budgets through vLLM's own `thinking_token_budget`, and through Anytime.

Held-out problems are asked of the bundled model on both servers, in turn, with the same seeds, at four
budgets. vLLM is told the model's think marks, and to force what Anytime inserts: the truncation text, the
think-end and the lead-in of the answer. Right is an answer whose last word is the right one, on both. From
cut to answer is the time from the last sampled token of the thinking to the first sampled one of the answer,
held against the time between two tokens of the thinking of the same request.

Usage: python bench/native_budget.py [--problems N] [--users N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import httpx2
from anytime_client.bench.report import percentile
from anytime_server.text.model import BUNDLED_MODEL, Model
from anytime_server.types import ANSWER_TEMPERATURE, THINKING_TEMPERATURE, THINKING_TOP_P
from anytime_training.evaluate import held_out_problems, task_of
from anytime_training.interval import wilson_interval
from anytime_training.tasks import Problem, Task
from servers import SERVED_NAME, vllm_serving
from serving import add_out, answer_of, client_of, describe, serving, stream_events, write_record

BUDGETS = (8, 16, 32, 96)
TURN = 50
"""Problems that one server is asked at a budget before the other is."""
PARSER = "deepseek_r1"
"""vLLM's reasoning parser for thinking between these marks that the prompt has opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of one request."""

    answer: str
    thinking_tokens: int
    is_cut: bool
    """By the budget, not by the model."""
    cut_to_answer: float | None
    """In times between two tokens; None where the thinking was not cut, or too short to have such."""


AskOne = Callable[[Problem, int, int], Awaitable[Reply]]
"""Ask a problem at a budget, with a seed."""


def anytime(client: httpx2.AsyncClient) -> AskOne:
    """Asks Anytime."""

    async def ask(problem: Problem, budget: int, seed: int) -> Reply:
        answer = await answer_of(client, problem.prompt, seed=seed, budget=budget)
        is_cut = answer.stop["cause"] == "budget"
        return Reply(
            answer=answer.text,
            thinking_tokens=answer.stop["thinking_tokens"],
            is_cut=is_cut,
            cut_to_answer=_in_gaps(answer.thinking_s, answer.answer_s) if is_cut else None,
        )

    return ask


def vllm(client: httpx2.AsyncClient, model: Model) -> AskOne:
    """Asks vLLM's server."""
    manifest, encode = model.manifest, model.tokenizer.encode
    end_ids = encode(manifest.think_end)
    forced_ids = encode(_forced(model))

    async def ask(problem: Problem, budget: int, seed: int) -> Reply:
        body = {
            "model": SERVED_NAME,
            "messages": [{"role": "user", "content": problem.prompt}],
            "stream": True,
            "thinking_token_budget": budget,
            "max_tokens": budget + len(forced_ids) + (manifest.answer_tokens or 0),
            "temperature": THINKING_TEMPERATURE,
            "top_p": THINKING_TOP_P,
            "seed": seed,
            "return_token_ids": True,
        }
        tokens, answer = list[tuple[float, int]](), ""
        for at, event in await stream_events(client, "/v1/chat/completions", body):
            for choice in () if event.data == "[DONE]" else json.loads(event.data)["choices"]:
                tokens += [(at, token_id) for token_id in choice.get("token_ids") or ()]
                answer += choice["delta"].get("content") or ""
        ids = [token_id for _, token_id in tokens]
        forced_at, end_at = _find(ids, forced_ids), _find(ids, end_ids)
        # What is forced has a think-end, too; after an end by the model, it may be forced once more.
        is_cut = forced_at < end_at
        end = forced_at if is_cut else min(end_at + len(end_ids), len(ids))
        times = [at for at, _ in tokens]
        return Reply(
            answer=answer.removeprefix(manifest.answer_lead_in),
            thinking_tokens=end,
            is_cut=is_cut,
            cut_to_answer=_in_gaps(times[:end], times[end + len(forced_ids) :]) if is_cut else None,
        )

    return ask


def _forced(model: Model) -> str:
    manifest = model.manifest
    return f"{manifest.truncation}{manifest.think_end}{manifest.answer_lead_in}"


def _find(ids: Sequence[int], part: Sequence[int]) -> int:
    """Where it begins first, or the length of all where it is not."""
    starts = range(len(ids) - len(part) + 1)
    return next((start for start in starts if [*ids[start : start + len(part)]] == [*part]), len(ids))


def _in_gaps(thinking_s: Sequence[float], answer_s: Sequence[float]) -> float | None:
    gaps_s = [after - before for before, after in pairwise(thinking_s)]
    if not gaps_s or not answer_s:
        return None
    return (answer_s[0] - thinking_s[-1]) / statistics.mean(gaps_s)


async def ask_all(
    ask: AskOne, problems: Sequence[tuple[int, Problem]], *, budget: int, users: int
) -> list[Reply]:
    """Ask numbered problems, so many at a time; replies in the order of the problems."""
    waiting, replies = iter(problems), dict[int, Reply]()

    async def user() -> None:
        for number, problem in waiting:
            replies[number] = await ask(problem, budget, number)

    await asyncio.gather(*(user() for _ in range(users)))
    return [replies[number] for number, _ in problems]


def _row(
    name: str, budget: int, problems: Sequence[Problem], replies: Sequence[Reply], task: Task[Any]
) -> dict[str, Any]:
    """A row of the record, printed."""
    is_right = [
        task.grade(problem, " ".join(reply.answer.split()[-1:]))
        for problem, reply in zip(problems, replies, strict=True)
    ]
    is_cut = [reply.is_cut for reply in replies]
    accuracy = _share(sum(is_right), len(problems))
    of_cut = _share(sum(map(all, zip(is_right, is_cut, strict=True))), sum(is_cut))
    switches = sorted(reply.cut_to_answer for reply in replies if reply.cut_to_answer is not None)
    row = {
        "server": name,
        "budget": budget,
        "problems": len(problems),
        "accuracy": accuracy,
        "accuracy_of_cut": of_cut,
        "empty": sum(not reply.answer.strip() for reply in replies),
        "over_budget": sum(reply.thinking_tokens > budget for reply in replies),
        "cut": sum(is_cut),
        "thinking_tokens": statistics.mean(reply.thinking_tokens for reply in replies),
        "cut_to_answer_in_token_times": {
            f"p{percent}": percentile(switches, percent) if switches else None for percent in (50, 95)
        },
    }
    switch = "  ".join(
        f"{n} {v:5.2f}" for n, v in row["cut_to_answer_in_token_times"].items() if v is not None
    )
    print(
        f"{name:8} {budget:6}  right {_told(accuracy)}  of those cut {_told(of_cut)}  empty {row['empty']:3}"
        f"  over {row['over_budget']:3}  cut {row['cut']:4}  thinking {row['thinking_tokens']:5.1f}"
        f"  cut to answer in token times: {switch}",
        flush=True,
    )
    return row


def _share(num_right: int, num_tried: int) -> dict[str, float] | None:
    if not num_tried:
        return None
    low, high = wilson_interval(num_right, num_tried)
    return {"value": num_right / num_tried, "low": low, "high": high}


def _told(share: dict[str, float] | None) -> str:
    return "-" if share is None else f"{share['value']:.3f} [{share['low']:.3f}, {share['high']:.3f}]"


async def measure(urls: dict[str, str], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each budget and server."""
    model = Model.load(BUNDLED_MODEL)
    task = task_of(None, model.manifest, folder=BUNDLED_MODEL)
    problems = held_out_problems(task, arguments.problems, seed=arguments.seed)
    rows = []
    async with client_of(urls["vllm"]) as theirs, client_of(urls["anytime"]) as ours:
        asks: dict[str, AskOne] = {"vllm": vllm(theirs, model), "anytime": anytime(ours)}
        for ask in asks.values():  # warms up
            await ask_all(ask, [*enumerate(problems[:TURN])], budget=BUDGETS[0], users=arguments.users)
        for budget in BUDGETS:
            replies: dict[str, list[Reply]] = {name: [] for name in asks}
            for turn in range(0, len(problems), TURN):
                part = [*enumerate(problems)][turn : turn + TURN]
                for name, ask in asks.items():
                    replies[name] += await ask_all(ask, part, budget=budget, users=arguments.users)
            rows += [_row(name, budget, problems, found, task) for name, found in replies.items()]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=500, help="of the test split (default: %(default)s)")
    parser.add_argument("--users", type=int, default=8, help="who ask at a time (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the problems (default: %(default)s)")
    add_out(parser)
    arguments = parser.parse_args()
    model = Model.load(BUNDLED_MODEL)
    config = {"reasoning_parser": PARSER, "reasoning_start_str": model.manifest.think_start}
    options = ["--reasoning-parser", PARSER, "--reasoning-config"]
    options.append(json.dumps(config | {"reasoning_end_str": _forced(model)}))
    with (
        serving() as ours,
        vllm_serving(BUNDLED_MODEL, *options, max_num_seqs=80, kv_cache_mib=256) as theirs,
    ):
        rows = asyncio.run(measure({"anytime": ours, "vllm": theirs.url}, arguments))
    sampling = {
        "vllm": {"temperature": THINKING_TEMPERATURE, "top_p": THINKING_TOP_P},
        "anytime": {"thinking_temperature": THINKING_TEMPERATURE, "answer_temperature": ANSWER_TEMPERATURE},
    }
    record = describe() | {"users": arguments.users, "sampling": sampling, "rows": rows}
    write_record("native_budget", record, out=arguments.out, parser=parser)


if __name__ == "__main__":
    main()
