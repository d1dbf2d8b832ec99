"""`anytime inspect`: what is recognised of a model, without an engine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from anytime_server.errors import AnytimeError, UnusableOption
from anytime_server.printable import escaped, print_error
from anytime_server.reasoning import FAMILIES

QUESTION = "What is 2 + 2?"
USUAL = {
    *("add_generation_prompt", "bos_token", "content", "documents", "eos_token", "messages", "pad_token"),
    *("raise_exception", "reasoning_content", "strftime_now", "tools", "unk_token"),
}
"""Variables of a chat template that say nothing of its thinking."""


def main(argv: Sequence[str]) -> int:
    """Run the command. Returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        facts = inspect(arguments)
    except AnytimeError as error:
        print_error("inspect", error)
        return 2 if isinstance(error, UnusableOption) else 1
    print(json.dumps(facts, ensure_ascii=False) if arguments.json else _table(facts))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anytime inspect",
        allow_abbrev=False,
        description="Show how a model would be served: its family, how its thinking opens and ends, how it "
        "answers without thinking, its sampling, its tool calls, and a prompt. Loads no weights.",
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="as --model of `anytime serve` (default: the bundled model)"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument(
        "--reasoning-preset", choices=FAMILIES, metavar="FAMILY", help="as for `anytime serve`"
    )
    parser.add_argument("--manifest", metavar="FILE", help="as for `anytime serve`")
    parser.add_argument("--chat-template", metavar="FILE", help="as for `anytime serve`")
    parser.add_argument(
        "--vllm.trust-remote-code",
        dest="trust_remote_code",
        action="store_true",
        help="as for `anytime serve`: let Python code of the model's tokenizer run",
    )
    return parser


def inspect(arguments: argparse.Namespace) -> dict[str, Any]:
    """The facts of a model, by name.

    Raises:
        AnytimeError: it cannot be served, and why.
    """
    from anytime_server.server.model import TEXT_FILES, find_model, read_template, require_harmless_template
    from anytime_server.text.model import Model
    from anytime_server.text.tool_calls import ModelTools

    folder, name = find_model(arguments.model, allow_patterns=TEXT_FILES)
    model = Model.load(
        folder,
        name=name,
        preset=arguments.reasoning_preset,
        manifest=None if arguments.manifest is None else Path(arguments.manifest).expanduser(),
        chat_template=read_template(arguments.chat_template),
        trust_remote_code=arguments.trust_remote_code,
        check=require_harmless_template,
    )
    messages = [{"role": "user", "content": QUESTION}]
    prompt, without = model.prompt(messages), model.prompt(messages, thinking=False)
    closed = without.closed(model.reasoning.no_thinking_ids)
    if closed is None:
        closed = [*prompt.ids, *model.reasoning.think_end_ids, *model.reasoning.answer_start_ids]
    tools = ModelTools.of(model, parser=None)

    def text(ids: Iterable[int]) -> str:
        return model.tokenizer.decode(list(ids), keeps_special=True)

    return {
        "name": model.name,
        "family": model.family.name,
        "thinks": model.reasoning.thinks,
        "think_start": model.manifest.think_start,
        "think_end": model.manifest.think_end,
        "truncation": model.manifest.truncation,
        "answer_start": model.manifest.answer_start,
        "answer_lead_in": model.manifest.answer_lead_in,
        "forcing": model.manifest.forcing.value,
        "no_thinking": text(closed)[-80:],
        "end_of_turn": sorted(
            model.tokenizer.decode([i], keeps_special=True) for i in model.tokenizer.eos_ids
        ),
        "sampling": {
            "thinking": model.sampling.thinking.given(),
            "answer": model.sampling.answer.given(),
        },
        "tool_parser": None if tools is None else tools.parser,
        "template_variables": sorted(model.tokenizer.chat.variables - USUAL),
        "note": model.family.note if model.manifest.name is None else "",
        "prompt": text(prompt.ids),
    }


def _table(facts: dict[str, Any]) -> str:
    width = max(map(len, facts))
    return "\n".join(f"{name:{width}}  {_cell(value)}" for name, value in facts.items())


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name} {_options(options)}" for name, options in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value)) or "none"
    if value is None or value == "":
        return "none"
    return escaped(value) if isinstance(value, str) else json.dumps(value)


def _options(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())
