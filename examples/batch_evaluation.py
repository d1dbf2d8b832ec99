"""Accuracy at several budgets, from one run of each problem.

Every problem is asked once, with the largest budget; the answers at the smaller ones come from the same
thinking (`budgets`). Each result is a line of JSON as soon as it is there. The same command again, after
Ctrl-C or a failure, asks only what is not there yet.

    python examples/batch_evaluation.py [--problems FILE] [--results FILE] [--budgets 8,16,32,96]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from anytime_client import AsyncClient, ClientError, Result

URL = os.environ.get("ANYTIME_URL", "http://127.0.0.1:8000")


def right_at(result: Result, budgets: list[int], answer: str) -> dict[str, bool]:
    """Whether the answer at each budget is right. Beyond the end of the thinking it is the last answer."""
    answers = {given.at_tokens: given.text for given in result.answers}
    return {str(budget): answers.get(budget, result.answer).strip() == answer for budget in budgets}


async def evaluate(
    client: AsyncClient, problems: list[Any], budgets: list[int], results: Path, at_once: int
) -> None:
    """Ask the problems, so many at a time, and append what comes of each."""
    places = asyncio.Semaphore(at_once)
    with results.open("a", encoding="utf-8") as file:

        async def ask(problem: dict[str, Any]) -> None:
            async with places:
                stream = client.think(
                    problem["question"], budget=budgets[-1], budgets=budgets[:-1], thinking={"seed": 0}
                )
                try:
                    result = await stream.result()
                except ClientError as error:
                    print(f"problem {problem['id']}: {error}", file=sys.stderr)
                    return
            line = {
                "id": problem["id"],
                "right": right_at(result, budgets, problem["answer"]),
                "thinking_tokens": result.stop.thinking_tokens,
                "cause": result.stop.cause,
            }
            file.write(json.dumps(line) + "\n")
            file.flush()

        async with asyncio.TaskGroup() as tasks:
            for problem in problems:
                tasks.create_task(ask(problem))


def lines(path: Path) -> list[Any]:
    """The objects in a file of JSON lines; none where there is no file yet."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def report(results: list[Any], budgets: list[int]) -> None:
    """The table: accuracy at each budget."""
    print("budget  accuracy")
    for budget in budgets:
        right = [line["right"][str(budget)] for line in results]
        print(f"{budget:6}  {sum(right) / len(right):.3f}")
    mean = sum(line["thinking_tokens"] for line in results) / len(results)
    print(f"{len(results)} problems, {mean:.1f} tokens of thinking each")


def main() -> int:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description="Measure accuracy at several budgets.")
    parser.add_argument("--problems", type=Path, default=here / "problems.jsonl", help="default: %(default)s")
    parser.add_argument(
        "--results", type=Path, default=Path("runs/results.jsonl"), help="default: %(default)s"
    )
    parser.add_argument("--budgets", default="8,16,32,96", help="default: %(default)s")
    parser.add_argument("--at-once", type=int, default=8, help="default: %(default)s")
    arguments = parser.parse_args()
    budgets = sorted(int(budget) for budget in arguments.budgets.split(","))

    async def run() -> None:
        done = {line["id"] for line in lines(arguments.results)}
        left = [problem for problem in lines(arguments.problems) if problem["id"] not in done]
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        async with AsyncClient(URL) as client:
            await evaluate(client, left, budgets, arguments.results, arguments.at_once)

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    results = lines(arguments.results)
    if results:
        report(results, budgets)
    return 0 if len(results) == len(lines(arguments.problems)) else 1


if __name__ == "__main__":
    sys.exit(main())
