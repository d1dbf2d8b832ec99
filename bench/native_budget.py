"""The same budgets through vLLM's own `thinking_token_budget`, and through Anytime.

Both servers are asked held-out problems of the bundled model at four budgets, in turn and with the same
seeds. vLLM knows the model's thinking marks and forces the text that Anytime inserts: the truncation text,
the end of thinking and the lead-in of the answer. On both, an answer is right if its last word is. The time
from the last sampled token of the thinking to the first sampled token of the answer is compared with the time
between two thinking tokens of the same request.

    python bench/native_budget.py [--problems N] [--users N] [--seed N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from anytime_client.bench.dialects import DIALECTS
from anytime_client.bench.exchange import Exchange
from anytime_client.bench.report import percentile
from anytime_server.text.model import BUNDLED_MODEL, Model
from anytime_training.interval import wilson_interval
from anytime_training.tasks import Problem, Task
from client import Request, events_of, exchange_all, native_request
from models import held_out
from records import parser_of, write_record
from servers import MODEL_NAME, Server, anytime_server, vllm_server

BUDGETS = (8, 16, 32, 96)
TURN = 50
"""Problems that one server is asked at a budget, before the other server's turn."""
PARSER = "deepseek_r1"
"""vLLM's reasoning parser for prompts that open the thinking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The content of a response."""

    answer: str
    thinking_tokens: int
    is_truncated: bool
    """The budget ended the thinking, not the model."""
    to_answer: float | None
    """From the truncation to the answer, in times between two tokens; None if nothing was truncated, or the
    thinking has no two tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A server, how it is asked a problem (at a budget, with a seed), and how its streams are read."""

    server: Server
    request: Callable[[Problem, int, int], Request]
    read: Callable[[Exchange], Reply]


def anytime_side(server: Server) -> Side:
    """Anytime, in the native dialect."""

    def request(problem: Problem, budget: int, seed: int) -> Request:
        return native_request(problem.prompt, seed=seed, budget=budget)

    def read(exchange: Exchange) -> Reply:
        stream = DIALECTS["native"].parse(events_of(exchange))
        is_truncated = stream.cause == "budget"
        return Reply(
            answer=stream.answer,
            thinking_tokens=stream.thinking_tokens or 0,
            is_truncated=is_truncated,
            to_answer=_in_token_times(stream.thinking_s, stream.answer_s) if is_truncated else None,
        )

    return Side(server=server, request=request, read=read)


def vllm_side(server: Server, model: Model) -> Side:
    """vLLM. Its usage has no thinking tokens if the prompt opens the thinking, so they are counted by id."""
    manifest, encode = model.manifest, model.tokenizer.encode
    end_ids, forced_ids = encode(manifest.think_end), encode(_forced_text(model))

    def request(problem: Problem, budget: int, seed: int) -> Request:
        return "/v1/chat/completions", {
            "model": MODEL_NAME,
            "messages": [{"role": "user", "content": problem.prompt}],
            "stream": True,
            "thinking_token_budget": budget,
            "max_tokens": budget + len(forced_ids) + (manifest.answer_tokens or 0),
            "temperature": model.sampling.thinking.temperature,
            "top_p": model.sampling.thinking.top_p,
            "seed": seed,
            "return_token_ids": True,
        }

    def read(exchange: Exchange) -> Reply:
        tokens, answer = list[tuple[float, int]](), ""
        for at, event in events_of(exchange):
            for choice in () if event.data == "[DONE]" else json.loads(event.data)["choices"]:
                tokens += [(at, token_id) for token_id in choice.get("token_ids") or ()]
                answer += choice["delta"].get("content") or ""
        ids, times = [token_id for _, token_id in tokens], [at for at, _ in tokens]
        forced_at, end_at = _find(ids, forced_ids), _find(ids, end_ids)
        # The forced text holds the end of thinking, too. It may also be forced after an end by the model.
        is_truncated = forced_at < end_at
        end = forced_at if is_truncated else min(end_at + len(end_ids), len(ids))
        answer_s = times[end + len(forced_ids) :]
        return Reply(
            answer=answer.removeprefix(manifest.answer_lead_in),
            thinking_tokens=end,
            is_truncated=is_truncated,
            to_answer=_in_token_times(times[:end], answer_s) if is_truncated else None,
        )

    return Side(server=server, request=request, read=read)


def _forced_text(model: Model) -> str:
    manifest = model.manifest
    return f"{manifest.truncation}{manifest.think_end}{manifest.answer_lead_in}"


def _find(ids: Sequence[int], part: Sequence[int]) -> int:
    """Index at which `part` begins first, or the length of `ids` if it is not there."""
    starts = range(len(ids) - len(part) + 1)
    return next((start for start in starts if [*ids[start : start + len(part)]] == [*part]), len(ids))


