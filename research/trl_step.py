"""How long does a training step take, compared with TRL's GRPOTrainer on the same rollouts as flat rows?

    python research/trl_step.py [--steps N] [--prompts N] [--engines transformers vllm] [--trl-python PATH]

The task, model, budgets and sizes are those of `demo-brpo.toml`: P prompts, G rollouts of each, A answers
after the truncation at each of B budgets. This project samples on its engine and learns from packed trees; it
keeps trees without a gradient here, and reports separately what pruning them saves. TRL samples and learns
the P x G x B x A rows that these trees unfold into; `trl_driver.py` describes how. TRL pads all rows to the
longest, which is much of the difference; `trl_trimmed` is TRL without that padding. All use the same torch
version, in float32 on one thread. (vLLM samples in a second process; the two processes take turns.)
Steps alternate between this project's engines and TRL. The first step of each is not counted. Seconds are
medians of wall-clock time; `cpu_s` counts the process alone and shows whether the machine was busy.

TRL needs its own environment, separate from this project's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from anytime_server.engine.environment import prepare_environment
from anytime_server.text.model import Model
from anytime_training.config import BrpoRecipe, load_recipe
from anytime_training.credit import credit_trees
from anytime_training.reward import grade_rollouts
from anytime_training.rollout import RolloutSampler
from anytime_training.start import build_engine, build_learner, load_start
from anytime_training.tasks import Problem
from anytime_training.tree import Tree, pack
from anytime_training.weight_sync import sync_weights
from recording import RECIPES, RESULTS, ROOT, write_record

RECORD = RESULTS / "trl_step.json"
TRL_PYTHON = ROOT / "build" / "trl-venv" / "bin" / "python"
HOW_TO_MAKE = """{path} does not exist. To make TRL's environment (1.5 GB):
    python3 -m venv build/trl-venv
    build/trl-venv/bin/pip install --extra-index-url https://download.pytorch.org/whl/cpu \\
        torch==2.13.0+cpu transformers==5.19.0 trl==1.16.0"""

LEARNING_RATE = 1e-6
"""Of both: small enough that the rollouts of later steps are as long as those of the first."""

TRL_NAMES = ("trl", "trl_trimmed")
"""TRL unchanged, and TRL without its padding."""


class OurStep:
    """Steps of BRPO on one engine, as in `anytime_training.brpo`."""

    def __init__(self, recipe: BrpoRecipe, model: Model) -> None:
        self._recipe = recipe
        self._model = model
        self._engine = build_engine(recipe, model)
        self._number = 0

    async def start(self) -> None:
        """Load the engine. To be called before any `prepare`: the engine may fork."""
        await self._engine.start()

    async def stop(self) -> None:
        """Stop the engine."""
        await self._engine.stop()

    def prepare(self) -> None:
        """Load the learner."""
        rollout = self._recipe.rollout
        answer_tokens = answer_tokens_of(self._recipe, self._model)
        self._sampler = RolloutSampler(
            engine=self._engine,
            reasoning=self._model.reasoning,
            budgets=rollout.trained_budgets,
            group_size=rollout.group_size,
            answers_per_budget=rollout.answers_per_budget,
            answer_tokens=answer_tokens,
        )
        self._learner = build_learner(
            self._recipe, self._model, max_rollout_tokens=rollout.trained_budgets[-1] + answer_tokens
        )

    async def take(self, problems: list[Problem]) -> dict[str, Any]:
        """Take one step. Returns the seconds of its parts, and its tokens."""
        recipe, cpu_started = self._recipe, time.process_time()
        laps = [time.perf_counter()]
        await sync_weights(self._learner.model, self._engine, timeout_s=recipe.engine.sync_timeout_s)
        laps.append(time.perf_counter())
        prompts = [self._model.prompt_ids([{"role": "user", "content": one.prompt}]) for one in problems]
        rollouts = await self._sampler.sample(prompts, seed=f"trl:{self._number}")
        laps.append(time.perf_counter())
        grades = grade_rollouts(
            rollouts,
            problems,
            task=recipe.task,
            tokenizer=self._model.tokenizer,
            reasoning=self._model.reasoning,
        )
        laps.append(time.perf_counter())
        budgets = recipe.rollout.trained_budgets
        trees = credit_trees(rollouts, grades.rewards_PGBA, budgets, recipe.credit, keep_all=True)
        learned = self._learn(trees)
        laps.append(time.perf_counter())
        cpu_s = time.process_time() - cpu_started

        pruned = credit_trees(rollouts, grades.rewards_PGBA, budgets, recipe.credit)
        pruned_started = time.perf_counter()
        learned_pruned = self._learn(pruned)
        pruned_s = time.perf_counter() - pruned_started
        names = ("sync", "sample", "grade", "learn")
        seconds = {name: laps[i + 1] - laps[i] for i, name in enumerate(names)}
        self._number += 1
        return {
            "seconds": {"total": laps[-1] - laps[0], **seconds, "learn_pruned": pruned_s},
            "cpu_s": cpu_s,
            "reward": grades.rewards_PGBA.mean().item(),
            "tokens": {
                "prompt": sum(map(len, prompts)),
                "sampled": sum(rollout.num_sampled_tokens for group in rollouts for rollout in group),
                "rows": sum(map(len, trees)),
                "real": learned["packed_tokens"],
                "learned": learned["learned_tokens"],
                "padded": self._padded_tokens(trees),
                "real_pruned": learned_pruned["packed_tokens"],
            },
        }

    def _learn(self, trees: list[list[Tree]]) -> dict[str, float]:
        rollout = self._recipe.rollout
        return self._learner.step(
            trees, number=self._number, num_rollouts=rollout.prompts * rollout.group_size
        )

    def _padded_tokens(self, trees: list[list[Tree]]) -> int:
        """Tokens that the model computes, when packed as the learner packs them."""
        config = self._recipe.learner
        rows = pack([tree for group in trees for tree in group], row_tokens=config.row_tokens, pad_id=0)
        return sum(batch.ids_RT.numel() for batch in rows.micro_batches(config.micro_batch_tokens))


class TrlStep:
    """Steps of TRL, in a process of TRL's environment that waits between steps."""

    def __init__(self, python: Path, job: dict[str, Any]) -> None:
        self._python = python
        self._job = job
        self.versions: dict[str, str] = {}

    def __enter__(self) -> TrlStep:
        with ExitStack() as opened:
            folder = opened.enter_context(tempfile.TemporaryDirectory())
            job = Path(folder) / "job.json"
            job.write_text(json.dumps(self._job | {"folder": folder}))
            self._process = opened.enter_context(
                subprocess.Popen(
                    [self._python, Path(__file__).with_name("trl_driver.py"), job],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ | {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"},
                )
            )
            opened.callback(self._process.terminate)
            self.versions = self._reply()["versions"]
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def take(self) -> dict[str, Any]:
        """Take the next step of the job."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit("TRL's process ended; its output is above")
        return json.loads(line)


def answer_tokens_of(recipe: BrpoRecipe, model: Model) -> int:
    """The maximum number of sampled tokens of an answer."""
    return recipe.rollout.answer_tokens or model.manifest.answer_tokens


def trl_job(
    arguments: argparse.Namespace, recipe: BrpoRecipe, model: Model, steps: list[list[Problem]]
) -> dict[str, Any]:
    """The job file of `trl_driver.py`."""
    rollout, reasoning = recipe.rollout, model.reasoning
    return {
        "model": str(model.folder),
        "steps": [[{"prompt": one.prompt, "answer": one.answer} for one in problems] for problems in steps],
        "budgets": rollout.trained_budgets,
        "group_size": rollout.group_size,
        "answers_per_budget": rollout.answers_per_budget,
        "answer_tokens": answer_tokens_of(recipe, model),
        "max_rollout_tokens": rollout.trained_budgets[-1] + answer_tokens_of(recipe, model),
        "think_end_id": reasoning.think_end_id,
        "eos_ids": sorted(reasoning.eos_ids),
        "truncation_ids": list(reasoning.truncation_ids),
        "lead_in_ids": list(reasoning.answer_lead_in_ids),
        "learning_rate": LEARNING_RATE,
        "max_grad_norm": recipe.loss.max_grad_norm,
        "micro_batch": arguments.trl_micro_batch,
        "generation_batch": arguments.trl_generation_batch,
    }


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Take all steps, alternating between TRL and this project."""
    recipes = {kind: _recipe(arguments, kind) for kind in arguments.engines}
    recipe = next(iter(recipes.values()))
    model = load_start(recipe)
    rng = random.Random("trl")
    steps = [[recipe.task.sample(rng) for _ in range(arguments.prompts)] for _ in range(arguments.steps + 1)]
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in (*recipes, *TRL_NAMES)}
    async with AsyncExitStack() as opened:
        ours = {kind: OurStep(recipe, model) for kind, recipe in recipes.items()}
        for one in ours.values():
            opened.push_async_callback(one.stop)
            await one.start()
        for one in ours.values():
            one.prepare()
        job = trl_job(arguments, recipe, model, steps)
        trls = {
            name: opened.enter_context(TrlStep(arguments.trl_python, job | {"trim": name == "trl_trimmed"}))
            for name in TRL_NAMES
        }
        for number, problems in enumerate(steps):
            for kind, one in ours.items():
                _note(taken[kind], kind, await one.take(problems), number)
            for name, trl in trls.items():
                _note(taken[name], name, trl.take(), number)
        versions = trls["trl"].versions
    for kind in recipes:
        for one, other in zip(taken[kind], taken["trl"], strict=True):
            assert one["tokens"]["prompt"] == other["tokens"]["prompt"], "not the same prompts"
    medians = {name: _medians(rows) for name, rows in taken.items()}
    return {
        "trl_versions": versions,
        "medians": medians,
        "over_ours": {
            f"{name} / {kind}": _ratios(medians[kind], medians[name])
            for kind in recipes
            for name in TRL_NAMES
        },
        "steps": taken,
    }


