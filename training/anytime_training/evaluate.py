"""`anytime evaluate`: accuracy at each budget, measured through the server's own sessions.

Every held-out problem is a request at every budget, so the answers are those that a client would get: the
same truncation, the same inserted text, the same engine.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from anytime_server.errors import AnytimeError, EmptyAnswer, InvalidRequest
from anytime_server.printable import escaped, print_error
from anytime_server.reasoning import FAMILIES, AccuracyPoint, Manifest, usual_answer_tokens
from anytime_server.reasoning.manifest import MANIFEST_NAME

from anytime_training.config.task import TaskSection
from anytime_training.curve import Curve, json_line, keep_curve, table
from anytime_training.errors import RecipeError, TrainingFailed, validation_message
from anytime_training.interrupt import end_if_a_task_hangs
from anytime_training.interval import wilson_interval
from anytime_training.tasks import CustomTask, Problem, Task, draw_distinct

if TYPE_CHECKING:
    from anytime_server.engine import Engine
    from anytime_server.scheduler.scheduler import Scheduler

USAGE_ERROR = 2
MAX_SHOWN_CHARACTERS = 80
"""Length of a problem in an error message."""


def held_out_problems(task: Task[Any], count: int, *, seed: int) -> list[Problem]:
    """Up to `count` distinct problems of the test split, the same for the same seed.

    Raises:
        RecipeError: the split is empty, or the task cannot be used.
        TrainingFailed: a custom task failed.
    """
    return draw_distinct(task, count, random.Random(f"{seed}:evaluate"), split="test")


async def measure(
    scheduler: Scheduler,
    task: Task[Any],
    problems: Sequence[Problem],
    *,
    budgets: Sequence[int],
    seed: int,
    on_answer: Callable[[], None] = lambda: None,
) -> Curve:
    """Sample an answer to every problem at each budget, as many at a time as the engine computes.

    A session that fails because every answer was blank counts as a wrong answer.

    Args:
        seed: seed of the thinking, with the problem's number.
        on_answer: called after every answer.

    Raises:
        AnytimeError: a session failed, or a problem is not a valid request.
        TrainingFailed: a custom task failed.
    """
    answer_tokens = usual_answer_tokens(
        scheduler.model.manifest.answer_tokens, window_tokens=scheduler.engine.window_tokens
    )
    # A few more than the engine computes at once keep it busy; more would only wait.
    room = asyncio.Semaphore(scheduler.engine.load().max_num_seqs + 8)

    async def ask(number: int, problem: Problem, budget: int) -> tuple[bool, int]:
        from anytime_server.types import GenerateRequest

        async with room:
            try:
                session = await scheduler.submit(
                    GenerateRequest(
                        messages=[{"role": "user", "content": problem.prompt}],
                        budget_tokens=budget,
                        answer_tokens=answer_tokens,
                        seed=seed * 1_000_003 + number,
                    )
                )
            except InvalidRequest as error:
                shown = problem.content[:MAX_SHOWN_CHARACTERS]
                raise InvalidRequest(
                    f"the problem that begins {shown!r}: {error}", field=error.field, code=error.code
                ) from error
            await session.ended()
        if isinstance(session.error, EmptyAnswer):
            on_answer()
            return False, session.thinking_tokens
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
        low, high = wilson_interval(num_right, len(problems))
        points.append(
            AccuracyPoint(
                budget=budget, accuracy=num_right / len(problems), low=low, high=high, n=len(problems)
            )
        )
        mean_thinking_tokens.append(sum(tokens for _, tokens in results) / len(problems))
    return Curve(points=tuple(points), mean_thinking_tokens=tuple(mean_thinking_tokens))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anytime evaluate",
        allow_abbrev=False,
        description="Measure a checkpoint's accuracy at each of its budgets on held-out problems. "
        "The curve is written into the anytime.json of CHECKPOINT, with a plot beside it, unless another "
        "task than the checkpoint's own was measured. The bundled checkpoint is left as it is.",
    )
    parser.add_argument(
        "checkpoint",
        nargs="?",
        type=Path,
        metavar="CHECKPOINT",
        help="folder (default: the bundled checkpoint)",
    )
    parser.add_argument("--problems", type=_positive, default=500, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=_seed, default=0, metavar="S", help="default: %(default)s")
    parser.add_argument(
        "--budgets", type=_budgets, metavar="N,N,...", help="budgets (default: those in the manifest)"
    )
    parser.add_argument(
        "--reasoning-preset",
        choices=FAMILIES,
        help="model family whose reasoning format is used; overrides the checkpoint's own",
    )
    parser.add_argument(
        "--task",
        type=Path,
        metavar="RECIPE.toml",
        help="recipe whose task is measured (default: the task that the checkpoint was trained on)",
    )
    parser.add_argument(
        "--engine", choices=("vllm", "transformers"), default="vllm", help="default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    parser.add_argument(
        "--plot", type=_plot_file, metavar="FILE", help="plot the curve to this file (.svg, .png or .pdf)"
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
        print_error("evaluate", f"there is no folder {arguments.checkpoint}")
        return USAGE_ERROR

    from anytime_server.engine.environment import preload_allocator, prepare_environment

    prepare_environment()
    preload_allocator()
    signal.signal(signal.SIGINT, _interrupt)
    try:
        asyncio.run(_evaluate(arguments))
    except RecipeError as error:
        print_error("evaluate", error)
        return USAGE_ERROR
    except (AnytimeError, TrainingFailed, OSError) as error:
        print_error("evaluate", error)
        return 1
    return 0


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Ctrl-C, also while a custom task grades in a thread, for which the event loop would wait."""
    end_if_a_task_hangs("evaluate", advice="nothing is written")
    raise KeyboardInterrupt


