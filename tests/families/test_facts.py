"""The facts about families against their rendered templates and vLLM's parsers."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, TemplateError
from jinja2.meta import find_undeclared_variables

from tests.families.catalogue import FAMILIES
from tests.families.facts import FACTS
from tests.families.folders import render
from tests.families.packages import missing

pytestmark = pytest.mark.skipif(bool(missing()), reason="no templates: scripts/setup-families.sh")

QUESTION: list[dict[str, Any]] = [{"role": "user", "content": "QQQ"}]
THOUGHT = "my earlier thinking"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city"}},
            "required": ["city"],
        },
    },
}
GENERATION_BLOCK = re.compile(r"{%-?\s*(end)?generation\s*-?%}")  # transformers' own tag
SET_BY_TEMPLATES = {
    "reasoning_content",
    "keep_reasoning",
    "thinking_text",
    "reasoning_mode",
}  # in a block, for later blocks
KEYS = ("reasoning_content", "reasoning", "thinking")
thinking = pytest.mark.parametrize("name", [name for name, facts in FACTS.items() if facts.start])
every = pytest.mark.parametrize("name", FACTS)


def tool_loop(name: str, **message: Any) -> list[dict[str, Any]]:
    """A question, a call of a tool and its result."""
    facts = FACTS[name]
    arguments: Any = {"city": "Rome"} if facts.arguments == "object" else '{"city": "Rome"}'
    call_id = "functions.get_weather:0" if facts.tool_parser == "kimi_k2" else "call00001"
    call = {
        "id": call_id,
        "type": "function",
        "function": {"name": "get_weather", "arguments": arguments},
    }
    result = {"role": "tool", "tool_call_id": call_id, "name": "get_weather", "content": "sunny"}
    return [
        *QUESTION,
        {"role": "assistant", "content": facts.content_of_calls, "tool_calls": [call], **message},
        result,
    ]


def free_variables(template: str) -> set[str]:
    """The variables that a chat template takes from its caller."""
    parsed = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(GENERATION_BLOCK.sub("", template))
    return find_undeclared_variables(parsed)


@every
def test_ends_of_generation_prompts(name: str) -> None:
    facts = FACTS[name]
    assert render(name, QUESTION).endswith(facts.default)
    for mode in filter(None, (facts.on, facts.off)):
        assert render(name, QUESTION, **mode.variables).endswith(mode.ending)
    if facts.off_by_text is not None:
        role, text, ending = facts.off_by_text
        said = [{"role": role, "content": text}, *(QUESTION if role == "system" else [])]
        assert render(name, said).endswith(ending)


@every
def test_variables_are_those_that_the_template_reads(name: str) -> None:
    read = free_variables(FAMILIES[name].template.read()) - SET_BY_TEMPLATES
    assert {*FACTS[name].variables} == {
        variable for variable in read if "think" in variable or "reason" in variable
    }


@every
@pytest.mark.parametrize("key", KEYS)
def test_earlier_thinking(name: str, key: str) -> None:
    facts = FACTS[name]
    variables = facts.on.variables if facts.on else {}
    past = [*QUESTION, {"role": "assistant", "content": "AAA", key: THOUGHT}, *QUESTION]
    assert (THOUGHT in render(name, past, **variables)) == (key in facts.history and facts.keeps == "always")
    if facts.tool_call:
        loop = render(name, tool_loop(name, **{key: THOUGHT}), tools=[WEATHER], **variables)
        assert (THOUGHT in loop) == (key in facts.history and facts.keeps != "")


@every
def test_late_system_message(name: str) -> None:
    messages = [
        *QUESTION,
        {"role": "assistant", "content": "AAA"},
        {"role": "system", "content": "SSS"},
        *QUESTION,
    ]
    if FACTS[name].late_system == "refused":
        with pytest.raises(TemplateError):
            render(name, messages)
        return
    rendered = render(name, messages)
    if "SSS" in rendered:
        place = "merged" if rendered.index("SSS") < rendered.index("QQQ") else "rendered"
    else:
        place = "dropped"
    assert place == FACTS[name].late_system


@every
def test_tool_calls(name: str) -> None:
    facts = FACTS[name]
    if facts.tool_call:
        rendered = render(name, tool_loop(name), tools=[WEATHER])
        assert facts.tool_call in rendered[rendered.index("QQQ") :]


def vllm_parsers(kind: str) -> set[str]:
    """The names in vLLM's table of lazy parsers, without importing vLLM, which takes seconds."""
    package = find_spec("vllm")
    assert package is not None
    assert package.origin is not None
    table = (Path(package.origin).parent / kind / "__init__.py").read_text()
    return set(re.findall(r'^    "([^"]+)": \(', table, re.MULTILINE))


def test_parsers_exist() -> None:
    assert {facts.reasoning_parser for facts in FACTS.values()} - {None} <= vllm_parsers("reasoning")
    assert {facts.tool_parser for facts in FACTS.values()} - {None} <= vllm_parsers("tool_parsers")