def _recipe(arguments: argparse.Namespace, kind: str) -> BrpoRecipe:
    """The demo recipe, with the settings of the comparison."""
    path = RECIPES / "demo-brpo.toml"
    environment = {
        "ANYTIME_TRAIN_ENGINE__KIND": kind,
        "ANYTIME_TRAIN_ROLLOUT__PROMPTS": str(arguments.prompts),
        "ANYTIME_TRAIN_LEARNER__LEARNING_RATE": str(LEARNING_RATE),
        "ANYTIME_TRAIN_LEARNER__WARMUP_STEPS": "1",
        "ANYTIME_TRAIN_LEARNER__DEVICE": "cpu",
    }
    recipe = load_recipe(path, environment=environment, flags={})
    assert isinstance(recipe, BrpoRecipe)
    return recipe


def _note(rows: list[dict[str, Any]], name: str, step: dict[str, Any], number: int) -> None:
    """Print a step, and keep it unless it is the first."""
    if number:
        rows.append(step)
    parts = "  ".join(f"{part} {seconds:.2f}" for part, seconds in step["seconds"].items())
    tokens = "  ".join(f"{part} {count}" for part, count in step["tokens"].items())
    warm_up = "" if number else " (warm-up)"
    print(
        f"{name:12} {number}{warm_up}  s: {parts}  cpu {step['cpu_s']:.2f} "
        f"| tokens: {tokens} | reward {step['reward']:.3f}",
        flush=True,
    )


