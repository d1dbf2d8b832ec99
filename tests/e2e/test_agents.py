"""Codex and Claude Code, as published, in a loop of tool calls with a scripted model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anytime_server.text.model import Model

from ..families.catalogue import CHECKPOINTS
from ..families.folders import checkpoint_folder
from ..families.packages import missing
from .agents import is_installed, played, run

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(bool(missing()), reason="no templates: scripts/setup-families.sh"),
]
codex_only = pytest.mark.skipif(not is_installed("codex"), reason="no Codex: scripts/setup-agents.sh")
claude_only = pytest.mark.skipif(not is_installed("claude"), reason="no Claude Code: scripts/setup-agents.sh")

CONFIG = """
model = "{model}"
model_provider = "anytime"
model_reasoning_summary = "auto"

[model_providers.anytime]
name = "Anytime"
base_url = "{url}/v1"
wire_api = "responses"
"""
DONE = "The file is written."


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


@pytest.fixture
def qwen3(tmp_path: Path) -> Callable[[str], Model]:
    """Loads Qwen3's tokenizer and chat template as a model of any name."""
    folder = tmp_path / "models"
    return lambda name: Model.load(checkpoint_folder(CHECKPOINTS["qwen3"], folder / name))


async def codex(url: str, folder: Path, *, model: str) -> list[dict[str, Any]]:
    """Events of Codex on one task."""
    settings = folder / ".codex"
    settings.mkdir(parents=True)
    (settings / "config.toml").write_text(CONFIG.format(url=url, model=model))
    arguments = ("exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
    _, events = await run("codex", *arguments, "Write a file.", folder=folder, CODEX_HOME=str(settings))
    return events


def items(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [
        event["item"]
        for event in events
        if event["type"] == "item.completed" and event["item"]["type"] == kind
    ]


@codex_only
async def test_codex_runs_a_command_and_shows_the_thinking(qwen3: Any, tmp_path: Path) -> None:
    answers = [call("exec_command", cmd="echo 7 > sum.txt; cat sum.txt"), DONE]
    async with played(qwen3("anytime"), answers) as server:
        events = await codex(server.url, tmp_path / "codex", model="anytime")
        prompts = server.prompts
    assert (tmp_path / "codex/project/sum.txt").read_text() == "7\n"
    [command] = items(events, "command_execution")
    assert (command["exit_code"], command["aggregated_output"]) == (0, "7\n")
    assert [item["text"] for item in items(events, "agent_message")] == [DONE]
    assert len(items(events, "reasoning")) == 2
    assert events[-1]["type"] == "turn.completed"
    assert events[-1]["usage"]["reasoning_output_tokens"] == 24
    assert len(prompts) == 2
    assert "Process exited with code 0" in prompts[1]


@codex_only
async def test_codex_finds_its_tools_in_a_namespace(qwen3: Any, tmp_path: Path) -> None:
    answers = [call("close_agent", target="nobody"), DONE]
    async with played(qwen3("anytime"), answers) as server:
        events = await codex(server.url, tmp_path / "codex", model="anytime")
        [_, prompt] = server.prompts
    assert items(events, "agent_message")[-1]["text"] == DONE
    result = prompt.rpartition("<tool_response>")[2]
    assert "nobody" in result or "agent" in result
    assert "unsupported call" not in result


@codex_only
async def test_codex_runs_custom_tools(qwen3: Any, tmp_path: Path) -> None:
    """Models that Codex knows get all tools within the conversation, and write code for a custom one."""
    name = "gpt-6.2-sol"
    answers = [call("exec", input='text("7" + "-3");'), DONE]
    async with played(qwen3(name), answers) as server:
        events = await codex(server.url, tmp_path / "codex", model=name)
        [_, prompt] = server.prompts
    assert items(events, "agent_message")[-1]["text"] == DONE
    assert "7-3" in prompt.rpartition("<tool_response>")[2]


@claude_only
@pytest.mark.parametrize("name", ["anytime", "claude-opus-4-5"])
async def test_claude_code_runs_a_command(qwen3: Any, tmp_path: Path, name: str) -> None:
    """It asks a model of a known name for a budget of one token less than all, others to think adaptively."""
    command = {"command": "echo 7 > sum.txt; cat sum.txt", "description": "Write the file"}
    async with played(qwen3(name), [call("Bash", **command), DONE]) as server:
        _, [result] = await run(
            "claude",
            *("-p", "Write a file.", "--output-format", "json", "--allowedTools", "Bash"),
            folder=tmp_path / "claude",
            ANTHROPIC_BASE_URL=server.url,
            ANTHROPIC_AUTH_TOKEN="none",
            ANTHROPIC_MODEL=name,
            ANTHROPIC_SMALL_FAST_MODEL=name,
            CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
            ENABLE_TOOL_SEARCH="true",
        )
        prompts = server.prompts
    assert (tmp_path / "claude/project/sum.txt").read_text() == "7\n"
    assert (result["result"], result["is_error"], result["num_turns"]) == (DONE, False, 2)
    assert result["usage"]["output_tokens"] > 24
    assert prompts[-1].rpartition("<tool_response>")[2].strip().startswith("7")
