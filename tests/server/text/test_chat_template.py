"""Chat templates: their variables, and conversations that they would refuse or not understand."""

from __future__ import annotations

from typing import Any

import pytest
from anytime_server.errors import InvalidRequest
from anytime_server.reasoning import Switch
from anytime_server.text.chat_template import ChatTemplate, with_system_switch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

SYSTEM, USER = {"role": "system", "content": "S"}, {"role": "user", "content": "U"}
TURNS = "{% for m in messages %}[{{ m.role }} {{ m.content }}]{% endfor %}"
ONLY_FIRST = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('System message must be at the beginning') }}{% endif %}{% endfor %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
)
ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}"
)


def template(text: str) -> ChatTemplate:
    backend = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    return ChatTemplate(PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=text))


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("{{ messages }}{% if enable_thinking is false %}x{% endif %}", {"messages", "enable_thinking"}),
        ("{% set thinking = false %}{{ thinking }}", set()),
        ("{% if not thinking is defined %}{% set thinking = false %}{% endif %}{{ thinking }}", {"thinking"}),
        ("{% for m in messages %}{% continue %}{% endfor %}", {"messages"}),
    ],
)
def test_variables_are_those_that_the_template_does_not_set(text: str, variables: set[str]) -> None:
    assert template(text).variables == variables


def test_variables_of_a_template_with_tags_of_its_own_are_its_words() -> None:
    assert "enable_thinking" in template("{% generation %}{{ enable_thinking }}{% endgeneration %}").variables


@pytest.mark.parametrize(
    ("text", "on"),
    [
        ("{{ enable_thinking }}", {"enable_thinking": True}),
        ("{{ thinking }}", {"thinking": True}),
        ("{{ messages }}", {}),
    ],
)
def test_switch_is_what_the_template_has(text: str, on: dict[str, bool]) -> None:
    switch = template(text).switch(None)
    assert (switch.on, switch.off) == (on, dict.fromkeys(on, False))
    own = Switch(on={"mode": "x"})
    assert template(text).switch(own) is own


def test_variables_reach_the_template() -> None:
    assert template("{{ effort }}").render([USER], variables={"effort": "high"}) == "high"


@pytest.mark.parametrize(
    ("text", "messages", "rendered"),
    [
        (ONLY_FIRST + TURNS, [USER, SYSTEM], "[system S][user U]"),
        (ONLY_FIRST + TURNS, [SYSTEM, USER, SYSTEM | {"content": "T"}], "[system S\n\nT][user U]"),
        (NO_SYSTEM + TURNS, [SYSTEM, USER], "[user S\n\nU]"),
        (ALTERNATING + TURNS, [USER, USER], "[user U\n\nU]"),
        (ALTERNATING + TURNS, [SYSTEM, USER, USER], "[user S\n\nU\n\nU]"),
        # A template that accepts them gets them as they are.
        (TURNS, [USER, SYSTEM, USER, USER], "[user U][system S][user U][user U]"),
    ],
)
def test_messages_are_merged_for_a_template_that_raises_on_their_order(
    text: str, messages: list[dict[str, Any]], rendered: str
) -> None:
    assert template(text).render(messages) == rendered


def test_first_complaint_is_reported_where_nothing_helps() -> None:
    text = "{{ raise_exception('no ' ~ messages[0].role) }}"
    with pytest.raises(InvalidRequest, match="refuses these messages: no user"):
        template(text).render([USER, SYSTEM])


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{{ messages[0].reasoning_content }}", "T"),
        ("{% for message in messages %}{{ message.thinking }}{% endfor %}", "T"),
        ("{% for message in messages %}{{ message['thinking'] }}{% endfor %}", "T"),
        ("{% for m in messages %}{% if 'thinking' in m %}{{ m.thinking }}{% endif %}{% endfor %}", "T"),
        ("{% for message in messages %}{{ message.reasoning }}{% endfor %}", "T"),
        (
            "{% for block in messages[0].content %}"
            "{% if block['type'] == 'thinking' %}{{ block['thinking'] }}"
            "{% elif block['type'] == 'text' %},{{ block['text'] }}{% endif %}{% endfor %}",
            "T,A",
        ),
    ],
)
def test_earlier_thinking_is_given_as_the_template_reads_it(text: str, rendered: str) -> None:
    turn = {"role": "assistant", "content": "A", "reasoning_content": "T"}
    assert template(text).render([turn]) == rendered