async def _evaluate(arguments: argparse.Namespace) -> None:
    from anytime_server.scheduler.scheduler import Scheduler
    from anytime_server.text.model import BUNDLED_MODEL, Model
    from rich.console import Console
    from rich.progress import Progress

    from anytime_training.plot import plot_curves

    folder: Path = arguments.checkpoint or BUNDLED_MODEL
    model = Model.load(folder, preset=arguments.reasoning_preset)
    budgets: list[int] = arguments.budgets or model.manifest.budgets
    if not budgets:
        raise AnytimeError(f"{folder} names no budgets; give --budgets")
    task = task_of(arguments.task, model.manifest, folder=folder)
    problems = held_out_problems(task, arguments.problems, seed=arguments.seed)
    if len(problems) < arguments.problems:
        print_error(
            "evaluate",
            f"{len(problems)} problems are asked, not {arguments.problems}: "
            "the test split has no more distinct problems",
        )
    scheduler = Scheduler(model, _engine(arguments.engine, folder), measure_speed=False)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("asking", total=len(problems) * len(budgets))
        try:
            await scheduler.start()
            if budgets[-1] > (window_tokens := scheduler.engine.window_tokens):
                raise AnytimeError(
                    f"--budgets: {budgets[-1]} is more than the model's window of {window_tokens}"
                )
            curve = await measure(
                scheduler,
                task,
                problems,
                budgets=budgets,
                seed=arguments.seed,
                on_answer=lambda: progress.advance(bar),
            )
        finally:
            await scheduler.stop()
    print(json_line(curve, trained=model.manifest.trained) if arguments.json else table(curve))
    if arguments.checkpoint is not None and not arguments.no_write:
        kept = keep_curve(folder, model.manifest, curve, task=task, name=model.name)
        print(escaped(kept), file=sys.stderr)
    if arguments.plot is not None:
        plot_curves({model.name: curve.points}, arguments.plot)


def task_of(recipe: Path | None, manifest: Manifest, *, folder: Path) -> TaskSection:
    """The task of the recipe, or else the task that the checkpoint names.

    A checkpoint may come from anywhere: a Python task that it names is not imported.

    Raises:
        AnytimeError: there is no task, or it cannot be used.
        RecipeError: the recipe cannot be read.
    """
    from pydantic import TypeAdapter, ValidationError

    from anytime_training.config import load_recipe

    if recipe is not None:
        return load_recipe(recipe, environment={}, flags={}).task
    if manifest.task is None:
        raise AnytimeError(f"{folder} does not say what it was trained on; give --task")
    path = folder / MANIFEST_NAME
    try:
        task = TypeAdapter(TaskSection).validate_python(manifest.task)
    except ValidationError as error:
        raise AnytimeError(f"{path}: {validation_message(error, within=('task',))}") from error
    if isinstance(task, CustomTask):
        raise AnytimeError(f"{path} names a Python task; to run its code give --task RECIPE.toml")
    return task


def _engine(name: str, folder: Path) -> Engine:
    if name == "transformers":
        from anytime_server.engine.transformers import TransformersEngine

        return TransformersEngine(folder)
    from anytime_server.engine.vllm import VllmEngine

    return VllmEngine(folder)
