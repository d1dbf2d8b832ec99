"""Reinforcement learning, step by step: sample rollouts, grade them, assign credit, learn, sync the weights.

A step follows from the recipe, the seed, the step's number and the weights alone: a resumed run continues bit
for bit as the uninterrupted run would have. `assignment` and `credit` alone know which algorithm it is.

Dimensions: P prompts, G rollouts per prompt, B budgets, A answers per budget.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict
from typing import Any

import torch
from anytime_server.engine import Engine
from anytime_server.reasoning import Manifest
from anytime_server.text.model import Model

from anytime_training.assignment import CreditAssignment
from anytime_training.checkpoint import TrainingState, resume_state, save_state, save_trained_checkpoint
from anytime_training.config.brpo import BrpoRecipe
from anytime_training.credit import truncation_lengths
from anytime_training.errors import RecipeError, TrainingFailed
from anytime_training.learner import Learner
from anytime_training.likelihood import require_accepted_answers
from anytime_training.prior import budget_prior
from anytime_training.progress import METRICS_NAME, JsonLines, ProgressReport
from anytime_training.record import rollout_lines, step_metrics
from anytime_training.reward import Grades, grade_rollouts
from anytime_training.rollout import Rollout, RolloutSampler, prompt_of, require_shown_budget
from anytime_training.run import CHECKPOINT_NAME, Run
from anytime_training.sinks import open_sinks, require_sinks
from anytime_training.start import build_engine, build_learner, load_start, stored_tensors
from anytime_training.tasks import Problem
from anytime_training.tree import Tree
from anytime_training.validate import validate, validation_problems
from anytime_training.weight_sync import sync_weights

NUM_EXAMPLES = 8
"""Example prompts in the manifest of a model that was trained on another task than its start."""
MAX_DRAWS = 100
"""Problems drawn, at most, for each prompt of a step, to find prompts that fit in the window."""
ROLLOUTS_NAME = "rollouts.jsonl"
EVALUATIONS_NAME = "evaluations.jsonl"


def train_brpo(recipe: BrpoRecipe, run: Run) -> bool:
    """Train a reasoning model and leave the result in `checkpoint` of the run's folder.

    Returns:
        Whether all steps are done.

    Raises:
        RecipeError: model, task and budgets do not go together.
        AnytimeError: the engine failed.
        TrainingFailed: the loss is not finite, or the engine does not sample from the trained policy.
    """
    return asyncio.run(_train(recipe, run))


async def _train(recipe: BrpoRecipe, run: Run) -> bool:
    model = load_start(recipe)
    validation = validation_problems(recipe.task, recipe.evaluation.problems, seed=recipe.seed)
    if recipe.rollout.budget_in_prompt:
        require_shown_budget(model)
    if recipe.credit.needs_likelihoods:
        key = "credit.reward" if recipe.credit.reward == "likelihood" else "credit.summary"
        require_accepted_answers(recipe.task, validation[0], key=key)
    require_sinks(recipe)
    engine = build_engine(recipe, model)
    try:
        await engine.start()  # before the learner: it may fork, and the fork must not copy a second model
        trainer = _Trainer(recipe, run, model=model, engine=engine, validation=validation)
        if run.resume:
            trainer.resume()
        with trainer.recording():
            while not trainer.is_done:
                await trainer.sync()
                if trainer.step % recipe.evaluation.every_steps == 0:
                    await trainer.evaluate()
                await trainer.learn()
                is_stopping = run.should_stop()
                if trainer.is_done or is_stopping or trainer.step % recipe.save_every_steps == 0:
                    trainer.save()
                if is_stopping and not trainer.is_done:
                    return False
            await trainer.sync()
            await trainer.evaluate()
        return True
    finally:
        await engine.stop()


class _Trainer:
    """The parts of a run, and its progress."""

    def __init__(
        self, recipe: BrpoRecipe, run: Run, *, model: Model, engine: Engine, validation: list[Problem]
    ) -> None:
        self.step = 0
        self._recipe = recipe
        self._run = run
        self._model = model
        self._engine = engine
        self._rollout_tokens = 0
        self._seconds_before = 0.0
        self._started = time.monotonic()
        self._budgets = recipe.rollout.trained_budgets
        self._answer_tokens = recipe.rollout.answer_tokens or model.manifest.answer_tokens
        self._sampler = RolloutSampler(
            engine=engine,
            reasoning=model.reasoning,
            budgets=self._budgets,
            group_size=recipe.rollout.group_size,
            answers_per_budget=recipe.rollout.answers_per_budget,
            answer_tokens=self._answer_tokens,
        )
        self._validation_problems = validation
        self._learner: Learner = build_learner(
            recipe, model, max_rollout_tokens=self._budgets[-1] + self._answer_tokens
        )
        self._credit = CreditAssignment(
            recipe, model=model, learner=self._learner, answer_tokens=self._answer_tokens
        )

    @property
    def is_done(self) -> bool:
        """Whether all steps are done, or all tokens sampled."""
        limit = self._recipe.max_rollout_tokens
        return self.step >= self._recipe.steps or (limit is not None and self._rollout_tokens >= limit)

    @property
    def _progress_made(self) -> float:
        """Share of the run that is done, in steps or in tokens, whichever is larger."""
        by_tokens = self._rollout_tokens / (self._recipe.max_rollout_tokens or float("inf"))
        return max(self.step / self._recipe.steps, by_tokens)

    def resume(self) -> None:
        """Continue from the state in the run's folder, if there is one.

        Raises:
            TrainingFailed: the state is damaged.
        """
        state = resume_state(self._run.folder, self._learner.model, self._learner.optimiser)
        if state is not None:
            self.step, self._rollout_tokens = state.step, state.rollout_tokens
            self._seconds_before = state.seconds
            self._credit.load_state(state.credit)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within the context, metrics and rollouts are recorded, and progress is shown."""
        with ExitStack() as files:

            def lines(name: str) -> JsonLines:
                return files.enter_context(closing(JsonLines(self._run.folder / name, from_step=self.step)))

            self._metrics = lines(METRICS_NAME)
            self._rollouts, self._evaluations = lines(ROLLOUTS_NAME), lines(EVALUATIONS_NAME)
            self._sinks = files.enter_context(open_sinks(self._recipe, self._run.folder, from_step=self.step))
            self._progress = files.enter_context(
                closing(ProgressReport(steps=self._recipe.steps, first_step=self.step, line_every=10))
            )
            yield

    async def sync(self) -> None:
        """Give the engine the learner's current weights."""
        await sync_weights(self._learner.model, self._engine, timeout_s=self._recipe.engine.sync_timeout_s)

    async def evaluate(self) -> None:
        """Measure accuracy at each budget on the validation problems."""
        validation = await validate(
            self._validation_problems,
            task=self._recipe.task,
            model=self._model,
            engine=self._engine,
            budgets=self._recipe.evaluated_budgets,
            answer_tokens=self._answer_tokens,
            seed=self._recipe.seed,
            num_threads=self._recipe.grading_threads,
            shows_budget=self._recipe.rollout.budget_in_prompt,
        )
        summary = {"step": self.step, "rollout_tokens": self._rollout_tokens, **validation.summary()}
        self._evaluations.write(summary)
        self._sinks.write(self.step, {f"evaluation/{key}": value for key, value in summary.items()})
        curve = " ".join(
            f"{budget}:{accuracy:.3f}"
            for budget, accuracy in zip(summary["budgets"], summary["accuracy"], strict=True)
        )
        self._progress.print_line(
            f"step {self.step}: anytime {summary['anytime']:.3f}, final {summary['final']:.3f} ({curve})"
        )

    async def learn(self) -> None:
        """Take one step: rollouts, rewards, advantages, optimiser."""
        recipe, clock = self._recipe, _StepClock()
        problems, prompts, limits, num_skipped = self._draw_problems()
        rollouts = await self._sampler.sample(
            prompts,
            seed=f"{recipe.seed}:{self.step}:rollouts",
            counts_B=self._credit.counts_B,
            limits_P=limits,
        )
        clock.lap("sample")
        grades = grade_rollouts(
            rollouts,
            problems,
            task=recipe.task,
            tokenizer=self._model.tokenizer,
            reasoning=self._model.reasoning,
            num_threads=recipe.grading_threads,
        )
        clock.lap("grade")
        trees_PG, credited = self._credit.trees(rollouts, problems, grades)
        clock.lap("credit")
        learned = self._learn_from(trees_PG, num_rollouts=sum(map(len, rollouts)))
        clock.lap("learn")
        self._rollout_tokens += sum(rollout.num_sampled_tokens for group in rollouts for rollout in group)
        more = {**learned, **credited, "skipped_prompts": num_skipped}
        self._record(problems, rollouts, grades, more, clock.seconds)
        self.step += 1
        self._progress.step(
            self.step,
            f"reward {grades.rewards_PGBA.mean().item():.3f}, loss {learned['loss']:.4f}",
            steps=max(self.step, round(self.step / self._progress_made)),
        )

    def save(self) -> None:
        """Write the checkpoint that is served, and the state that training resumes from."""
        save_trained_checkpoint(
            self._run.folder / CHECKPOINT_NAME,
            stored_tensors(self._learner.model),
            self._model.folder,
            self._manifest(),
        )
        save_state(
            self._run.folder,
            TrainingState(
                step=self.step,
                model=self._learner.model.state_dict(),
                optimiser=self._learner.optimiser.state_dict(),
                seconds=self._seconds,
                rollout_tokens=self._rollout_tokens,
                credit=self._credit.state(),
            ),
        )

    @property
    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def _draw_problems(self) -> tuple[list[Problem], list[list[int]], list[int], int]:
        """The step's problems, their prompts and limits of thinking, and the number of skipped prompts.

        Prompts are skipped that are too long. The limit is the largest budget, unless prompts name theirs.

        Raises:
            RecipeError: hardly any prompt leaves room for the largest budget.
        """
        rng = random.Random(f"{self._recipe.seed}:{self.step}:problems")
        num_wanted = self._recipe.rollout.prompts
        shows_budget = self._recipe.rollout.budget_in_prompt
        weights = budget_prior(self._recipe.credit.prior, self._budgets).tolist()
        budget_rng = random.Random(f"{self._recipe.seed}:{self.step}:budgets")
        fitting: list[tuple[Problem, list[int], int]] = []
        for number in range(MAX_DRAWS * num_wanted):
            problem = self._recipe.task.sample(rng)
            limit = budget_rng.choices(self._budgets, weights)[0] if shows_budget else self._budgets[-1]
            prompt_ids = prompt_of(self._model, problem.prompt, budget_tokens=limit if shows_budget else None)
            if self._sampler.fits(len(prompt_ids)):
                fitting.append((problem, prompt_ids, limit))
            if len(fitting) == num_wanted:
                problems, prompts, limits = zip(*fitting, strict=True)
                return list(problems), list(prompts), list(limits), number + 1 - num_wanted
        raise RecipeError(
            f"rollout.budgets: hardly a prompt leaves room in the window of {self._engine.window_tokens} "
            f"tokens for thinking of {self._budgets[-1]} and an answer of {self._answer_tokens}"
        )

    def _learn_from(self, trees_PG: list[list[Tree]], *, num_rollouts: int) -> dict[str, float]:
        """The learner's step.

        Raises:
            TrainingFailed: after the step's data have been saved.
        """
        try:
            return self._learner.step(
                trees_PG, number=self.step, num_rollouts=num_rollouts, progress=self._progress_made
            )
        except TrainingFailed as error:
            path = self._run.folder / f"failed-step-{self.step}.pt"
            plain = [[asdict(tree) for tree in trees_G] for trees_G in trees_PG]
            with suppress(OSError, RuntimeError):  # an error in saving must not hide the failure
                torch.save({"step": self.step, "trees": plain}, path)
            raise TrainingFailed(f"{error}; the step's data are in {path}") from error

    def _record(
        self,
        problems: list[Problem],
        rollouts: list[list[Rollout]],
        grades: Grades,
        more: dict[str, Any],
        seconds: dict[str, float],
    ) -> None:
        metrics: dict[str, Any] = {
            "step": self.step,
            **step_metrics(
                rollouts,
                grades,
                truncation_lengths(rollouts),
                self._budgets,
                prior_B=budget_prior(self._recipe.effective_credit.prior, self._budgets),
                decay=self._recipe.credit.decay,
            ),
            **more,
            "rollout_tokens": self._rollout_tokens,
            "seconds": round(self._seconds, 3),
            "timing": seconds,
        }
        self._metrics.write(metrics)
        self._sinks.write(self.step, metrics)
        for line in rollout_lines(
            problems[: self._recipe.record_prompts], rollouts, grades, tokenizer=self._model.tokenizer
        ):
            self._rollouts.write({"step": self.step, **line})

    def _manifest(self) -> Manifest:
        """The manifest of the start checkpoint, updated; evaluation adds the accuracy curve."""
        recipe = self._recipe
        prior, task = recipe.credit.prior, recipe.task.model_dump(mode="json")
        examples = self._model.manifest.examples
        if self._model.manifest.task != task:
            examples = [problem.prompt for problem in self._validation_problems[:NUM_EXAMPLES]]
        return self._model.manifest.model_copy(
            update={
                "name": recipe.name,
                "budgets": recipe.rollout.budgets,
                "answer_tokens": self._answer_tokens,
                "prior": prior if len(self._budgets) == len(recipe.rollout.budgets) else "base",
                "accuracy_curve": [],
                "trained": "grpo" if recipe.credit.summary == "grpo" else "brpo",
                "task": task,
                "examples": examples,
                "recipe": recipe.name,
                "seed": recipe.seed,
                "versions": self._run.versions,
            }
        )


class _StepClock:
    """Measures the parts of a step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """End a part, and record its duration in seconds."""
        now = time.monotonic()
        self.seconds[name], self._last = round(now - self._last, 3), now