def test_content_beside_a_tool_call_joins_the_thinking_where_the_template_has_one_place_for_both() -> None:
    text = "{% for message in messages %}{{ message.thinking }}|{{ message.content }}{% endfor %}"
    turn = {"role": "assistant", "content": "A", "reasoning_content": "T", "tool_calls": [{"id": "1"}]}
    assert template(text).render([turn]) == "T\n\nA|"


@pytest.mark.parametrize(
    ("arguments", "rendered"),
    [
        ('{"a": ', 'arguments={"a": ;'),
        ("[1]", "arguments=[1];"),
        ({"a": 1}, "a=1;"),
    ],
)
def test_arguments_that_are_no_object_reach_a_template_that_iterates_them(
    arguments: Any, rendered: str
) -> None:
    text = (
        "{% for m in messages %}{% for c in m.tool_calls or [] %}"
        "{% for key, value in c.function.arguments.items() %}{{ key }}={{ value }};{% endfor %}"
        "{% endfor %}{% endfor %}"
    )
    turn = {"role": "assistant", "content": "", "tool_calls": [called(arguments)]}
    assert template(text).render([USER, turn, SYSTEM]) == rendered
    assert template(ONLY_FIRST + text).render([USER, turn, SYSTEM]) == rendered
    assert turn["tool_calls"] == [called(arguments)]


def test_arguments_that_are_no_object_stay_text_where_the_template_takes_text() -> None:
    text = "{{ 'call: ' + messages[0].tool_calls[0].function.arguments }}"
    turn = {"role": "assistant", "content": "", "tool_calls": [called("[1]")]}
    assert template(text).render([turn]) == "call: [1]"


def called(arguments: Any) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}


def test_long_complaint_of_a_template_is_cut() -> None:
    with pytest.raises(InvalidRequest) as refused:
        template("{{ raise_exception('x' * 100000) }}").render([USER])
    message = str(refused.value)
    assert message.startswith("the model's chat template refuses these messages: xxx")
    assert len(message) < 300


SWITCH = Switch(system_on="thinking on", system_off="thinking off")


@pytest.mark.parametrize(
    ("messages", "thinking", "system"),
    [
        ([USER], True, "thinking on"),
        ([USER], False, "thinking off"),
        ([SYSTEM, USER], True, "thinking on\n\nS"),
        ([{"role": "system", "content": "thinking off"}, USER], True, "thinking off"),
    ],
)
def test_system_message_has_the_switch(messages: list[dict[str, Any]], thinking: bool, system: str) -> None:
    switched = with_system_switch(messages, SWITCH, thinking=thinking)
    assert switched == [{"role": "system", "content": system}, USER]


def test_without_a_switch_the_conversation_is_unchanged() -> None:
    assert with_system_switch([USER], Switch(), thinking=False) == [USER]


@pytest.mark.parametrize(
    ("marker", "ids"),
    [("<|tool_calls_section_begin|>", "functions.add:0 functions.sub:1 functions.add:2"), ("", "c1 c2 c1")],
)
def test_calls_of_kimi_are_numbered(marker: str, ids: str) -> None:
    """The ids of clients are others, and may come again."""

    def call(name: str, call_id: str) -> dict[str, Any]:
        return {"id": call_id, "type": "function", "function": {"name": name, "arguments": {}}}

    turns: list[dict[str, Any]] = [
        {"role": "user", "content": "U"},
        {"role": "assistant", "content": "", "tool_calls": [call("add", "c1"), call("sub", "c2")]},
        {"role": "tool", "tool_call_id": "c2", "content": "4"},
        {"role": "assistant", "content": "", "tool_calls": [call("add", "c1")]},
        {"role": "tool", "tool_call_id": "c1", "content": "5"},
    ]
    text = (
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.id }} {% endfor %}{% endfor %}"
        "{% for m in messages %}{% if m.role == 'tool' %}({{ m.tool_call_id }}){% endif %}{% endfor %}"
    )
    first, second, third = ids.split()
    rendered = template(f"{text}{{# {marker} #}}").render(turns)
    assert rendered == f"{first} {second} {third} ({second})({third})"
    assert turns[1]["tool_calls"][0]["id"] == "c1"


def test_tools_get_what_a_template_requires_and_a_client_may_leave_out() -> None:
    bare = {"type": "function", "function": {"name": "f"}}
    required = "{% for t in tools %}{{ t.function.name + t.function.description + '.' }}{% endfor %}"
    assert template(required).render([USER], [bare]) == "f."
    shown = template("{{ tools[0].function | tojson }}")
    assert shown.render([USER], [bare]) == '{"name": "f"}'  # a template that needs no more gets no more
