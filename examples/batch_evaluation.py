"""Accuracy at several budgets, from one run of each problem.

Every problem is sent once, with the largest budget; the smaller ones are early answers from the same thinking
(`budgets`). Each result is appended to a file as a JSON line. If the command is repeated after Ctrl-C or a
failure, it sends only the problems that have no result at these budgets yet.

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


def correct_at(result: Result, budgets: list[int], correct_answer: str) -> dict[str, bool]:
    """Whether the answer at each budget is correct. Past the end of the thinking, the final answer counts."""
    answers = {answer.at_tokens: answer.text for answer in result.answers}
    return {str(budget): answers.get(budget, result.answer).strip() == correct_answer for budget in budgets}


async def evaluate(
    client: AsyncClient, problems: list[Any], budgets: list[int], results: Path, concurrency: int
) -> None:
    """Send the problems, at most `concurrency` at a time, and append the result of each."""
    slots = asyncio.Semaphore(concurrency)
    with results.open("a", encoding="utf-8") as file:

        async def solve(problem: dict[str, Any]) -> None:
            async with slots:
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
                "budgets": budgets,
                "right": correct_at(result, budgets, problem["answer"]),
                "thinking_tokens": result.stop.thinking_tokens,
                "cause": result.stop.cause,
            }
            file.write(json.dumps(line) + "\n")
            file.flush()

        async with asyncio.TaskGroup() as tasks:
            for problem in problems:
                tasks.create_task(solve(problem))


def read_lines(path: Path) -> list[Any]:
    """Parse a file of JSON lines."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def existing_results(path: Path, problems: list[Any], budgets: list[int]) -> list[Any]:
    """The existing results of these problems at these budgets. An incomplete last line is removed."""
    if not path.exists():
        return []
    complete, end, _ = path.read_text(encoding="utf-8").rpartition("\n")
    path.write_text(complete + end, encoding="utf-8")
    ids = {problem["id"] for problem in problems}
    return [line for line in read_lines(path) if line["id"] in ids and line["budgets"] == budgets]


def report(results: list[Any], budgets: list[int]) -> None:
    """Print the accuracy at each budget."""
    print("budget  accuracy")
    for budget in budgets:
        correct = [line["right"][str(budget)] for line in results]
        print(f"{budget:6}  {sum(correct) / len(correct):.3f}")
    mean = sum(line["thinking_tokens"] for line in results) / len(results)
    print(f"{len(results)} problems, {mean:.1f} thinking tokens on average")


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

    problems = read_lines(arguments.problems)

    async def run() -> None:
        done = {line["id"] for line in existing_results(arguments.results, problems, budgets)}
        remaining = [problem for problem in problems if problem["id"] not in done]
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        async with AsyncClient(URL) as client:
            await evaluate(client, remaining, budgets, arguments.results, arguments.at_once)

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        print("interrupted; repeat the command to resume", file=sys.stderr)
        return 130
    results = existing_results(arguments.results, problems, budgets)
    if results:
        report(results, budgets)
    return 0 if len(results) == len(problems) else 1


if __name__ == "__main__":
    sys.exit(main())
