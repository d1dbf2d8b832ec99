"""`anytime evaluate`: accuracy at each budget, measured through the sessions that serve.

Every held-out problem is asked once at every budget. What is measured is therefore exactly
what a client would get: the same cut, the same inserted text, the same engine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anytime_server.errors import AnytimeError
from anytime_server.reasoning import PRESETS, AccuracyPoint, Manifest
from anytime_server.reasoning.manifest import MANIFEST_NAME

from anytime_training.errors import RecipeError, TrainingFailed
from anytime_training.interval import wilson_interval

if TYPE_CHECKING:
    from anytime_server.engine import Engine
    from anytime_server.service import Service

    from anytime_training.tasks.base import Problem, Task

USAGE_ERROR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The anytime curve of a model."""

    points: tuple[AccuracyPoint, ...]
    """One for each budget, ascending."""
    mean_thinking_tokens: tuple[float, ...]
    """Thinking tokens used on average, for each budget."""

    @property
    def anytime(self) -> float:
        """Mean accuracy over the budgets."""
        return sum(point.accuracy for point in self.points) / len(self.points)

    @property
    def final(self) -> float:
        """Accuracy at the largest budget."""
        return self.points[-1].accuracy


async def measure(
    service: Service,
    task: Task[Any],
    *,
    budgets: Sequence[int],
    num_problems: int,
    seed: int,
    on_answer: Callable[[], None] = lambda: None,
) -> Curve:
    """Ask `num_problems` held-out problems at each budget, as many at a time as the engine takes.

    Args:
        seed: draws the problems, and seeds the thinking on each.
        on_answer: called after every answer.

    Raises:
        AnytimeError: a session failed.
    """
    rng = random.Random(f"{seed}:evaluate")
    problems = [task.sample(rng, split="test") for _ in range(num_problems)]
    # A few more than the engine computes at once keeps it busy without a crowd of waiting tasks.
    room = asyncio.Semaphore(service.engine.load().max_num_seqs + 8)

    async def ask(number: int, problem: Problem, budget: int) -> tuple[bool, int]:
        from anytime_server.service import Question

        async with room:
            session = await service.open(
                Question(
                    messages=[{"role": "user", "content": problem.prompt}],
                    budget_tokens=budget,
                    seed=seed * 1_000_003 + number,
                )
            )
            await session.ended()
        if session.done is None:
            raise session.error or AnytimeError("a session ended without an answer")
        on_answer()
        is_right = await asyncio.to_thread(task.grade, problem, session.done.answer)  # it may take its time
        return is_right, session.done.stop.thinking_tokens

    points: list[AccuracyPoint] = []
    mean_thinking_tokens: list[float] = []
    for budget in budgets:
        results = await asyncio.gather(
            *(ask(number, problem, budget) for number, problem in enumerate(problems))
        )
        num_right = sum(is_right for is_right, _ in results)
        low, high = wilson_interval(num_right, num_problems)
        points.append(
            AccuracyPoint(
                budget=budget, accuracy=num_right / num_problems, low=low, high=high, n=num_problems
            )
        )
        mean_thinking_tokens.append(sum(tokens for _, tokens in results) / num_problems)
    return Curve(points=tuple(points), mean_thinking_tokens=tuple(mean_thinking_tokens))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anytime evaluate",
        allow_abbrev=False,
        description="Measure a checkpoint's accuracy at each of its budgets on held-out problems. "
        "A checkpoint that is named gets the curve written into its anytime.json, and a plot beside "
        "it; the bundled one is left as it is.",
    )
    parser.add_argument(
        "checkpoint", nargs="?", type=Path, metavar="CHECKPOINT", help="folder (default: the bundled one)"
    )
    parser.add_argument("--problems", type=_positive, default=500, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=_seed, default=0, metavar="S", help="default: %(default)s")
    parser.add_argument(
        "--budgets", type=_budgets, metavar="N,N,...", help="instead of those in the manifest"
    )
    parser.add_argument(
        "--reasoning-preset",
        choices=PRESETS,
        help="family whose way to think is measured, over what the checkpoint says itself",
    )
    parser.add_argument(
        "--task",
        type=Path,
        metavar="RECIPE.toml",
        help="recipe whose task is measured, instead of the one that the checkpoint was trained on",
    )
    parser.add_argument(
        "--engine", choices=("vllm", "transformers"), default="vllm", help="default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    parser.add_argument(
        "--plot", type=_plot_file, metavar="FILE", help="also draw the curve there (.svg, .png or .pdf)"
    )
    parser.add_argument("--no-write", action="store_true", help="leave the checkpoint as it is")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 2**32 - 1, not {text!r}")
    return int(text)


def _plot_file(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".svg", ".png", ".pdf"):
        raise argparse.ArgumentTypeError("must end in .svg, .png or .pdf")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path


def _budgets(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"must be whole numbers with commas between them, not {text!r}")
    return sorted({int(part) for part in parts})


def main(argv: Sequence[str]) -> int:
    """Run the command. Returns the exit status."""
    arguments = _parser().parse_args(argv)
    if arguments.checkpoint is not None and not arguments.checkpoint.is_dir():
        print(f"anytime evaluate: there is no folder {arguments.checkpoint}", file=sys.stderr)
        return USAGE_ERROR

    from anytime_server.engine.environment import preload_allocator, prepare_environment

    prepare_environment()
    preload_allocator()
    try:
        asyncio.run(_evaluate(arguments))
    except RecipeError as error:
        print(f"anytime evaluate: {error}", file=sys.stderr)
        return USAGE_ERROR
    except (AnytimeError, TrainingFailed) as error:
        print(f"anytime evaluate: {error}", file=sys.stderr)
        return 1
    return 0


