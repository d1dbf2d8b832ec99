"""Tool calls in the text of answers, in the formats of several model families."""

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
    """Set the environment that the server sets before it imports vLLM."""
    prepare_environment()


class ModelFactory(Protocol):
    def __call__(
        self, *, tokens: Sequence[str] = (), special: Sequence[str] = (), template: str = TEMPLATE
    ) -> Model: ...


@pytest.fixture
def make_model(tiny_checkpoint: Path, tmp_path: Path) -> ModelFactory:
    """Makes models from copies of the tiny checkpoint with more tokens and another chat template."""
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


def tools_of(model: Model, parser: str | None = None) -> ModelTools:
    model_tools = ModelTools.of(model, parser=parser)
    assert model_tools is not None
    return model_tools


def reader_of(model_tools: ModelTools, tools: Sequence[dict[str, Any]]) -> ToolCallReader:
    return ToolCallReader(ToolCallParser(model_tools, tools))


def read(model_tools: ModelTools, *pieces: str) -> tuple[str, str, list[ToolCall]]:
    """Read an answer in pieces.

    Returns:
        The text shown while the pieces come, the text shown at the end, and the calls.
    """
    reader = reader_of(model_tools, TOOLS)
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
    ("parser", "call_text", "tokens", "special"),
    FAMILIES,
    ids=[f"{parser}-{len(text)}" for parser, text, _, _ in FAMILIES],
)
def test_every_family_is_recognised_by_its_template_and_read_in_any_two_pieces(
    make_model: ModelFactory, parser: str, call_text: str, tokens: Sequence[str], special: Sequence[str]
) -> None:
    """The template of a family contains an example of a call."""
    template = TEMPLATE + "{# " + call_text + " #}"
    model = make_model(tokens=tokens, special=special, template=template)
    model_tools = tools_of(model)
    assert model_tools.parser == parser
    assert model_tools.start_ids == {model.tokenizer.token_id((*tokens, *special)[0])}
    assert model_tools.keeps_special_tokens == bool(special)
    text = "I add [ these: " + call_text
    for split in range(len(text) + 1):
        shown, rest, calls = read(model_tools, text[:split], text[split:])
        assert (shown, rest) == ("I add [ these: ", "")
        assert [(call.name, json.loads(call.arguments)) for call in calls] == [("add", {"a": 1})]


@pytest.fixture
def hermes(make_model: ModelFactory) -> ModelTools:
    return tools_of(make_model(tokens=QWEN_TOKENS))


@pytest.fixture
def deepseek(make_model: ModelFactory) -> ModelTools:
    return tools_of(make_model(tokens=DEEPSEEK_TOKENS))


@pytest.fixture
def mistral(make_model: ModelFactory) -> ModelTools:
    return tools_of(make_model(special=MISTRAL_TOKENS))


def test_family_is_recognised_by_its_vocabulary_if_the_template_has_no_markers(
    hermes: ModelTools, deepseek: ModelTools, mistral: ModelTools
) -> None:
    assert (hermes.parser, deepseek.parser, mistral.parser) == ("hermes", "deepseek_v3", "mistral")


def test_only_a_possible_start_of_a_call_is_held_back(hermes: ModelTools) -> None:
    reader = reader_of(hermes, TOOLS)
    assert reader.push("a < b <tool") == "a < b "
    assert reader.push("box> <") == "<toolbox> "
    assert reader.push("<tool_call") == "<"
    assert reader.finish() == ("<tool_call", [])


def test_nothing_is_shown_after_the_start_of_a_call(hermes: ModelTools) -> None:
    reader = reader_of(hermes, TOOLS)
    assert reader.push("See: <tool_call>") == "See: "
    assert reader.push(HERMES.removeprefix("<tool_call>")) == ""
    assert reader.push("\nThat was it.") == ""
    assert reader.finish() == ("\nThat was it.", [CALL])


def test_several_calls_keep_their_order_and_the_text_between_them(hermes: ModelTools) -> None:
    other = HERMES.replace("1", "2")
    calls = [CALL, ToolCall(name="add", arguments='{"a": 2}')]
    assert read(hermes, f"{HERMES}\n{other}\n") == ("", "", calls)
    assert read(hermes, f"{HERMES} and {other}") == ("", " and ", calls)


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


@pytest.mark.parametrize("call_text", [*TRUNCATED, *UNREADABLE], ids=lambda call_text: call_text[:60])
def test_incomplete_or_unreadable_call_is_text(hermes: ModelTools, call_text: str) -> None:
    assert read(hermes, call_text) == ("", call_text, [])
    assert read(hermes, HERMES + call_text) == ("", call_text, [CALL])


@pytest.mark.parametrize("end", range(1, len(MISTRAL)))
def test_call_without_an_end_marker_is_text_until_its_json_ends(mistral: ModelTools, end: int) -> None:
    shown, rest, calls = read(mistral, MISTRAL[:end])
    assert (shown + rest, calls) == (MISTRAL[:end], [])


