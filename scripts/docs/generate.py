"""Generates the parts of the documentation that come from the code, and writes them into docs/.

A part stands between `<!-- generated: NAME -->` and `<!-- end of NAME -->`. Parts are committed: pages can
be read without the site, whose build fails if a part is out of date.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import fault_matrix
import memory
import openapi
import served
import tables
from anytime_server.api.app import create_app
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.server.connection_limits import ConnectionLimits
from anytime_server.telemetry.metrics import Metrics
from anytime_server.telemetry.setup import observe
from anytime_server.text.model import BUNDLED_MODEL, Model

DOCS = Path(__file__).parents[2] / "docs"
PART = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n).*?(<!-- end of (?P=name) -->)", re.DOTALL)


@cache
def scheduler() -> Scheduler:
    """A scheduler that is not started, on an engine without weights."""
    model = Model.load(BUNDLED_MODEL)
    return Scheduler(model, ScriptedEngine(model.tokenizer, model.reasoning))


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document of the server."""
    return create_app(scheduler()).openapi()


def server_metrics() -> Metrics:
    """The metrics of sessions, of the engine and of connections."""
    metrics = observe(scheduler(), engine="scripted")
    ConnectionLimits(registry=metrics.registry)
    return metrics


PARTS: dict[str, Callable[[], str]] = {
    "settings": tables.settings,
    "manifest": tables.manifest,
    "families": tables.families,
    "tool-parsers": tables.tool_parsers,
    "served-checkpoints": served.scripted,
    "served-on-vllm": served.on_vllm,
    "memory-qwen3": lambda: memory.memory(memory.QWEN3),
    "memory-gpt-oss": lambda: memory.memory(memory.GPT_OSS),
    "memory-deepseek-r1": lambda: memory.memory(memory.DEEPSEEK_R1),
    "brpo-recipe": tables.brpo_recipe,
    "baselines": tables.baselines,
    "warmstart-recipe": tables.warmstart_recipe,
    "fine-tuning-recipe": tables.fine_tuning_recipe,
    "attacks": fault_matrix.matrix,
    "metrics": lambda: tables.metrics(server_metrics()),
    "vllm-metrics": tables.vllm_metrics,
    "http": lambda: openapi.reference(document()),
}


def regenerated(markdown: str) -> str:
    """The page with its generated parts up to date."""
    return PART.sub(lambda part: f"{part[1]}\n{PARTS[part['name']]()}\n\n{part[3]}", markdown)


if __name__ == "__main__":
    for page in DOCS.rglob("*.md"):
        page.write_text(regenerated(page.read_text(encoding="utf-8")), encoding="utf-8")