async def _evaluate(arguments: argparse.Namespace) -> None:
    from anytime_server.model import BUNDLED_MODEL, Model
    from anytime_server.service import Service
    from rich.console import Console
    from rich.progress import Progress

    from anytime_training.plot import plot_curves

    folder: Path = arguments.checkpoint or BUNDLED_MODEL
    model = Model.load(folder, preset=arguments.reasoning_preset)
    budgets: list[int] = arguments.budgets or model.manifest.budgets
    if not budgets:
        raise AnytimeError(f"{folder} names no budgets; give --budgets")
    task = task_of(arguments.task, model.manifest, folder=folder)
    service = Service(model, _engine(arguments.engine, folder), measure_speed=False)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("asking", total=arguments.problems * len(budgets))
        try:
            await service.start()
            if budgets[-1] > (window_tokens := service.engine.window_tokens):
                raise AnytimeError(
                    f"--budgets: {budgets[-1]} is more than the model's window of {window_tokens}"
                )
            curve = await measure(
                service,
                task,
                budgets=budgets,
                num_problems=arguments.problems,
                seed=arguments.seed,
                on_answer=lambda: progress.advance(bar),
            )
        finally:
            await service.stop()
    print(_json(curve, model.manifest.trained) if arguments.json else _table(curve))
    if arguments.checkpoint is not None and not arguments.no_write:
        print(keep_curve(folder, model.manifest, curve, name=model.name), file=sys.stderr)
    if arguments.plot is not None:
        plot_curves({model.name: curve.points}, arguments.plot)


def task_of(recipe: Path | None, manifest: Manifest, *, folder: Path) -> Task[Any]:
    """That of the recipe, or else the one that the checkpoint names.

    Raises:
        AnytimeError: there is none.
        RecipeError: it cannot be read.
    """
    from pydantic import TypeAdapter, ValidationError

    from anytime_training.config import load_recipe
    from anytime_training.tasks import TaskSection

    if recipe is not None:
        return load_recipe(recipe, environment={}, flags={}).task
    if manifest.task is None:
        raise AnytimeError(f"{folder} does not say what it was trained on; give --task")
    try:
        return TypeAdapter(TaskSection).validate_python(manifest.task)
    except ValidationError as error:
        raise AnytimeError(f"{folder / MANIFEST_NAME}: task: {error.errors()[0]['msg']}") from error


def _engine(name: str, folder: Path) -> Engine:
    if name == "transformers":
        from anytime_server.engine.transformers import TransformersEngine

        return TransformersEngine(folder)
    from anytime_server.engine.vllm import VllmEngine

    return VllmEngine(folder)


def keep_curve(folder: Path, measured: Manifest, curve: Curve, *, name: str) -> str:
    """Write and draw the curve beside the weights, unless the checkpoint itself thinks otherwise.

    Args:
        measured: says how it was made to think.
        name: what the plot calls it.

    Returns:
        What was done, for people.
    """
    from anytime_training.plot import plot_curves

    path, plot, own = folder / MANIFEST_NAME, folder / "accuracy.svg", Manifest.load(folder)
    if own is not None and own.texts != measured.texts:
        return f"{path} is left as it is: it names another way to think than --reasoning-preset"
    written = write_curve(folder, measured, curve).accuracy_curve
    plot_curves({name: written}, plot)
    older = [str(point.budget) for point in written if point not in curve.points]
    return f"the curve is in {path} and {plot}" + (
        f", with what was measured earlier at {', '.join(older)}" if older else ""
    )


def write_curve(folder: Path, manifest: Manifest, curve: Curve) -> Manifest:
    """Put the curve into the checkpoint's manifest, over older points at the same budgets.

    The budgets it was trained for stay, if it has any.
    """
    points = {point.budget: point for point in [*manifest.accuracy_curve, *curve.points]}
    budgets = manifest.budgets or [point.budget for point in curve.points if point.budget]
    update = {"budgets": budgets, "accuracy_curve": [points[budget] for budget in sorted(points)]}
    written = manifest.model_copy(update=update)
    written.save(folder)
    return written


def _json(curve: Curve, trained: str | None) -> str:
    points = curve.points
    return json.dumps(
        {
            "budgets": [point.budget for point in points],
            "accuracy": [point.accuracy for point in points],
            "low": [point.low for point in points],
            "high": [point.high for point in points],
            "anytime": curve.anytime,
            "final": curve.final,
            "n": points[0].n,
            "trained": trained,
            "mean_thinking_tokens": list(curve.mean_thinking_tokens),
        }
    )


def _table(curve: Curve) -> str:
    rows = [
        f"{point.budget:6}  {point.accuracy:8.3f}  [{point.low:.3f}, {point.high:.3f}]  {used:15.1f}"
        for point, used in zip(curve.points, curve.mean_thinking_tokens, strict=True)
    ]
    return "\n".join(
        [
            "budget  accuracy  95% interval    thinking tokens",
            *rows,
            f"anytime (mean) {curve.anytime:.3f}, final {curve.final:.3f}, {curve.points[0].n} problems",
        ]
    )
