"""The model that supervised training trains, a new one or one from a folder, and how it is saved."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from anytime_server.errors import AnytimeError
from anytime_server.reasoning import Forcing, Manifest, ReasoningFormat
from anytime_server.text.model import Model
from anytime_server.text.tokenizer import ModelTokenizer
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from anytime_training.checkpoint import replacing_folder, save_checkpoint, save_trained_checkpoint
from anytime_training.demo.model import build_model
from anytime_training.demo.recipe import FineTuningRecipe, LoraSection, SupervisedRecipe, WarmstartRecipe
from anytime_training.demo.tokenizer import THINK_END, THINK_START, build_tokenizer, served_tokenizer
from anytime_training.errors import RecipeError
from anytime_training.run import TOKENIZER_NAME, Run
from anytime_training.start import load_network, start_folder, stored_tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainee:
    """A model to train, with everything that its examples need."""

    network: PreTrainedModel
    tokenizer: ModelTokenizer
    reasoning: ReasoningFormat
    window_tokens: int
    pad_id: int
    save: Callable[[Path], None]
    """Writes a folder that can be served; it replaces an earlier folder."""


def new_trainee(recipe: WarmstartRecipe, run: Run) -> Trainee:
    """A model with random weights, and the run's tokenizer.

    Raises:
        UnusableModel: the tokenizer cannot distinguish the reasoning texts.
    """
    tokenizer = _tokenizer(recipe, run.folder / TOKENIZER_NAME, resume=run.resume)
    network = build_model(recipe.model, tokenizer, seed=recipe.seed)
    manifest = Manifest(
        think_start=THINK_START,
        think_end=THINK_END,
        truncation=recipe.reasoning.truncation,
        answer_lead_in=recipe.reasoning.answer_lead_in,
        forcing=Forcing.FORCE,  # it has learned to answer after the lead-in alone
        answer_tokens=recipe.reasoning.answer_tokens,
        **_origin(recipe, run, budgets=recipe.reasoning.budgets),
    )
    served = served_tokenizer(tokenizer)
    return Trainee(
        network=network,
        tokenizer=served,
        reasoning=ReasoningFormat.from_texts(manifest.texts, served),
        window_tokens=recipe.model.window_tokens,
        pad_id=tokenizer.get_vocab()[str(tokenizer.pad_token)],
        save=lambda folder: save_checkpoint(folder, network, tokenizer, manifest),
    )


def trainee_from_folder(recipe: FineTuningRecipe, run: Run) -> Trainee:
    """The model of the recipe's folder, with its own tokenizer and reasoning texts.

    Raises:
        RecipeError: there is no such folder, or its model cannot be trained.
    """
    folder = start_folder(recipe.model)
    try:
        model = Model.load(folder)
    except AnytimeError as error:
        raise RecipeError(f"model: {error}") from error
    network = load_network(folder, attention="sdpa")
    network.train()
    manifest = model.manifest.model_copy(
        update={"accuracy_curve": [], "prior": None} | _origin(recipe, run, budgets=recipe.budgets)
    )
    adapted = None
    if recipe.lora is not None:
        adapted = _with_adapters(network, recipe.lora, model.reasoning, seed=recipe.seed)

    def save(target: Path) -> None:
        merged = network if adapted is None else copy.deepcopy(adapted).merge_and_unload()
        save_trained_checkpoint(target, stored_tensors(merged), folder, manifest)

    return Trainee(
        network=network,
        tokenizer=model.tokenizer,
        reasoning=model.reasoning,
        window_tokens=network.config.get_text_config().max_position_embeddings,
        pad_id=min(model.reasoning.eos_ids),
        save=save,
    )


def _with_adapters(
    network: PreTrainedModel, section: LoraSection, reasoning: ReasoningFormat, *, seed: int
) -> Any:
    """Give the network adapters, which alone are trainable. Returns peft's view of it, which merges them."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=section.rank,
        lora_alpha=section.alpha,  # pyright: ignore[reportArgumentType]  # any number
        target_modules="all-linear",
        # Else a model that never learned to think could not end its thinking.
        trainable_token_indices=[*reasoning.think_start_ids, *reasoning.think_end_ids],
        task_type="CAUSAL_LM",
    )
    return get_peft_model(network, config)


def _tokenizer(recipe: WarmstartRecipe, folder: Path, *, resume: bool) -> PreTrainedTokenizerFast:
    """A new tokenizer, saved to `folder`, or the one that was saved there by the run that is resumed."""
    if resume and folder.exists():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for added_by_loading in ("is_local", "local_files_only"):
            tokenizer.init_kwargs.pop(added_by_loading, None)
        return tokenizer
    rng = random.Random(f"{recipe.seed}:corpus")
    corpus: list[str] = []
    for _ in range(recipe.tokenizer.corpus_problems):
        problem = recipe.task.sample(rng)
        trace = recipe.trace_source.sample(problem, rng)
        corpus += [problem.prompt, problem.answer]
        corpus += [passage.text for passage in trace.passages]
        corpus += [recipe.reasoning.truncation, recipe.reasoning.answer_lead_in]
    tokenizer = build_tokenizer(
        corpus,
        vocab_size=recipe.tokenizer.vocab_size,
        window_tokens=recipe.model.window_tokens,
        whole_numbers=recipe.tokenizer.whole_numbers,
    )
    with replacing_folder(folder) as partial:
        tokenizer.save_pretrained(partial)
    return tokenizer


def _origin(recipe: SupervisedRecipe, run: Run, *, budgets: list[int]) -> dict[str, Any]:
    """Fields of the manifest about the training; evaluation adds the accuracy curve."""
    return {
        "name": recipe.name,
        "budgets": budgets,
        "examples": _example_prompts(recipe),
        "trained": "warmstart",
        "task": recipe.task.model_dump(mode="json"),
        "recipe": recipe.name,
        "seed": recipe.seed,
        "versions": run.versions,
    }


def _example_prompts(recipe: SupervisedRecipe) -> list[str]:
    """Prompts of held-out problems, the wordings in turn."""
    rng = random.Random(f"{recipe.seed}:examples")
    prompts: dict[str, list[str]] = {}
    for _ in range(100 * recipe.num_examples):
        problem = recipe.task.sample(rng, split="test")
        prompts.setdefault(problem.wording, []).append(problem.prompt)
    turns = zip_longest(*prompts.values())
    return [prompt for turn in turns for prompt in turn if prompt is not None][: recipe.num_examples]
