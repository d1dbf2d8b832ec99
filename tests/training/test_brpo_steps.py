"""The samples and the loss of each step, seen at the engine, the task and the learner of a short run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from anytime_server.engine import EngineRequest
from anytime_server.text.model import BUNDLED_MODELS, Model
from anytime_training import assignment, brpo
from anytime_training.brpo import train_brpo
from anytime_training.config import load_recipe
from anytime_training.demo.chain.task import ChainTask
from anytime_training.rollout import prompt_of
from anytime_training.run import Run
from anytime_training.tasks import split_of
from anytime_training.tree import Tree

STEPS, PROMPTS, GROUP, ANSWER_TOKENS, BUDGETS = 3, 2, 4, 8, [8, 24]
RECIPE = f"""
kind = "brpo"
name = "tiny"
model = "demo-warmstart"
seed = 3
steps = {STEPS}
save_every_steps = {STEPS}
[task]
kind = "chain"
min_operands = 8
[rollout]
prompts = {PROMPTS}
group_size = {GROUP}
answers_per_budget = 2
budgets = {BUDGETS}
answer_tokens = {ANSWER_TOKENS}
[engine]
kind = "transformers"
[loss]
importance_cap = "off"
[learner]
learning_rate = 1e-4
warmup_steps = 2
final_share = 0.5
[evaluation]
every_steps = 1
problems = 3
"""


@dataclass
class Observed:
    """A run, as the engine, the task and the learner saw it."""

    metrics: list[dict[str, Any]]
    prompts: dict[str, set[tuple[int, ...]]] = field(default_factory=dict)
    """Ids of the prompts of every problem drawn, by split."""
    contents: dict[str, set[str]] = field(default_factory=dict)
    """Contents of every problem drawn, by split."""
    batches: list[list[EngineRequest]] = field(default_factory=list)
    """Requests of the engine: thinking and answers of an evaluation, then those of a step, in turn."""
    trees: list[list[list[Tree]]] = field(default_factory=list)
    """Trees of each step."""

    @property
    def of_evaluations(self) -> list[tuple[list[EngineRequest], list[EngineRequest]]]:
        """Requests for thinking and for answers of each evaluation."""
        return list(zip(self.batches[::4], self.batches[1::4], strict=True))

    @property
    def of_steps(self) -> list[tuple[list[EngineRequest], list[EngineRequest]]]:
        """Requests for thinking and for answers of each step."""
        return list(zip(self.batches[2::4], self.batches[3::4], strict=True))


@pytest.fixture(name="observed", scope="module")
def fixture_observed(tmp_path_factory: pytest.TempPathFactory) -> Observed:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    observed, model = Observed(metrics=[]), Model.load(BUNDLED_MODELS / "demo-warmstart")
    sample, build, credit = ChainTask.sample, brpo.build_engine, assignment.credit_trees

    def drawn(self: ChainTask, rng: Any, split: Any = "train") -> Any:
        problem = sample(self, rng, split)
        observed.contents.setdefault(split, set()).add(problem.content)
        observed.prompts.setdefault(split, set()).add(tuple(prompt_of(model, problem.prompt)))
        return problem

    def built(*arguments: Any) -> Any:
        engine = build(*arguments)
        generate_all: Callable[..., Any] = engine.generate_all

        async def generated(requests: list[EngineRequest]) -> Any:
            observed.batches.append(requests)
            return await generate_all(requests)

        engine.generate_all = generated  # type: ignore[method-assign]
        return engine

    def credited(*arguments: Any, **options: Any) -> Any:
        observed.trees.append(credit(*arguments, **options))
        return observed.trees[-1]

    run = Run(folder=tmp_path_factory.mktemp("run"), resume=False, versions={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChainTask, "sample", drawn)
        patch.setattr(brpo, "build_engine", built)
        patch.setattr(assignment, "credit_trees", credited)
        recipe: Any = load_recipe(path, environment={}, flags={})
        assert train_brpo(recipe, run)
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    observed.metrics = [json.loads(line) for line in lines]
    return observed


def sampling(requests: list[EngineRequest]) -> set[tuple[float, float, int]]:
    """Temperature, top_p and maximum of tokens."""
    return {
        (request.sampling.temperature, request.sampling.top_p, request.sampling.max_tokens)
        for request in requests
    }


def test_training_samples_from_the_policy_itself(observed: Observed) -> None:
    """At any other temperature, the log-probabilities that are trained are another distribution's."""
    for thinking, answers in observed.of_steps:
        assert len(thinking) == PROMPTS * GROUP
        assert sampling(thinking) == {(1.0, 1.0, BUDGETS[-1])}
        assert sampling(answers) == {(1.0, 1.0, ANSWER_TOKENS)}