def test_call_without_an_end_marker_ends_with_its_json(mistral: ModelTools) -> None:
    assert read(mistral, f"{MISTRAL} done") == ("", " done", [CALL])
    assert read(mistral, f"[TOOL_CALLS]so{MISTRAL}{MISTRAL}") == ("", "[TOOL_CALLS]so", [CALL, CALL])
    # vLLM's parser does not read this call.
    in_a_string = '[TOOL_CALLS]add[ARGS]{"a": "[TOOL_CALLS]{"}'
    assert read(mistral, in_a_string + MISTRAL) == ("", in_a_string, [CALL])


def test_block_of_several_calls_is_read_completely_or_not_at_all(deepseek: ModelTools) -> None:
    block = f"{DS_BEGIN}{DEEPSEEK_CALL}\n{DEEPSEEK_CALL}{DS_END}"
    assert read(deepseek, block) == ("", "", [CALL, CALL])
    for broken in (block.replace(DS_SEP, "", 1), block.removesuffix(DS_END), block.replace("}", "", 1)):
        assert read(deepseek, broken) == ("", broken, [])


def test_failing_parser_loses_only_the_calls_and_is_logged_and_counted(
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


def test_parser_with_unknown_markers_gets_the_whole_text(make_model: ModelFactory) -> None:
    model_tools = tools_of(make_model(special=["<|python_tag|>"]), "llama3_json")
    assert (model_tools.start_ids, model_tools.keeps_special_tokens) == (frozenset(), True)
    assert read(model_tools, "no ", "call") == ("", "no call", [])
    shown, rest, calls = read(model_tools, '{"name": "add", ', '"parameters": {"a": 1}}')
    assert (shown, rest, calls) == ("", "", [CALL])


def test_unusable_parser_is_refused_at_start(make_model: ModelFactory) -> None:
    model = make_model()
    with pytest.raises(UnusableOption, match=r"^--tool-parser: there is no parser 'nought'; .*hermes"):
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
def test_model_whose_template_takes_no_tools_calls_none(make_model: ModelFactory, template: str) -> None:
    model = make_model(tokens=QWEN_TOKENS, template=template)
    assert not model.takes_tools
    assert ModelTools.of(model, parser=None) is None


def test_model_of_an_unknown_family_needs_the_parser_option(make_model: ModelFactory) -> None:
    model = make_model()
    assert model.takes_tools
    assert ModelTools.of(model, parser=None) is None
    assert tools_of(model, "hermes").start_ids == frozenset()


def test_family_without_its_markers_in_the_vocabulary_is_not_taken_for_another(
    make_model: ModelFactory,
) -> None:
    model = make_model(tokens=QWEN_TOKENS, template=TEMPLATE + "{# " + DEEPSEEK + " #}")
    assert ModelTools.of(model, parser=None) is None


def test_vllm_is_imported_only_for_requests_with_tools(
    make_model: ModelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(tokens=QWEN_TOKENS)
    for name in ("vllm.tool_parsers", "vllm.entrypoints.openai.chat_completion.protocol"):
        monkeypatch.setitem(sys.modules, name, None)
    model_tools = tools_of(model)
    with pytest.raises(NotSupported, match="tools need vLLM") as refused:
        reader_of(model_tools, TOOLS)
    assert refused.value.field == "tools"
    with pytest.raises(UnusableOption, match="--tool-parser: llama3_json needs vLLM"):
        ModelTools.of(model, parser="llama3_json")


def test_invalid_tool_is_refused_with_its_field(hermes: ModelTools) -> None:
    with pytest.raises(InvalidRequest, match=r"^tools\.1\.function\.name: ") as refused:
        reader_of(hermes, [*TOOLS, {"type": "function", "function": {}}])
    assert refused.value.field == "tools.1.function.name"


def test_tools_are_rendered_by_the_chat_template(make_model: ModelFactory) -> None:
    model = make_model()
    with_tools, without_tools = (f"{start}<|user|>7-3<|end|><|assistant|><think>" for start in ("[add ]", ""))
    assert model.prompt_ids(USER, TOOLS) == model.tokenizer.encode(with_tools)
    for no_tools in (None, []):
        assert model.prompt_ids(USER, no_tools) == model.tokenizer.encode(without_tools)


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("{% if tools %}{{ raise_exception('too many') }}{% endif %}", "too many"),
        ("{% for t in tools %}{{ t.function.strict | tojson }}{% endfor %}", "not JSON serializable"),
    ],
)
def test_tools_that_the_template_refuses_are_an_invalid_request(
    make_model: ModelFactory, template: str, error: str
) -> None:
    model = make_model(template=template + TEMPLATE)
    with pytest.raises(InvalidRequest, match=f"refuses these messages with these tools: .*{error}"):
        model.prompt_ids(USER, TOOLS)


def test_special_tokens_are_kept_on_request(make_model: ModelFactory) -> None:
    tokenizer = make_model(special=MISTRAL_TOKENS).tokenizer
    ids = tokenizer.encode(MISTRAL)
    for keeps_special, text in ((True, MISTRAL), (False, 'add{"a": 1}')):
        stream: Callable[[Sequence[int]], str] = tokenizer.detokenizer(keeps_special=keeps_special).push
        assert "".join([stream([token_id]) for token_id in ids]) == text
        assert tokenizer.decode(ids, keeps_special=keeps_special) == text
