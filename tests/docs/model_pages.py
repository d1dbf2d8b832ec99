"""The pages on models, and the folders that stand for the models they name: real tokenizers, random weights.

Rules for writers of these pages, beside those of `snippets.py`:

- The first `anytime serve` is the server of the page, on real vLLM. Later ones are started with the scripted
  engine, and vLLM's parser reads their options.
- `anytime inspect` runs on a folder without weights, and its output is compared.
- A request that is refused fails, unless its output is shown.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.families.catalogue import CHECKPOINTS
from tests.families.folders import checkpoint_folder

MODEL_PAGES = {
    "docs/models/qwen3.md": ("Qwen/Qwen3-8B", "qwen3"),
    "docs/models/gpt-oss.md": ("openai/gpt-oss-20b", "gpt-oss"),
    "docs/models/deepseek-r1.md": (
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
        "deepseek-r1-distill-qwen",
    ),
    "docs/models/unknown-model.md": ("my-org/my-model", None),
}
"""The model of each page on the hub, and its checkpoint in `tests/families`; None for the tiny model."""

WINDOW_TOKENS = 1024
"""Answers of random weights rarely end before the window does."""
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role if m.role == 'assistant' else 'user' }}|>{{ m.content }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    "{# The model thinks between <reason> and </reason>. #}"
)


def hub_folder(model: str, cache: Path) -> Path:
    """Where a cache of the Hugging Face hub has the files of a model; makes all but the folder itself."""
    repository = cache / f"models--{model.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    return repository / "snapshots" / ("0" * 40)


def write_model(document: str, cache: Path, *, tiny_checkpoint: Path, runnable: bool) -> Path:
    """Write the model of a page into a cache of the hub; return its folder.

    Args:
        runnable: with weights.
    """
    model, checkpoint = MODEL_PAGES[document]
    folder = hub_folder(model, cache)
    if checkpoint is None:
        shutil.copytree(tiny_checkpoint, folder, ignore=shutil.ignore_patterns("anytime.json"))
        (folder / "chat_template.jinja").write_text(TEMPLATE)
    else:
        checkpoint_folder(CHECKPOINTS[checkpoint], folder, runnable=runnable)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"max_position_embeddings": WINDOW_TOKENS}), encoding="utf-8")
    return folder