def test_evaluations_sample_as_the_server_does(observed: Observed) -> None:
    assert len(observed.of_evaluations) == STEPS + 1
    for thinking, answers in observed.of_evaluations:
        assert len(thinking) == 3
        assert sampling(thinking) == {(0.6, 0.95, BUDGETS[-1])}
        assert sampling(answers) == {(0.0, 1.0, ANSWER_TOKENS)}


def test_training_never_sees_held_out_problems(observed: Observed) -> None:
    trained = {tuple(request.prompt_ids) for thinking, _ in observed.of_steps for request in thinking}
    evaluated = {tuple(request.prompt_ids) for thinking, _ in observed.of_evaluations for request in thinking}
    assert trained == observed.prompts["train"]
    assert evaluated == observed.prompts["validation"]
    assert observed.contents.keys() == {"train", "validation"}
    for split, contents in observed.contents.items():
        assert {split_of(content) for content in contents} == {split}


def test_every_step_has_its_own_problems_and_seeds(observed: Observed) -> None:
    prompts = [{tuple(request.prompt_ids) for request in thinking} for thinking, _ in observed.of_steps]
    assert len(set.union(*prompts)) == STEPS * PROMPTS
    seeds = [
        request.sampling.seed for batches in observed.of_steps for requests in batches for request in requests
    ]
    assert None not in seeds
    assert len(set(seeds)) == len(seeds)


def test_every_evaluation_has_the_same_problems_and_seeds(observed: Observed) -> None:
    asked = [
        [(request.prompt_ids, request.sampling.seed) for request in thinking]
        for thinking, _ in observed.of_evaluations
    ]
    assert asked.count(asked[0]) == len(asked)


def test_loss_is_the_sum_over_thinking_and_answers_divided_by_the_most_tokens(observed: Observed) -> None:
    """On the policy every ratio is 1: the loss is -Σ A / (P · G · (b_m + answer tokens))."""
    for metrics, trees_PG in zip(observed.metrics, observed.trees, strict=True):
        trees = [tree for trees_G in trees_PG for tree in trees_G]
        total = sum(sum(tree.trunk.advantages) for tree in trees)
        total += sum(sum(branch.segment.advantages) for tree in trees for branch in tree.branches)
        assert metrics["loss"] == pytest.approx(-total / (PROMPTS * GROUP * (24 + 8)), abs=1e-6)
        assert metrics["learned_tokens"] > 0
    assert any(metrics["loss"] != 0 for metrics in observed.metrics)


def test_learning_rate_follows_the_steps(observed: Observed) -> None:
    """A warm-up of 2 steps, times a fall to one half over 3 steps."""
    rates = [metrics["learning_rate"] for metrics in observed.metrics]
    assert rates == pytest.approx([0.5e-4, 1e-4 * 5 / 6, 1e-4 * 4 / 6])


def test_answers_follow_the_thinking_of_their_step(observed: Observed) -> None:
    """2 answers at each budget; each begins with the prompt, and the thinking up to the budget."""
    for thinking, answers in observed.of_steps:
        assert len(answers) == len(thinking) * len(BUDGETS) * 2
        for number, request in enumerate(thinking):
            own = answers[number * 4 : number * 4 + 4]
            lengths = [len(answer.prompt_ids) - len(request.prompt_ids) for answer in own]
            assert all(answer.prompt_ids[: len(request.prompt_ids)] == request.prompt_ids for answer in own)
            assert lengths[0] == lengths[1] <= lengths[2] == lengths[3]
