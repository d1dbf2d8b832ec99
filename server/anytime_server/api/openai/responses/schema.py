"""Requests of the Responses API."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictInt, StrictStr

from anytime_server.api.openai.responses.dialogue import Conversation, dialogue_of
from anytime_server.api.openai.responses.input import Items
from anytime_server.api.openai.responses.tools import FunctionTool, Toolbox, Tools
from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.budgets import BudgetAliases, ReasoningFields, is_unlimited
from anytime_server.api.schema.field_names import field_names
from anytime_server.api.schema.fields import (
    AnytimeFields,
    AtLeastOne,
    BoundedList,
    Fields,
    JsonObject,
    Text,
    few_fields,
    written_again,
)
from anytime_server.api.schema.ignored import Unserved
from anytime_server.api.schema.messages import Nothing
from anytime_server.api.schema.response_format import ResponseFormat
from anytime_server.api.schema.sampling import RequestSampling
from anytime_server.api.schema.tool_choice import ToolChoice, note_strict, tool_choice_of
from anytime_server.engine.base import MAX_TOP_LOGPROBS
from anytime_server.engine.constraint import Constraint
from anytime_server.errors import InvalidRequest
from anytime_server.types import GenerateRequest, IgnoredFields, RequestContext

ENCRYPTED, LOGPROBS = "reasoning.encrypted_content", "message.output_text.logprobs"


def _returnable(choice: Any) -> Any:
    return written_again(choice) if isinstance(choice, dict) else choice


class ResponsesReasoning(ReasoningFields):
    """How to think."""

    summary: Literal["auto", "concise", "detailed", "none"] | None = None
    """Any but `none` puts the thinking into the item's `summary`, instead of its `content`. It is not
    shortened."""
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    """The older name of `summary`."""
    context: Annotated[
        Any, Unserved(("auto",), "the chat template chooses what the model sees of earlier thinking")
    ] = None
    mode: Annotated[Any, Unserved(("standard",))] = None

    @property
    def wanted_summary(self) -> str | None:
        """The kind of summary that is wanted; None for none."""
        wanted = self.summary or self.generate_summary
        return None if wanted == "none" else wanted


class TextFormat(Fields):
    """The form that the answer must have; the thinking is free."""

    type: Literal["text", "json_object", "json_schema"]
    name: Text | None = None
    description: Text | None = None
    schema_: JsonObject | None = Field(default=None, alias="schema")
    strict: StrictBool | None = None

    @property
    def constraint(self) -> Constraint | None:
        """The constraint of the answer; None for any text.

        Raises:
            InvalidRequest: a field is missing, or there that belongs to another type.
        """
        given = self.model_dump(by_alias=True, exclude={"type"}, exclude_none=True)
        if self.type != "json_schema":
            for field in given:
                raise InvalidRequest(
                    f"text.format.{field}: only for the type json_schema", field=f"text.format.{field}"
                )
            return ResponseFormat(type=self.type).constraint
        for field in ("name", "schema"):
            if field not in given:
                raise InvalidRequest(f"text.format.{field}: field required", field=f"text.format.{field}")
        return ResponseFormat.model_validate({"type": self.type, "json_schema": given}).constraint


class TextFields(Fields):
    """How the answer is to be written."""

    format: TextFormat | None = None
    verbosity: Annotated[Any, Unserved(("medium",))] = None


class ResponsesStreamOptions(Fields):
    include_obfuscation: StrictBool = False
    """Taken, but there is none."""


class ResponsesRequest(BudgetAliases, RequestSampling):
    """A request for a response; every alias of the thinking budget is understood.

    Sampling options hold for thinking and answer alike, unless they say otherwise.
    """

    model: StrictStr | None = None
    input: Items
    instructions: Text | None = None
    """Becomes the system message before the input."""
    max_output_tokens: AtLeastOne | None = None
    """The most tokens of thinking and answer together; enough of them for an answer are kept for it.
    Without it, an answer may have all that the window leaves."""
    reasoning: ResponsesReasoning | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    text: TextFields = Field(default_factory=TextFields)
    stream: StrictBool | None = None
    stream_options: ResponsesStreamOptions | None = None
    include: BoundedList[StrictStr] | None = None
    """Further content to return: `reasoning.encrypted_content` and `message.output_text.logprobs`. Others
    have no content here."""
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    tools: Tools | None = None
    """Functions, custom tools and namespaces of both. Others are left out, and reported."""
    parallel_tool_calls: StrictBool | None = None
    """False: one call at most."""
    metadata: Annotated[dict[Text, Text], Field(max_length=16), BeforeValidator(few_fields)] | None = None
    """Returned with the response."""
    anytime: AnytimeFields | None = None

    store: StrictBool | None = None
    """False does not store the response. Default: it is stored, where the server stores any."""
    background: StrictBool | None = None
    """Answer at once, and think on after the client has left; needs a response that is stored."""
    previous_response_id: Text | None = None
    """A stored response, whose conversation comes before the input. Its `instructions` do not."""

    # No effect on what is sampled.
    client_metadata: NoEffect = None
    user: Text | None = None
    safety_identifier: Text | None = None
    prompt_cache_key: Text | None = None
    prompt_cache_options: NoEffect = None
    prompt_cache_retention: NoEffect = None
    service_tier: NoEffect = None
    max_tool_calls: AtLeastOne | None = None
    """Limits tools that a server runs by itself; this server has none."""

    tool_choice: Annotated[Any, AfterValidator(_returnable)] = None
    """`auto`; `none`: the model does not see the tools; `required`, a tool, or some: it must call one."""
    conversation: Nothing = None
    prompt: Nothing = None

    # Known, and reported for values that ask for something.
    truncation: Annotated[
        Any, Unserved(("disabled",), "an input that is too long is refused, not truncated")
    ] = None
    context_management: Annotated[Any, Unserved(why="the input is taken as it is")] = None
    moderation: Annotated[Any, Unserved()] = None

    @property
    def shows_thinking(self) -> bool:
        return not (self.reasoning is not None and self.reasoning.exclude)

    @property
    def shows_continuation(self) -> bool:
        """Whether the thinking carries what it can be continued from."""
        return ENCRYPTED in (self.include or ())

    @property
    def summarises_thinking(self) -> bool:
        """Whether the thinking is sent as a summary: the form that agents show."""
        return self.reasoning is not None and self.reasoning.wanted_summary is not None

    @cached_property
    def toolbox(self) -> Toolbox:
        """The tools, those that the input adds among them."""
        return Toolbox([*(self.tools or ()), *(tool for item in self.input for tool in item.more_tools)])

    def chosen_tools(self, ignored: IgnoredFields) -> ToolChoice:
        """The meaning of `tool_choice` for the tools.

        Raises:
            InvalidRequest, NotSupported: naming the field.
        """
        choice = tool_choice_of(self.tool_choice, self.toolbox.names, ignored)
        for position, tool in enumerate(self.tools or ()):
            if isinstance(tool, FunctionTool):
                note_strict(f"tools.{position}.strict", tool, choice, ignored)
        return choice

    @property
    def _answer_logprobs(self) -> int | None:
        """Alternatives to report of each token of the answer; None reports no tokens."""
        if LOGPROBS not in (self.include or ()):
            return None
        return self.top_logprobs or 0

    def to_generate_request(
        self, context: RequestContext, *, conversation: Conversation | None = None
    ) -> GenerateRequest:
        """The request in no dialect.

        Args:
            conversation: the input together with what is stored of it; by default nothing is.

        Raises:
            NotSupported, InvalidRequest: naming the field.
        """
        choice = self.chosen_tools(context.ignored)
        tools = choice.offered(self.toolbox.for_template())
        self._note_ignored(context.ignored, has_tools=bool(tools))
        anytime = self.anytime or AnytimeFields()
        dialogue = dialogue_of(
            conversation or Conversation(items=self.input),
            instructions=self.instructions,
            toolbox=self.toolbox,
        )
        if None not in (dialogue.continuation, anytime.continuation):
            raise InvalidRequest(
                f"{dialogue.continuation_field} and anytime.continuation: give one",
                field="anytime.continuation",
            )
        budget_tokens, budget_field = budget = self.budget(more=anytime.budget_fields)
        return GenerateRequest(
            messages=dialogue.turns,
            model=self.model,
            budget_tokens=budget_tokens,
            is_unlimited=is_unlimited(budget),
            total_tokens=self.max_output_tokens,
            **self.template_fields,
            **anytime.generate_fields() | {"continuation": dialogue.continuation or anytime.continuation},
            **self.sampling(),
            constraint=self.text.format and self.text.format.constraint,
            top_logprobs=None if tools else self._answer_logprobs,
            with_confidence=False,
            tools=tools,
            required_tools=choice.required,
            max_tool_calls=1 if choice.is_named or self.parallel_tool_calls is False else None,
            id_prefix="resp_",
            context=context,
            field_names=field_names(
                messages="input",
                budget=budget_field,
                effort=self.effort_field,
                total_tokens="max_output_tokens",
                constraint="text.format.schema",
                schema="text.format.schema",
                tool_parameters="tools.parameters",
                continuation=dialogue.continuation_field,
            ),
        )

    def _note_ignored(self, ignored: IgnoredFields, *, has_tools: bool) -> None:
        include = self.include or ()
        if self.top_logprobs and LOGPROBS not in include:
            ignored.add("top_logprobs", f"needs {LOGPROBS} in include")
        if ENCRYPTED in include and not self.shows_thinking:
            ignored.add(
                "include", f"{ENCRYPTED} is of the reasoning item, which reasoning.exclude leaves out"
            )
        if has_tools and LOGPROBS in include:
            ignored.add("include", f"{LOGPROBS} is not served beside tools")