def _medians(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {
        key: {name: round(statistics.median(row[key][name] for row in rows), 4) for name in rows[0][key]}
        for key in ("seconds", "tokens")
    }


def _ratios(ours: dict[str, dict[str, float]], trl: dict[str, dict[str, float]]) -> dict[str, float]:
    """TRL's seconds and tokens over this project's."""
    ratios = {name: trl["seconds"][name] / ours["seconds"][name] for name in ("total", "sample", "learn")}
    ratios["learn_pruned"] = trl["seconds"]["learn"] / ours["seconds"]["learn_pruned"]
    ratios |= {f"{name}_tokens": trl["tokens"][name] / ours["tokens"][name] for name in ("real", "padded")}
    return {name: round(ratio, 3) for name, ratio in ratios.items()}


def main() -> None:
    arguments = _parse()
    if not arguments.trl_python.exists():
        sys.exit(HOW_TO_MAKE.format(path=arguments.trl_python))
    torch.set_num_threads(1)
    measured = asyncio.run(measure(arguments))
    settings = {name: value for name, value in vars(arguments).items() if name not in ("trl_python", "out")}
    write_record(arguments.out, {"settings": settings, **measured})
    for names, ratios in measured["over_ours"].items():
        print(f"{names}: {'  '.join(f'{name} {ratio:.2f}' for name, ratio in ratios.items())}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    engines = ["transformers", "vllm"] if find_spec("vllm") else ["transformers"]
    parser.add_argument("--steps", type=int, default=5, help="counted steps (default: %(default)s)")
    parser.add_argument("--prompts", type=int, default=16, help="prompts per step, P (default: %(default)s)")
    parser.add_argument("--engines", nargs="+", choices=engines, default=engines)
    parser.add_argument("--trl-python", type=Path, default=TRL_PYTHON, help="default: %(default)s")
    parser.add_argument(
        "--trl-micro-batch", type=int, default=64, help="rows per TRL forward pass (default: %(default)s)"
    )
    parser.add_argument(
        "--trl-generation-batch",
        type=int,
        default=64,
        help="rows that TRL generates at a time (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, default=RECORD, help="default: %(default)s")
    return parser.parse_args()


if __name__ == "__main__":
    if os.environ.get("OMP_NUM_THREADS") != "1":  # torch, imported above, has read it already
        prepare_environment()
        os.environ["OMP_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    main()
