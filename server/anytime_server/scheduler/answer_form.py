"""The form of an answer: the constraint of its tokens, the check of its text, the reader of its calls."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from anytime_server.engine.constraint import Constraint, Enforced
from anytime_server.engine.structured.grammar import with_calls
from anytime_server.errors import InvalidRequest, NotSupported
from anytime_server.session import Runtime
from anytime_server.session.answer_check import AnswerCheck, CheckedSchema
from anytime_server.text.json_calls import JsonCalls
from anytime_server.text.tool_calls import CallParser, ModelTools, ToolCallParser
from anytime_server.types import GenerateRequest

ARGUMENTS_FIELD = "tools.parameters"
"""Neutral path of the schema of a function's arguments, `tools` standing for one of them by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerForm:
    """The form of one request's answers."""

    constraint: Constraint | None = None
    """A constraint that the engine enforces."""
    check: AnswerCheck | None = None
    tool_parser: CallParser | None = None

    @property
    def may_call_in_own_syntax(self) -> bool:
        """Whether the answer may have calls in the syntax of the model's family."""
        return self.tool_parser is not None and self.tool_parser.in_own_syntax


class AnswerFormResolver:
    """Resolves the forms of answers of one model on one engine, which has started."""

    def __init__(self, runtime: Runtime, tools: ModelTools | None) -> None:
        """
        Args:
            tools: how the model calls tools; None where that is not known.
        """
        self._runtime = runtime
        self._tools = tools

    def check(self, request: GenerateRequest) -> None:
        """Pass unless the model cannot call the tools.

        Raises:
            NotSupported, InvalidRequest: it cannot; names the field by its neutral path.
        """
        names = [tool["function"]["name"] for tool in request.tools]
        for name in request.required_tools:
            if name not in names:
                raise InvalidRequest(f"there is no tool {name!r}", field="tool_choice")
        if request.required_tools:
            self._note_ignored(request)
        if not request.tools or self._tools is not None:
            return
        if not self._runtime.model.takes_tools:
            raise NotSupported("the model's chat template takes no tools", field="tools")
        if not request.required_tools:  # whose calls are JSON
            raise NotSupported(
                "the format of this model's tool calls is not known: give --tool-parser to the server",
                field="tools",
            )

    def _note_ignored(self, request: GenerateRequest) -> None:
        """Report what has no effect beside a call that is required."""
        if request.constraint is not None:
            request.ignore("answer.constraint", "a call is required")
        if request.stop:
            request.ignore("stop", "a call is required, which ends by itself")

    async def resolve(self, request: GenerateRequest) -> AnswerForm:
        """The form of a request's answer.

        Raises:
            InvalidRequest: no answer can have it; names the field by its neutral path.
            NotSupported: the same, of this model or engine, or the server is strict.
        """
        if request.required_tools:
            return await self._calls(request, answer=None)
        if request.constraint is None:
            return AnswerForm(tool_parser=await self._parser(request))
        if request.tools:
            return await self._calls_or_answer(request, request.constraint)
        enforced = await self._enforced(request, request.constraint)
        return AnswerForm(constraint=enforced.constraint, check=_check_of_answer(request, enforced))

    async def _calls_or_answer(self, request: GenerateRequest, constraint: Constraint) -> AnswerForm:
        parser = await self._parser(request)
        assert parser is not None
        if constraint.kind == "grammar":
            # Its rules could have the names of ours.
            request.ignore("tools", "no tool can be called beside a grammar")
            enforced = await self._enforced(request, constraint)
            return AnswerForm(constraint=enforced.constraint)
        model = self._runtime.model
        if parser.format is not None and not model.family.channels:
            enforced = await self._enforced(request, constraint)
            start = parser.format.start
            either = with_calls(
                enforced.constraint,
                start=start,
                start_id=model.tokenizer.token_id(start),
                excluded_id=self._token_of_no_call(),
            )
            return AnswerForm(
                constraint=(await self._enforced(request, either)).constraint,
                check=_check_of_answer(request, enforced),
                tool_parser=parser,
            )
        if constraint.kind == "json_schema":
            return await self._calls(request, answer=constraint)
        request.ignore("tools", f"no tool can be called beside a {constraint.title}")
        enforced = await self._enforced(request, constraint)
        return AnswerForm(constraint=enforced.constraint)

    def _token_of_no_call(self) -> int:
        """A token that the model's calls never have."""
        reasoning, tokenizer = self._runtime.model.reasoning, self._runtime.model.tokenizer.hugging_face
        ids = (
            reasoning.think_start_id,
            reasoning.think_end_id,
            tokenizer.pad_token_id,
            tokenizer.bos_token_id,
        )
        # Without any special token, the last is one of those that are hardly ever used.
        return next((i for i in ids if isinstance(i, int) and i not in reasoning.eos_ids), len(tokenizer) - 1)

    async def _calls(self, request: GenerateRequest, *, answer: Constraint | None) -> AnswerForm:
        """Calls as JSON of our own, or an answer in JSON."""
        names = request.required_tools or tuple(tool["function"]["name"] for tool in request.tools)
        calls = JsonCalls(
            request.tools,
            tuple(dict.fromkeys(names)),
            max_calls=request.max_tool_calls,
            answer_schema=None if answer is None else json.loads(answer.text),
            start_ids=self._tools.start_ids if self._tools is not None else frozenset(),
        )
        enforced = await self._enforced(request, Constraint("json_schema", calls.json_schema), calls)
        for name, place in map(calls.name_of, enforced.left_out):
            if name is not None and place == "#":
                field = _field_of_arguments(request, name)
                raise InvalidRequest(f"{field}: the schema cannot be enforced", field=field)
        if enforced.is_exact:
            return AnswerForm(constraint=enforced.constraint, tool_parser=calls)
        check = AnswerCheck(
            answer=None if answer is None else CheckedSchema(answer.text, _field_of_schema(request)),
            arguments={
                name: CheckedSchema(json.dumps(schema), _field_of_arguments(request, name))
                for name, schema in calls.parameters.items()
            },
        )
        return AnswerForm(constraint=enforced.constraint, check=check, tool_parser=calls)

    async def _parser(self, request: GenerateRequest) -> ToolCallParser | None:
        if not request.tools:
            return None
        assert self._tools is not None
        # In a thread: the first parser imports vLLM's.
        return await asyncio.to_thread(
            ToolCallParser, self._tools, request.tools, max_calls=request.max_tool_calls
        )

    async def _enforced(
        self, request: GenerateRequest, constraint: Constraint, calls: JsonCalls | None = None
    ) -> Enforced:
        """The part of a constraint that the engine enforces; keywords that nobody can check are reported.

        Raises:
            InvalidRequest, NotSupported: as `resolve()`.
        """
        if constraint is request.constraint and constraint.kind == "grammar" and "<[" in constraint.text:
            # vLLM would write beyond its logits where every token is allowed; see `with_calls()`.
            raise InvalidRequest("a grammar must not name tokens by their ids", field="answer.constraint")
        try:
            enforced = await self._runtime.engine.enforced(constraint)
        except InvalidRequest as error:
            error.field = "tools" if request.required_tools else "answer.constraint"
            raise
        ignored = request.context.ignored
        for pointer in enforced.left_out if ignored.is_strict else enforced.unknown:
            name, place = (None, pointer) if calls is None else calls.name_of(pointer)
            field = _field_of_schema(request) if name is None else _field_of_arguments(request, name)
            ignored.add_keyword(CheckedSchema("", field).field_of(place), "is not enforced")
        return enforced


def _check_of_answer(request: GenerateRequest, enforced: Enforced) -> AnswerCheck | None:
    assert request.constraint is not None
    if enforced.is_exact:
        return None
    return AnswerCheck(answer=CheckedSchema(request.constraint.text, _field_of_schema(request)))


def _field_of_schema(request: GenerateRequest) -> str:
    return request.name_of("answer.schema") or ""


def _field_of_arguments(request: GenerateRequest, name: str) -> str:
    return (request.name_of(ARGUMENTS_FIELD) or "").replace("tools", f"tools.{name}", 1)