def _in_token_times(thinking_s: Sequence[float], answer_s: Sequence[float]) -> float | None:
    gaps_s = [after - before for before, after in pairwise(thinking_s)]
    if not gaps_s or not answer_s:
        return None
    return (answer_s[0] - thinking_s[-1]) / statistics.mean(gaps_s)


async def ask_all(
    side: Side, problems: Sequence[tuple[int, Problem]], *, budget: int, users: int
) -> list[Reply]:
    """Ask numbered problems at a budget; the number is the seed. Replies are in the order of the problems."""
    requests = [side.request(problem, budget, number) for number, problem in problems]
    return [side.read(exchange) for exchange in await exchange_all(side.server, requests, users=users)]


def _row(
    name: str, budget: int, problems: Sequence[Problem], replies: Sequence[Reply], task: Task[Any]
) -> dict[str, Any]:
    is_right = [
        task.grade(problem, " ".join(reply.answer.split()[-1:]))
        for problem, reply in zip(problems, replies, strict=True)
    ]
    truncated = [right for right, reply in zip(is_right, replies, strict=True) if reply.is_truncated]
    to_answer = sorted(reply.to_answer for reply in replies if reply.to_answer is not None)
    row = {
        "server": name,
        "budget": budget,
        "problems": len(problems),
        "accuracy": _share(is_right),
        "accuracy_of_truncated": _share(truncated),
        "empty": sum(not reply.answer.strip() for reply in replies),
        "over_budget": sum(reply.thinking_tokens > budget for reply in replies),
        "truncated": len(truncated),
        "thinking_tokens": statistics.mean(reply.thinking_tokens for reply in replies),
        "truncation_to_answer_in_token_times": {
            f"p{percent}": percentile(to_answer, percent) if to_answer else None for percent in (50, 95)
        },
    }
    _print_row(row)
    return row


def _share(is_right: Sequence[bool]) -> dict[str, float] | None:
    """The share of right answers, with its 95% Wilson interval."""
    if not is_right:
        return None
    low, high = wilson_interval(sum(is_right), len(is_right))
    return {"value": sum(is_right) / len(is_right), "low": low, "high": high}


def _print_row(row: dict[str, Any]) -> None:
    def share(name: str) -> str:
        found = row[name]
        return "-" if found is None else f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"

    times = row["truncation_to_answer_in_token_times"].items()
    print(
        f"{row['server']:8} {row['budget']:6}  right {share('accuracy')}  of the truncated "
        f"{share('accuracy_of_truncated')}  empty {row['empty']:3}  over {row['over_budget']:3}"
        f"  truncated {row['truncated']:4}  thinking {row['thinking_tokens']:5.1f}"
        "  truncation to answer, in token times: "
        + "  ".join(f"{name} {value:5.2f}" for name, value in times if value is not None),
        flush=True,
    )


async def measure(sides: dict[str, Side], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each budget and server."""
    task, problems = held_out(BUNDLED_MODEL, arguments.problems, seed=arguments.seed)
    numbered, rows = [*enumerate(problems)], list[dict[str, Any]]()
    for side in sides.values():  # warms up
        await ask_all(side, numbered[:TURN], budget=BUDGETS[0], users=arguments.users)
    for budget in BUDGETS:
        replies: dict[str, list[Reply]] = {name: [] for name in sides}
        for start in range(0, len(numbered), TURN):
            for name, side in sides.items():
                part = numbered[start : start + TURN]
                replies[name] += await ask_all(side, part, budget=budget, users=arguments.users)
        rows += [_row(name, budget, problems, found, task) for name, found in replies.items()]
    return rows


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--problems", type=int, default=500, help="held-out problems (default: %(default)s)")
    parser.add_argument("--users", type=int, default=8, help="concurrent requests (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the problems (default: %(default)s)")
    arguments = parser.parse_args()
    model = Model.load(BUNDLED_MODEL)
    config = {"reasoning_parser": PARSER, "reasoning_start_str": model.manifest.think_start}
    options = ["--reasoning-parser", PARSER, "--reasoning-config"]
    options.append(json.dumps(config | {"reasoning_end_str": _forced_text(model)}))
    with (
        anytime_server() as ours,
        vllm_server(BUNDLED_MODEL, *options, max_num_seqs=80, kv_cache_mib=256) as theirs,
    ):
        sides = {"vllm": vllm_side(theirs, model), "anytime": anytime_side(ours)}
        rows = asyncio.run(measure(sides, arguments))
    thinking = model.sampling.thinking
    sampling = {
        "vllm": {"temperature": thinking.temperature, "top_p": thinking.top_p},
        "anytime": {
            "thinking_temperature": thinking.temperature,
            "answer_temperature": model.sampling.answer.temperature,
        },
    }
    record = {"sampling": sampling, "rows": rows}
    write_record("native_budget", record, parser=parser, arguments=arguments)


if __name__ == "__main__":
    main()
