"""The facts about checkpoints against their rendered templates and vLLM's parsers."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from jinja2 import Environment, TemplateError
from jinja2.meta import find_undeclared_variables

from tests.families.catalogue import CHECKPOINTS, parameters
from tests.families.checkpoint import Checkpoint
from tests.families.folders import render
from tests.families.packages import missing
from tests.families.requests import QUESTION, WEATHER, tool_loop

pytestmark = pytest.mark.skipif(bool(missing()), reason="no templates: scripts/setup-families.sh")

THOUGHT = "my earlier thinking"
GENERATION_BLOCK = re.compile(r"{%-?\s*(end)?generation\s*-?%}")  # transformers' own tag
SET_BY_TEMPLATES = {
    "reasoning_content",
    "keep_reasoning",
    "thinking_text",
    "reasoning_mode",
}  # in a block, for later blocks
KEYS = ("reasoning_content", "reasoning", "thinking")
every = pytest.mark.parametrize("checkpoint", parameters())


def free_variables(template: str) -> set[str]:
    """The variables that a chat template takes from its caller."""
    parsed = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(GENERATION_BLOCK.sub("", template))
    return find_undeclared_variables(parsed)


@every
def test_ends_of_generation_prompts(checkpoint: Checkpoint) -> None:
    facts = checkpoint.facts
    assert render(checkpoint, QUESTION).endswith(facts.default)
    for mode in filter(None, (facts.on, facts.off)):
        assert render(checkpoint, QUESTION, **mode.variables).endswith(mode.ending)
    if facts.off_by_text is not None:
        role, text, ending = facts.off_by_text
        said = [{"role": role, "content": text}, *(QUESTION if role == "system" else [])]
        assert render(checkpoint, said).endswith(ending)


@every
def test_variables_are_those_that_the_template_reads(checkpoint: Checkpoint) -> None:
    read = free_variables(checkpoint.template.read()) - SET_BY_TEMPLATES
    assert {*checkpoint.facts.variables} == {
        variable for variable in read if "think" in variable or "reason" in variable
    }


@every
@pytest.mark.parametrize("key", KEYS)
def test_earlier_thinking(checkpoint: Checkpoint, key: str) -> None:
    facts = checkpoint.facts
    variables = facts.on.variables if facts.on else {}
    past = [*QUESTION, {"role": "assistant", "content": "AAA", key: THOUGHT}, *QUESTION]
    assert (THOUGHT in render(checkpoint, past, **variables)) == (
        key in facts.history and facts.keeps == "always"
    )
    if facts.tool_call:
        loop = render(checkpoint, tool_loop(checkpoint, **{key: THOUGHT}), tools=[WEATHER], **variables)
        assert (THOUGHT in loop) == (key in facts.history and facts.keeps != "")


@every
def test_late_system_message(checkpoint: Checkpoint) -> None:
    messages = [
        *QUESTION,
        {"role": "assistant", "content": "AAA"},
        {"role": "system", "content": "SSS"},
        *QUESTION,
    ]
    if checkpoint.facts.late_system == "refused":
        with pytest.raises(TemplateError):
            render(checkpoint, messages)
        return
    rendered = render(checkpoint, messages)
    if "SSS" in rendered:
        place = "merged" if rendered.index("SSS") < rendered.index("QQQ") else "rendered"
    else:
        place = "dropped"
    assert place == checkpoint.facts.late_system


@every
def test_tool_calls(checkpoint: Checkpoint) -> None:
    facts = checkpoint.facts
    if facts.tool_call:
        rendered = render(checkpoint, tool_loop(checkpoint), tools=[WEATHER])
        assert facts.tool_call in rendered[rendered.index("QQQ") :]


def vllm_parsers(kind: str) -> set[str]:
    """The names in vLLM's table of lazy parsers, without importing vLLM, which takes seconds."""
    package = find_spec("vllm")
    assert package is not None
    assert package.origin is not None
    table = (Path(package.origin).parent / kind / "__init__.py").read_text()
    return set(re.findall(r'^    "([^"]+)": \(', table, re.MULTILINE))


def test_parsers_exist() -> None:
    assert {one.facts.reasoning_parser for one in CHECKPOINTS.values()} - {None} <= vllm_parsers("reasoning")
    assert {one.facts.tool_parser for one in CHECKPOINTS.values()} - {None} <= vllm_parsers("tool_parsers")
