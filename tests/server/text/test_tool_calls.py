"""Calls of tools in the text of answers, in the formats of several families."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
from anytime_server.engine.environment import prepare_environment
from anytime_server.errors import InvalidRequest, NotSupported, UnusableOption
from anytime_server.text.model import Model
from anytime_server.text.tool_calls import ModelTools, ToolCall, ToolCallParser, ToolCallReader

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds.",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "required": ["a"],
            },
        },
    }
]
TEMPLATE = (
    "{% if tools %}[{% for t in tools %}{{ t.function.name }} {% endfor %}]{% endif %}"
    "{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}<|assistant|><think>"
)
USER = [{"role": "user", "content": "7-3"}]
CALL = ToolCall(name="add", arguments='{"a": 1}')

HERMES = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
CODER = "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>"
GLM = "<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>"
DS_BEGIN, DS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
DS_CALL, DS_SEP, DS_CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
DEEPSEEK_CALL = f'{DS_CALL}function{DS_SEP}add\n```json\n{{"a": 1}}\n```{DS_CALL_END}'
DEEPSEEK = DS_BEGIN + DEEPSEEK_CALL + DS_END
DEEPSEEK_31 = f'{DS_BEGIN}{DS_CALL}add{DS_SEP}{{"a": 1}}{DS_CALL_END}{DS_END}'
MISTRAL = '[TOOL_CALLS]add[ARGS]{"a": 1}'
OLD_MISTRAL = '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1}}]'

QWEN_TOKENS = ("<tool_call>", "</tool_call>")
DEEPSEEK_TOKENS = (DS_BEGIN, DS_END, DS_CALL, DS_SEP, DS_CALL_END)
MISTRAL_TOKENS = ("[TOOL_CALLS]", "[ARGS]")


@pytest.fixture(scope="module", autouse=True)
def environment() -> None:
    """As the server has it before vLLM is imported."""
    prepare_environment()


class Variant(Protocol):
    def __call__(
        self, *, tokens: Sequence[str] = (), special: Sequence[str] = (), template: str = TEMPLATE
    ) -> Model: ...


@pytest.fixture
def variant(tiny_checkpoint: Path, tmp_path: Path) -> Variant:
    """Makes a copy of the tiny checkpoint with more tokens and another chat template."""
    from transformers import AutoTokenizer

    def make(*, tokens: Sequence[str] = (), special: Sequence[str] = (), template: str = TEMPLATE) -> Model:
        folder = Path(shutil.copytree(tiny_checkpoint, Path(tempfile.mkdtemp(dir=tmp_path)) / "variant"))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.backend_tokenizer.add_tokens(list(tokens))
        tokenizer.backend_tokenizer.add_special_tokens(list(special))
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
        return Model.load(folder)

    return make


def parsing_of(model: Model, parser: str | None = None) -> ModelTools:
    parsing = ModelTools.of(model, parser=parser)
    assert parsing is not None
    return parsing


def reader_of(parsing: ModelTools, tools: Sequence[dict[str, Any]]) -> ToolCallReader:
    return ToolCallReader(ToolCallParser(parsing, tools))


def read(parsing: ModelTools, *pieces: str) -> tuple[str, str, list[ToolCall]]:
    """What is shown while the pieces come, what at the end, and the calls."""
    reader = reader_of(parsing, TOOLS)
    shown = "".join([reader.push(piece) for piece in pieces])
    return (shown, *reader.finish())


FAMILIES = [
    ("hermes", HERMES, QWEN_TOKENS, ()),
    ("qwen3_coder", CODER, QWEN_TOKENS, ()),
    ("glm45", GLM, QWEN_TOKENS, ()),
    ("deepseek_v3", DEEPSEEK, DEEPSEEK_TOKENS, ()),
    ("deepseek_v31", DEEPSEEK_31, DEEPSEEK_TOKENS, ()),
    ("mistral", MISTRAL, (), MISTRAL_TOKENS),
    ("mistral", OLD_MISTRAL, (), ("[TOOL_CALLS]",)),
]


@pytest.mark.parametrize(
    ("parser", "written", "tokens", "special"), FAMILIES, ids=[f"{one[0]}-{len(one[1])}" for one in FAMILIES]
)
def test_every_family_is_told_by_its_template_and_read_in_any_two_pieces(
    variant: Variant, parser: str, written: str, tokens: Sequence[str], special: Sequence[str]
) -> None:
    """The template of a family shows the model how it is to write."""
    template = TEMPLATE + "{# " + written + " #}"
    model = variant(tokens=tokens, special=special, template=template)
    parsing = parsing_of(model)
    assert parsing.parser == parser
    assert parsing.start_ids == {model.tokenizer.token_id((*tokens, *special)[0])}
    assert parsing.keeps_special_tokens == bool(special)
    text = "I add [ these: " + written
    for at in range(len(text) + 1):
        shown, rest, calls = read(parsing, text[:at], text[at:])
        assert (shown, rest) == ("I add [ these: ", "")
        assert [(one.name, json.loads(one.arguments)) for one in calls] == [("add", {"a": 1})]


@pytest.fixture
def hermes(variant: Variant) -> ModelTools:
    return parsing_of(variant(tokens=QWEN_TOKENS))


@pytest.fixture
def deepseek(variant: Variant) -> ModelTools:
    return parsing_of(variant(tokens=DEEPSEEK_TOKENS))


@pytest.fixture
def mistral(variant: Variant) -> ModelTools:
    return parsing_of(variant(special=MISTRAL_TOKENS))


def test_a_template_without_markers_leaves_it_to_the_vocabulary(
    hermes: ModelTools, deepseek: ModelTools, mistral: ModelTools
) -> None:
    assert (hermes.parser, deepseek.parser, mistral.parser) == ("hermes", "deepseek_v3", "mistral")


def test_text_without_a_call_is_shown_but_for_what_could_begin_one(hermes: ModelTools) -> None:
    reader = reader_of(hermes, TOOLS)
    assert reader.push("a < b <tool") == "a < b "
    assert reader.push("box> <") == "<toolbox> "
    assert reader.push("<tool_call") == "<"
    assert reader.finish() == ("<tool_call", [])


def test_nothing_is_shown_from_the_start_of_a_call_on(hermes: ModelTools) -> None:
    reader = reader_of(hermes, TOOLS)
    assert reader.push("See: <tool_call>") == "See: "
    assert reader.push(HERMES.removeprefix("<tool_call>")) == ""
    assert reader.push("\nThat was it.") == ""
    assert reader.finish() == ("\nThat was it.", [CALL])


def test_several_calls_keep_their_order_and_the_text_between_them(hermes: ModelTools) -> None:
    other = HERMES.replace("1", "2")
    two = [CALL, ToolCall(name="add", arguments='{"a": 2}')]
    assert read(hermes, f"{HERMES}\n{other}\n") == ("", "", two)
    assert read(hermes, f"{HERMES} and {other}") == ("", " and ", two)


TRUNCATED = [HERMES[:-1], HERMES.split("</")[0], "<tool_call>", '<tool_call>{"name": "add"']
UNREADABLE = [
    "<tool_call></tool_call>",
    '<tool_call>{"name": "add", "arguments": {"a": }}</tool_call>',
    '<tool_call>{"name": "add"}</tool_call>',
    '<tool_call>{"name": "", "arguments": {}}</tool_call>',
    '<tool_call>{"name": "add", "arguments": "a"}</tool_call>',
    '<tool_call>{"name": ["add"], "arguments": {}}</tool_call>',
    "<tool_call>" + "[" * 100_000 + "</tool_call>",
]


@pytest.mark.parametrize("written", [*TRUNCATED, *UNREADABLE], ids=lambda written: written[:60])
def test_what_is_no_whole_call_is_text(hermes: ModelTools, written: str) -> None:
    assert read(hermes, written) == ("", written, [])
    assert read(hermes, HERMES + written) == ("", written, [CALL])


@pytest.mark.parametrize("end", range(1, len(MISTRAL)))
def test_a_call_that_only_its_json_ends_is_text_until_then(mistral: ModelTools, end: int) -> None:
    shown, rest, calls = read(mistral, MISTRAL[:end])
    assert (shown + rest, calls) == (MISTRAL[:end], [])


def test_a_call_that_only_its_json_ends_takes_no_more_than_that(mistral: ModelTools) -> None:
    assert read(mistral, f"{MISTRAL} done") == ("", " done", [CALL])
    assert read(mistral, f"[TOOL_CALLS]so{MISTRAL}{MISTRAL}") == ("", "[TOOL_CALLS]so", [CALL, CALL])
    # Which vLLM's parser does not read.
    in_a_string = '[TOOL_CALLS]add[ARGS]{"a": "[TOOL_CALLS]{"}'
    assert read(mistral, in_a_string + MISTRAL) == ("", in_a_string, [CALL])


def test_a_block_of_several_calls_is_read_whole_or_not_at_all(deepseek: ModelTools) -> None:
    two = f"{DS_BEGIN}{DEEPSEEK_CALL}\n{DEEPSEEK_CALL}{DS_END}"
    assert read(deepseek, two) == ("", "", [CALL, CALL])
    for spoilt in (two.replace(DS_SEP, "", 1), two.removesuffix(DS_END), two.replace("}", "", 1)):
        assert read(deepseek, spoilt) == ("", spoilt, [])


def test_a_failing_parser_costs_only_the_calls_and_is_logged_and_counted(
    hermes: ModelTools, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from vllm.tool_parsers import ToolParserManager

    def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(ToolParserManager.get_tool_parser("hermes"), "extract_tool_calls", fail)
    assert read(hermes, f"See: {HERMES} there") == ("See: ", f"{HERMES} there", [])
    reader = reader_of(hermes, TOOLS)
    reader.push(HERMES)
    reader.finish()
    assert reader.num_failures == 1
    assert "a tool parser failed" in caplog.text


def test_a_parser_whose_markers_are_not_known_gets_the_whole_text(variant: Variant) -> None:
    parsing = parsing_of(variant(special=["<|python_tag|>"]), "llama3_json")
    assert (parsing.start_ids, parsing.keeps_special_tokens) == (frozenset(), True)
    assert read(parsing, "no ", "call") == ("", "no call", [])
    shown, rest, calls = read(parsing, '{"name": "add", ', '"parameters": {"a": 1}}')
    assert (shown, rest, calls) == ("", "", [CALL])


def test_a_parser_that_cannot_be_had_is_refused_at_start(variant: Variant) -> None:
    model = variant()
    with pytest.raises(UnusableOption, match=r"^--tool-parser: vLLM has no parser 'nought'; .*hermes"):
        ModelTools.of(model, parser="nought")
    with pytest.raises(UnusableOption, match=f"^--tool-parser: deepseek_v3 needs {DS_BEGIN} in"):
        ModelTools.of(model, parser="deepseek_v3")
    with pytest.raises(UnusableOption, match=r"^--tool-parser: llama3_json does not suit this model: "):
        ModelTools.of(model, parser="llama3_json")


@pytest.mark.parametrize(
    "template",
    [
        TEMPLATE.replace("tools", "things"),
        TEMPLATE.replace("tools", "messages[0].tool_calls"),
    ],
)
def test_a_model_that_is_not_told_of_tools_calls_none(variant: Variant, template: str) -> None:
    model = variant(tokens=QWEN_TOKENS, template=template)
    assert not model.takes_tools
    assert ModelTools.of(model, parser=None) is None


def test_a_model_of_no_known_family_needs_the_parser_named(variant: Variant) -> None:
    model = variant()
    assert model.takes_tools
    assert ModelTools.of(model, parser=None) is None
    assert parsing_of(model, "hermes").start_ids == frozenset()


def test_a_family_whose_markers_the_vocabulary_lacks_is_not_taken_for_another(variant: Variant) -> None:
    model = variant(tokens=QWEN_TOKENS, template=TEMPLATE + "{# " + DEEPSEEK + " #}")
    assert ModelTools.of(model, parser=None) is None


def test_vllm_is_wanted_only_once_tools_are(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    model = variant(tokens=QWEN_TOKENS)
    for name in ("vllm.tool_parsers", "vllm.entrypoints.openai.chat_completion.protocol"):
        monkeypatch.setitem(sys.modules, name, None)
    parsing = parsing_of(model)
    with pytest.raises(NotSupported, match="tools need vLLM") as refused:
        reader_of(parsing, TOOLS)
    assert refused.value.field == "tools"
    with pytest.raises(UnusableOption, match="--tool-parser: llama3_json needs vLLM"):
        ModelTools.of(model, parser="llama3_json")


def test_tools_that_are_none_are_refused_by_field(hermes: ModelTools) -> None:
    with pytest.raises(InvalidRequest, match=r"^tools\.1\.function\.name: ") as refused:
        reader_of(hermes, [*TOOLS, {"type": "function", "function": {}}])
    assert refused.value.field == "tools.1.function.name"


def test_tools_are_rendered_by_the_chat_template(variant: Variant) -> None:
    model = variant()
    told, untold = (f"{start}<|user|>7-3<|end|><|assistant|><think>" for start in ("[add ]", ""))
    assert model.prompt_ids(USER, TOOLS) == model.tokenizer.encode(told)
    for no_tools in (None, []):
        assert model.prompt_ids(USER, no_tools) == model.tokenizer.encode(untold)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{% if tools %}{{ raise_exception('too many') }}{% endif %}", "too many"),
        ("{% for t in tools %}{{ t.function.strict | tojson }}{% endfor %}", "not JSON serializable"),
    ],
)
def test_tools_that_the_template_refuses_are_the_requests_fault(
    variant: Variant, template: str, told: str
) -> None:
    model = variant(template=template + TEMPLATE)
    with pytest.raises(InvalidRequest, match=f"refuses these messages with these tools: .*{told}"):
        model.prompt_ids(USER, TOOLS)


def test_special_tokens_stay_where_they_are_asked_for(variant: Variant) -> None:
    tokenizer = variant(special=MISTRAL_TOKENS).tokenizer
    ids = tokenizer.encode(MISTRAL)
    for keeps_special, text in ((True, MISTRAL), (False, 'add{"a": 1}')):
        stream: Callable[[Sequence[int]], str] = tokenizer.detokenizer(keeps_special=keeps_special).push
        assert "".join([stream([token_id]) for token_id in ids]) == text
        assert tokenizer.decode(ids, keeps_special=keeps_special) == text
