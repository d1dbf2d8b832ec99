"""Compilation against hand-computed limits: each field of a request is compiled or refused by name.

The prompt has 7 tokens; a truncation inserts 3 + 1 + 8 = 12.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from anytime_server.engine.constraint import Constraint
from anytime_server.errors import AnytimeError, InvalidRequest, NotSupported, UnknownModel
from anytime_server.reasoning import Cause, Forcing, LoopRule, SamplingOptions, TokenLimits
from anytime_server.scheduler.compile import MAX_EARLY_ANSWERS
from anytime_server.session import AnswerOptions, CompiledRequest
from anytime_server.session.continuation import ContinuationSigner
from anytime_server.text.model import Model
from anytime_server.text.prompt import Prompt
from anytime_server.types import GenerateRequest, IgnoredFields, RequestContext, StopWhen

from .conftest import MESSAGES, START_IDS, request

ANY_JSON = Constraint("json_schema", "{}")
PROMPT_IDS = [257, 22, 12, 18, 259, 258, 260]
TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(
    ("stops_loops", "requested", "rule"),
    [
        (False, None, None),
        (True, None, LoopRule()),
        (True, False, None),
        (False, LoopRule(repeats=9), LoopRule(repeats=9)),
        (True, LoopRule(repeats=9), LoopRule(repeats=9)),
    ],
)
async def test_request_overrides_the_servers_choice_about_loops(
    compiler_of: Callable[..., Any], stops_loops: bool, requested: Any, rule: LoopRule | None
) -> None:
    compiler = await compiler_of(stops_loops=stops_loops)
    assert (await compiler.compile(request(stop_loop=requested))).stop_loop == rule


async def test_every_field_reaches_the_session(compiler_of: Callable[..., Any]) -> None:
    context, stop_when = RequestContext(), StopWhen(stable=3, every_tokens=4, min_confidence=0.5)
    compiled = await (await compiler_of()).compile(
        request(
            budget_tokens=40,
            deadline_s=2.5,
            answer_tokens=20,
            total_tokens=70,
            budgets=(8, 16),
            stop_when=stop_when,
            thinking=SamplingOptions(temperature=0.3, top_k=4),
            answer=SamplingOptions(top_p=0.7, min_tokens=2),
            skip_special_tokens=False,
            forcing=Forcing.CLOSE,
            stop=("x", "y"),
            top_logprobs=3,
            seed=9,
            id_prefix="chatcmpl-",
            context=context,
        )
    )
    assert compiled == CompiledRequest(
        id=compiled.id,
        prompt=Prompt(ids=PROMPT_IDS, is_open=True, num_opener_tokens=1),
        signed_prompt_ids=PROMPT_IDS,
        limits=TokenLimits(
            budget_tokens=40,
            max_budget_tokens=70 - 20,
            max_budget_cause=Cause.BUDGET,
            answer_tokens=20,
            max_answer_tokens=20,
            total_tokens=70,
            room_tokens=512 - 7 - 12,
            deadline_s=2.5,
            cause=Cause.BUDGET,
        ),
        budgets=(8, 16),
        stop_when=stop_when,
        max_early_answers=4,
        thinking=SamplingOptions(temperature=0.3, top_p=0.95, top_k=4),
        answer=AnswerOptions(
            sampling=SamplingOptions(temperature=0.0, top_p=0.7, min_tokens=2),
            skip_special_tokens=False,
            forcing=Forcing.CLOSE,
            stop=("x", "y"),
            top_logprobs=3,
            with_confidence=True,
            tool_parser=None,
        ),
        seed=9,
        context=context,
    )
    assert compiled.context is context


async def test_ids_have_the_prefix_and_are_unique(compiler_of: Callable[..., Any]) -> None:
    compiler = await compiler_of()
    ids = [(await compiler.compile(request(id_prefix="chatcmpl-"))).id for _ in range(3)]
    assert all(len(session_id.removeprefix("chatcmpl-")) == 32 for session_id in ids)
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("budgets", "probes", "max_early_answers"),
    [((), False, 0), ((1,), False, 1), ((), True, 2), ((1,), True, 3), ((1, 2), True, 4)]
    + [(tuple(range(9)), probes, MAX_EARLY_ANSWERS) for probes in (False, True)],
)
async def test_concurrent_early_answers_follow_budgets_and_probes(
    compiler_of: Callable[..., Any], budgets: tuple[int, ...], probes: bool, max_early_answers: int
) -> None:
    stop_when = StopWhen(stable=2, every_tokens=8) if probes else None
    compiled = await (await compiler_of()).compile(request(budgets=budgets, stop_when=stop_when))
    assert compiled.max_early_answers == max_early_answers


@pytest.mark.parametrize(
    ("requested", "min_confidence", "reported"),
    [(True, None, True), (False, None, False), (False, 0.0, False), (False, 0.5, True)],
)
async def test_confidence_is_computed_if_requested_or_compared(
    compiler_of: Callable[..., Any], requested: bool, min_confidence: float | None, reported: bool
) -> None:
    stop_when = None
    if min_confidence is not None:
        stop_when = StopWhen(stable=2, every_tokens=8, min_confidence=min_confidence)
    compiled = await (await compiler_of()).compile(request(with_confidence=requested, stop_when=stop_when))
    assert compiled.answer.with_confidence is reported


async def test_answers_that_may_call_tools_have_no_lead_in_unless_requested(
    compiler_of: Callable[..., Any],
) -> None:
    compiler = await compiler_of(tools=True)
    plain = await compiler.compile(request())
    assert (plain.answer.forcing, plain.answer.tool_parser) == (Forcing.FORCE, None)
    assert plain.tool_start_ids == frozenset()
    calling = await compiler.compile(request(tools=TOOLS, max_tool_calls=2))
    assert calling.answer.forcing is Forcing.CLOSE
    assert (calling.tool_start_ids, calling.answer.tool_parser.max_calls) == (START_IDS, 2)
    forced = await compiler.compile(request(tools=TOOLS, forcing=Forcing.FORCE))
    assert forced.answer.forcing is Forcing.FORCE


@pytest.mark.parametrize("kind", ["constraint", "tools"])
@pytest.mark.parametrize(
    ("window_tokens", "fields", "answer_tokens"),
    [
        (512, {}, 128),  # a quarter of the window
        (2048, {}, 256),
        (512, {"answer_tokens": 3}, 3),
        (512, {"total_tokens": 100}, 50),  # half of the total
        (512, {"total_tokens": 100, "budget_tokens": 70}, 30),  # what the thinking leaves
        (512, {"total_tokens": 100, "budget_tokens": 95}, 12),  # the manifest's, which is more
        (512, {"total_tokens": 400}, 128),
    ],
)
async def test_structured_answers_get_more_room(
    compiler_of: Callable[..., Any],
    kind: str,
    window_tokens: int,
    fields: dict[str, Any],
    answer_tokens: int,
) -> None:
    structure: dict[str, Any] = {"constraint": ANY_JSON} if kind == "constraint" else {"tools": TOOLS}
    compiler = await compiler_of(tools=True, window_tokens=window_tokens)
    assert (await compiler.compile(request(**structure, **fields))).limits.answer_tokens == answer_tokens


@pytest.mark.parametrize(
    ("window_tokens", "requested", "answer_tokens"), [(512, None, 12), (40, None, 10), (40, 12, 12)]
)
async def test_plain_answers_get_the_manifests_room_within_a_quarter_of_the_window(
    compiler_of: Callable[..., Any], window_tokens: int, requested: int | None, answer_tokens: int
) -> None:
    compiled = await (await compiler_of(window_tokens=window_tokens)).compile(
        request(answer_tokens=requested)
    )
    assert compiled.limits.answer_tokens == answer_tokens
    assert compiled.limits.budget_tokens == window_tokens - 7 - 12 - answer_tokens


@pytest.mark.parametrize(
    ("fields", "answer_tokens", "budget_tokens"),
    [
        # 512 - 7 - 12 = 493 for both; 12 tokens are expected, and are the reserve.
        ({}, 12, 481),
        ({"answer": SamplingOptions(min_tokens=40)}, 40, 453),
        ({"budget_tokens": 460, "answer": SamplingOptions(min_tokens=40)}, 40, 453),
        ({"budget_tokens": 90, "total_tokens": 102}, 12, 90),
        ({"budget_tokens": 100, "total_tokens": 102, "lowers_budget": True}, 12, 90),
        # A small total: half of it, rounded up, is the answer's.
        ({"total_tokens": 11}, 6, 5),
        ({"total_tokens": 1}, 1, 0),
        ({"total_tokens": 50, "answer": SamplingOptions(min_tokens=40)}, 40, 10),
    ],
)
async def test_budget_leaves_the_answer_what_it_needs(
    compiler_of: Callable[..., Any], fields: dict[str, Any], answer_tokens: int, budget_tokens: int
) -> None:
    compiler = await compiler_of()
    compiler.fit(request(**fields))
    limits = (await compiler.compile(request(**fields))).limits
    assert (limits.answer_tokens, limits.budget_tokens) == (answer_tokens, budget_tokens)


async def test_long_answers_are_expected_but_an_explicit_budget_leaves_16_tokens(
    compiler_of: Callable[..., Any],
) -> None:
    """The JSON would get 128 of 512."""
    compiler = await compiler_of()
    for budget, left in ((400, 93), (477, 16), (478, 16)):
        limits = (await compiler.compile(request(constraint=ANY_JSON, budget_tokens=budget))).limits
        assert (limits.budget_tokens, limits.answer_limit(limits.budget_tokens)) == (493 - left, left)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"budget_tokens": 91}, r"^effort \(91\) leaves 11 tokens of most \(102\) .* at least 12$"),
        ({"budget_tokens": 500}, "leaves 0 tokens"),
        ({"budget_tokens": 63, "answer": SamplingOptions(min_tokens=40)}, "at least 40$"),
    ],
)
async def test_budget_that_leaves_the_answer_too_little_is_refused_naming_both_fields(
    compiler_of: Callable[..., Any], fields: dict[str, Any], message: str
) -> None:
    compiler = await compiler_of()
    names = {"budget": "effort", "total_tokens": "most"}
    with pytest.raises(InvalidRequest, match=message) as refused:
        compiler.fit(request(**fields, total_tokens=102, field_names=names))
    assert refused.value.field == "budget"


async def test_early_budgets_reach_as_far_as_the_thinking_may(compiler_of: Callable[..., Any]) -> None:
    compiler = await compiler_of()
    assert (await compiler.compile(request(budgets=(3, 9), budget_tokens=9))).budgets == (3, 9)
    assert (await compiler.compile(request(budgets=(3, 512)))).budgets == (3, 512)
    for invalid, message in [
        (request(budgets=(3, 5, 10), budget_tokens=9), "10 is more than the budget"),
        (request(budgets=(3, 513)), "513 is more than the model's window"),
    ]:
        with pytest.raises(InvalidRequest, match=message) as refused:
            await compiler.compile(invalid)
        assert refused.value.field == "budgets"


async def test_resumed_thinking_takes_room_and_must_be_what_was_signed(
    compiler_of: Callable[..., Any], tiny_model: Model
) -> None:
    compiler = await compiler_of()
    thinking = tuple(tiny_model.tokenizer.encode("1+1=2, "))
    signer = ContinuationSigner(b"k" * 32, model="tiny", fingerprint="f")
    token = signer.sign(PROMPT_IDS, thinking, ended=False)
    for text in (None, "1+1=2, ", "=2, ", " 2,\n"):
        compiled = await compiler.compile(request(continuation=token, continued_text=text))
        assert compiled.carried_ids == thinking
        assert compiled.limits.budget_tokens == 512 - 7 - len(thinking) - 12 - 12
    with pytest.raises(InvalidRequest, match="not what was signed") as refused:
        await compiler.compile(request(continuation=token, continued_text="1+1=3"))
    assert refused.value.field == "continuation"


async def test_schema_that_the_engine_refuses_is_named(compiler_of: Callable[..., Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await (await compiler_of()).compile(request(constraint=Constraint("json_schema", "[]")))
    assert refused.value.field == "answer.constraint"


@pytest.mark.parametrize(
    ("fields", "error", "field", "message"),
    [
        ({"model": "other"}, UnknownModel, "model", "no model 'other' is served here, only 'tiny'"),
        ({"messages": []}, InvalidRequest, "messages", "must not be empty"),
        ({"budget_tokens": 513}, InvalidRequest, "budget", "window of 512"),
        ({"total_tokens": 600, "budget_tokens": 601}, InvalidRequest, "budget", "window of 512"),
        ({"tools": TOOLS, "required_tools": ("other",)}, InvalidRequest, "tool_choice", "no tool 'other'"),
    ],
)
async def test_request_that_can_never_be_served_is_refused_before_it_is_compiled(
    compiler_of: Callable[..., Any],
    fields: dict[str, Any],
    error: type[AnytimeError],
    field: str,
    message: str,
) -> None:
    compiler = await compiler_of(tools=True)
    arguments: dict[str, Any] = {"messages": MESSAGES} | fields
    with pytest.raises(error, match=message) as refused:
        compiler.fit(GenerateRequest(**arguments))
    assert refused.value.field == field


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": TOOLS},
        {"constraint": ANY_JSON},
        {"model": "tiny"},
        {"tools": TOOLS, "constraint": ANY_JSON},
    ],
)
async def test_request_that_may_be_served_passes(
    compiler_of: Callable[..., Any], fields: dict[str, Any]
) -> None:
    (await compiler_of(tools=True)).fit(request(**fields, budget_tokens=500, total_tokens=512))


async def test_limit_over_the_window_is_the_window_and_reported(compiler_of: Callable[..., Any]) -> None:
    compiler = await compiler_of()
    names = {"total_tokens": "max_tokens", "budget": "thinking.budget_tokens"}
    for fields, expected, ignored in [
        ({"total_tokens": 512}, (512, None), []),
        ({"total_tokens": 513}, (None, None), ["max_tokens"]),
        ({"total_tokens": 10**6, "budget_tokens": 512}, (None, 512), ["max_tokens"]),
        ({"total_tokens": 600, "budget_tokens": 599}, (None, None), ["max_tokens", "thinking.budget_tokens"]),
    ]:
        asked = request(**fields, field_names=names, context=RequestContext())
        fitted = compiler.fit(asked)
        assert (fitted.total_tokens, fitted.budget_tokens) == expected
        assert asked.context.ignored.fields == ignored


async def test_strict_server_refuses_a_limit_over_the_window(compiler_of: Callable[..., Any]) -> None:
    context = RequestContext(ignored=IgnoredFields(is_strict=True))
    with pytest.raises(NotSupported, match="window of 512"):
        (await compiler_of()).fit(request(total_tokens=513, context=context))


async def test_tools_are_refused_where_the_model_calls_none(compiler_of: Callable[..., Any]) -> None:
    with pytest.raises(NotSupported, match="template takes no tools") as refused:
        (await compiler_of()).fit(request(tools=TOOLS))
    assert refused.value.field == "tools"
