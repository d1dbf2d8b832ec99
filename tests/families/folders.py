"""Write checkpoints as folders, and render their chat templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.families import vocabularies
from tests.families.architectures import write_config, write_weights
from tests.families.checkpoint import Checkpoint


def checkpoint_folder(checkpoint: Checkpoint, target: Path, *, runnable: bool = False) -> Path:
    """Write a checkpoint to the new folder `target`: configuration, tokenizer, chat template.

    A runnable one has random weights too. Its config.json is that of the language model alone where the
    model takes images, and a Qwen3's where vLLM's CPU build lacks the architecture: tests of recognition by
    architecture need a folder that is not runnable.
    """
    target.mkdir(parents=True)
    size, ids = vocabularies.write(checkpoint.vocabulary, target)
    (target / "chat_template.jinja").write_text(checkpoint.template.read())
    if checkpoint.tool_template is not None:
        others = target / "additional_chat_templates"
        others.mkdir()
        (others / "tool_use.jinja").write_text(checkpoint.tool_template.read())
    ends = [ids[token] for token in checkpoint.ends or (checkpoint.vocabulary.eos,)]
    sampling = checkpoint.sampling
    generation: dict[str, Any] = {"do_sample": bool(sampling), "eos_token_id": ends, **sampling}
    if checkpoint.vocabulary.bos is not None:
        generation["bos_token_id"] = ids[checkpoint.vocabulary.bos]
    (target / "generation_config.json").write_text(json.dumps(generation, indent=2))
    write_config(checkpoint.architecture, size, ends, target)
    if runnable:
        make_runnable(checkpoint, target)
    return target


def make_runnable(checkpoint: Checkpoint, folder: Path) -> None:
    """Give a checkpoint's folder random weights, and the config.json of the architecture that they have."""
    described = json.loads((folder / "config.json").read_text())
    size = described.get("text_config", described)["vocab_size"]
    generation = (folder / "generation_config.json").read_text()
    ends = json.loads(generation)["eos_token_id"]
    write_config(checkpoint.architecture.runnable(), size, ends, folder)
    write_weights(folder)
    (folder / "generation_config.json").write_text(generation)


def render(
    checkpoint: Checkpoint,
    messages: list[dict[str, Any]],
    *,
    tools: list[dict[str, Any]] | None = None,
    generation_prompt: bool = True,
    **variables: Any,
) -> str:
    """The prompt that transformers renders, without loading a tokenizer."""
    from transformers.utils.chat_template_utils import render_jinja_template

    template = checkpoint.template if tools is None else checkpoint.tool_template or checkpoint.template
    rendered, _ = render_jinja_template(
        [messages],
        tools=tools,  # type: ignore[arg-type]
        chat_template=template.read(),
        add_generation_prompt=generation_prompt,
        **{"bos_token": checkpoint.vocabulary.bos or "", "eos_token": checkpoint.vocabulary.eos, **variables},
    )
    return rendered[0]


def provenance(checkpoint: Checkpoint) -> dict[str, str | bool]:
    """Where vocabulary and template come from, and whether the architecture runs on vLLM's CPU build."""
    return {
        "vocabulary": "borrowed" if checkpoint.vocabulary.is_borrowed else "real",
        "template": checkpoint.template.provenance,
        "architecture": checkpoint.architecture.name,
        "runs": checkpoint.architecture.runs,
    }
