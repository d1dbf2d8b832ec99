"""`anytime inspect`: what is recognised of a model, without an engine."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from anytime_server.errors import AnytimeError, UnusableOption
from anytime_server.printable import escaped, print_error
from anytime_server.server.settings import ServeSettings, load_settings

if TYPE_CHECKING:
    from anytime_server.text.model import Model

QUESTION = "What is 2 + 2?"
USUAL = {
    *("add_generation_prompt", "bos_token", "content", "documents", "eos_token", "messages", "pad_token"),
    *("raise_exception", "reasoning_content", "strftime_now", "tools", "unk_token"),
}
"""Variables of a chat template that say nothing of its thinking."""


def main(argv: Sequence[str]) -> int:
    """Run the command. Returns the exit status."""
    model = [] if not argv or argv[0].startswith("-") else ["--model", argv[0]]
    parser = _parser()
    arguments, options = parser.parse_known_args(argv[1:] if model else argv)
    try:
        facts = inspect(load_settings([*model, *options], command=parser))
    except AnytimeError as error:
        print_error("inspect", error)
        return 2 if isinstance(error, UnusableOption) else 1
    print(json.dumps(facts, ensure_ascii=False) if arguments.json else _table(facts))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anytime inspect",
        usage="anytime inspect [MODEL] [--json] [OPTION ...]",
        allow_abbrev=False,
        description="Show how a model would be served: its family, how its thinking opens and ends, its "
        "sampling, its tool calls, and its prompts. Loads no weights.",
        epilog="MODEL is as --model of `anytime serve` (default: the bundled model), and OPTION any other "
        "option of `anytime serve`, such as --reasoning-preset, --manifest, --chat-template, --forcing or "
        "--vllm.trust-remote-code.",
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    return parser


def inspect(settings: ServeSettings) -> dict[str, Any]:
    """The facts of a model, by name.

    Raises:
        AnytimeError: it cannot be served, and why.
    """
    from anytime_server.server.model import load_model
    from anytime_server.text.tool_calls import ModelTools

    model = load_model(settings, weights=False)
    texts, tools = model.manifest, ModelTools.of(model, parser=settings.tool_parser)
    prompt, without_thinking = asyncio.run(_prompts(model))

    def text(ids: Iterable[int]) -> str:
        return model.tokenizer.decode(list(ids), keeps_special=True)

    return {
        "name": model.name,
        "family": model.family.name,
        "thinks": model.reasoning.thinks,
        "think_start": texts.think_start,
        "think_end": texts.think_end,
        "think_end_variants": list(texts.think_end_variants),
        "truncation": texts.truncation,
        "answer_start": texts.answer_start,
        "answer_start_with_tools": texts.answer_start_with_tools,
        "answer_end": texts.answer_end,
        "answer_lead_in": texts.answer_lead_in,
        "forcing": texts.forcing.value,
        "end_of_turn": sorted(text([token_id]) for token_id in model.tokenizer.eos_ids),
        "sampling": {
            "thinking": model.sampling.thinking.given(),
            "answer": model.sampling.answer.given(),
        },
        "tool_parser": None if tools is None else tools.parser,
        "template_variables": sorted(model.tokenizer.chat.variables - USUAL),
        "note": model.note,
        "prompt": text(prompt),
        "prompt_without_thinking": text(without_thinking),
    }


async def _prompts(model: Model) -> tuple[list[int], list[int]]:
    """The prompt of a question, and the prompt of its answer with budget 0, as the server makes them."""
    from anytime_server.engine.scripted import ScriptedEngine
    from anytime_server.reasoning import Cause
    from anytime_server.scheduler.scheduler import Scheduler
    from anytime_server.types import GenerateRequest

    engine = ScriptedEngine(model.tokenizer, model.reasoning, window_tokens=1 << 17)
    await engine.start()
    scheduler = Scheduler(model, engine, continuation_key=bytes(32))
    request = GenerateRequest(messages=[{"role": "user", "content": QUESTION}], budget_tokens=0)
    compiled = await scheduler.compiler.compile(request)
    answer_prompt = compiled.truncate((), Cause.BUDGET, model).answer_prompt(compiled.prompt_ids)
    return compiled.prompt_ids, answer_prompt


def _table(facts: dict[str, Any]) -> str:
    """The facts in lines; texts and lists that are empty are left out."""
    width = max(map(len, facts))
    return "\n".join(
        f"{name:{width}}  {_cell(value)}" for name, value in facts.items() if value not in ("", [])
    )


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name} {_options(options)}" for name, options in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    if value is None:
        return "none"
    return escaped(value) if isinstance(value, str) else json.dumps(value)


def _options(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())
