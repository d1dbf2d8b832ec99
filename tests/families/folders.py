"""Put checkpoint folders of families together, and render their chat templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.families import vocabularies
from tests.families.architectures import write_config, write_weights
from tests.families.catalogue import FAMILIES


def family_folder(name: str, target: Path, *, runnable: bool = False) -> Path:
    """Write a family's checkpoint to the new folder `target`: configuration, tokenizer, chat template.

    A runnable one has random weights too. Its config.json is that of the language model alone where the
    family takes images, and a Qwen3's where vLLM's CPU build lacks the architecture: tests of recognition by
    architecture need a folder that is not runnable.
    """
    family = FAMILIES[name]
    target.mkdir(parents=True)
    size = vocabularies.write(family.vocabulary, target)
    (target / "chat_template.jinja").write_text(family.template.read())
    if family.tool_template is not None:
        others = target / "additional_chat_templates"
        others.mkdir()
        (others / "tool_use.jinja").write_text(family.tool_template.read())
    ends = [token_id(target, token) for token in family.ends or (family.vocabulary.eos,)]
    generation: dict[str, Any] = {"do_sample": bool(family.sampling), "eos_token_id": ends, **family.sampling}
    if family.vocabulary.bos is not None:
        generation["bos_token_id"] = token_id(target, family.vocabulary.bos)
    (target / "generation_config.json").write_text(json.dumps(generation, indent=2))
    write_config(family.architecture, size, ends, target)
    if runnable:
        make_runnable(name, target)
    return target


def make_runnable(name: str, folder: Path) -> None:
    """Give a family's folder random weights, and the config.json of the architecture that they have."""
    described = json.loads((folder / "config.json").read_text())
    size = described.get("text_config", described)["vocab_size"]
    generation = (folder / "generation_config.json").read_text()
    write_config(FAMILIES[name].architecture.runnable(), size, json.loads(generation)["eos_token_id"], folder)
    write_weights(folder)
    (folder / "generation_config.json").write_text(generation)


def token_id(folder: Path, token: str) -> int:
    """The id of a special token in the folder's tokenizer.json."""
    added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    return next(entry["id"] for entry in added if entry["content"] == token)


def render(
    name: str,
    messages: list[dict[str, Any]],
    *,
    tools: list[dict[str, Any]] | None = None,
    generation_prompt: bool = True,
    **variables: Any,
) -> str:
    """The prompt that transformers renders, without loading a tokenizer."""
    from transformers.utils.chat_template_utils import render_jinja_template

    family = FAMILIES[name]
    template = family.template if tools is None else family.tool_template or family.template
    rendered, _ = render_jinja_template(
        [messages],
        tools=tools,  # type: ignore[arg-type]
        chat_template=template.read(),
        add_generation_prompt=generation_prompt,
        **{"bos_token": family.vocabulary.bos or "", "eos_token": family.vocabulary.eos, **variables},
    )
    return rendered[0]


def provenance(name: str) -> dict[str, str | bool]:
    """Where a family's parts come from: the vocabulary, the template, and what runs on vLLM's CPU build."""
    family = FAMILIES[name]
    return {
        "vocabulary": "borrowed" if family.vocabulary.is_borrowed else "real",
        "template": family.template.provenance,
        "architecture": family.architecture.name,
        "runs": family.architecture.runs,
    }
