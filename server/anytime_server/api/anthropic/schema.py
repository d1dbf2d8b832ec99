"""Requests of Anthropic's Messages API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictStr, model_validator

from anytime_server.api.anthropic.blocks import TextBlocks, text_of
from anytime_server.api.anthropic.content import Message
from anytime_server.api.anthropic.tools import Tools
from anytime_server.api.anthropic.turns import turns_of
from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.budgets import agreed_budget
from anytime_server.api.schema.field_names import field_names
from anytime_server.api.schema.fields import (
    AnytimeFields,
    AtLeastOne,
    BoundedList,
    Fields,
    JsonObject,
    Temperature,
    Text,
)
from anytime_server.api.schema.ignored import Unserved
from anytime_server.api.schema.messages import Nothing
from anytime_server.api.schema.sampling import RequestSampling
from anytime_server.api.schema.tool_choice import note_strict, tool_choice_of
from anytime_server.api.schema.tools import HostedTool
from anytime_server.engine.constraint import Constraint
from anytime_server.errors import InvalidRequest, NotSupported
from anytime_server.types import GenerateRequest, IgnoredFields, RequestContext

MAX_STOP_SEQUENCES = 16


class ThinkingFields(Fields):
    """Whether to think, and how long."""

    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: AtLeastOne | None = None
    """The most thinking tokens; any number below `max_tokens`. Default: all that `max_tokens` leaves."""
    display: Literal["summarized", "omitted"] | None = None
    """`omitted` leaves the text of the thinking out. It is never summarised."""

    @model_validator(mode="after")
    def _disabled_has_no_number(self) -> ThinkingFields:
        if self.type == "disabled" and self.budget_tokens is not None:
            raise ValueError("has budget_tokens beside the type disabled; give one")
        return self


class JsonOutputFormat(Fields):
    """The form of the answer; the thinking is free."""

    type: Literal["json_schema"]
    schema_: JsonObject = Field(alias="schema")


class OutputConfig(Fields):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    """How long to think where there is no number: a number of tokens, and no more than a share of
    `max_tokens`."""
    format: JsonOutputFormat | None = None
    task_budget: Annotated[Any, Unserved(why="a budget is of one message, not of several")] = None


class ToolChoice(Fields):
    type: Literal["auto", "none", "any", "tool"]
    name: StrictStr | None = None
    disable_parallel_tool_use: StrictBool = False
    """At most one call."""


def _new_thread(value: Any) -> Any:
    """Pass what does not go on from a message that is stored."""
    if isinstance(value, dict) and value.get("type") == "continue":
        raise ValueError("no earlier messages are stored here: send them")
    return value


class Prompt(Fields):
    """The model's input: conversation, system text and tools."""

    model: StrictStr | None = None
    messages: BoundedList[Message] = Field(min_length=1)
    """The conversation. A last turn of the assistant is continued: text, as the beginning of the answer, or
    one thinking block with its signature, which is resumed."""
    system: TextBlocks | None = None
    tools: Tools = Field(default_factory=list)
    """Functions, and Anthropic's tools for a shell, files and memory. Others are left out, and reported."""
    tool_choice: ToolChoice | None = None
    thinking: ThinkingFields | None = None
    """Absent: no thinking, unless `anytime` has a budget or `stop_when.stable`."""
    output_config: OutputConfig | None = None
    output_format: JsonOutputFormat | None = None
    """An earlier name of `output_config.format`."""

    # No effect on what is sampled.
    cache_control: NoEffect = None
    diagnostics: NoEffect = None
    speed: Annotated[Any, Unserved(("standard",))] = None
    user_profile_id: NoEffect = None
    workspace_id: NoEffect = None

    # Known, and reported for values that ask for something.
    context_management: Annotated[Any, Unserved(why="the conversation is taken as it is")] = None
    mcp_servers: Annotated[Any, Unserved()] = None
    thread: Annotated[
        Any, BeforeValidator(_new_thread), Unserved(why="messages are not stored: send all of them")
    ] = None
    compaction: Nothing = None

    @property
    def continued(self) -> str | None:
        """The continuation that the conversation ends with."""
        last = self.messages[-1]
        return last.continuation if last.role == "assistant" else None

    @property
    def last_signature(self) -> str:
        """Field of the last message that a continuation is in."""
        return f"messages.{len(self.messages) - 1}.content.0.signature"

    def turns(self) -> list[dict[str, Any]]:
        """The conversation for the chat template, without thinking to resume.

        Raises:
            InvalidRequest: there is nothing to answer, or it ends with a call.
        """
        messages: Sequence[Message] = self.messages
        last = len(messages) - 1
        asked = last - (messages[last].role == "assistant")
        if asked < 0 or messages[asked].role == "assistant":
            raise InvalidRequest("there is no message to answer", field=f"messages.{last}")
        if messages[asked].is_blank:
            raise InvalidRequest("the prompt is empty", field=f"messages.{asked}.content")
        if self.continued is not None:
            messages = messages[:last]
        elif messages[last].calls_tools:
            raise InvalidRequest("the result of a call must follow it", field=f"messages.{last}.content")
        system = text_of(self.system or ())
        return [*([{"role": "system", "content": system}] if system else []), *turns_of(messages)]

    def tool_fields(self, ignored: IgnoredFields) -> dict[str, Any]:
        """The fields of a `GenerateRequest` about tools.

        Raises:
            InvalidRequest, NotSupported: naming the field.
        """
        given = None if self.tool_choice is None else self.tool_choice.model_dump(exclude_none=True)
        tools = [tool for tool in self.tools if not isinstance(tool, HostedTool)]
        choice = tool_choice_of(given, [tool.name for tool in tools], ignored)
        for position, tool in enumerate(self.tools):
            if not isinstance(tool, HostedTool):
                note_strict(f"tools.{position}.strict", tool, choice, ignored)
        if given is not None and "name" in given and not choice.is_named:
            ignored.add("tool_choice.name", "has no effect with this tool_choice.type")
        is_single = choice.is_named or bool(given and given["disable_parallel_tool_use"])
        return {
            "tools": choice.offered([tool.for_template() for tool in tools]),
            "required_tools": choice.required,
            "max_tool_calls": 1 if is_single else None,
        }

    def to_prompt_request(self, context: RequestContext) -> GenerateRequest:
        """The prompt alone, for counting its tokens.

        Raises:
            NotSupported, InvalidRequest: naming the field.
        """
        if self.continued is not None:
            raise NotSupported("resumed thinking is not counted", field=self.last_signature)
        tools = self.tool_fields(context.ignored)["tools"]
        return GenerateRequest(messages=self.turns(), model=self.model, tools=tools, context=context)


class MessagesRequest(Prompt, RequestSampling):
    """A request for a message.

    Sampling options hold for thinking and answer alike, unless they say otherwise.
    """

    max_tokens: AtLeastOne
    """The most tokens of thinking and answer together; enough of them for an answer are kept for it."""
    temperature: Annotated[Temperature, Field(le=1)] | None = None
    """0 is greedy."""
    stop_sequences: Annotated[
        BoundedList[Annotated[Text, Field(min_length=1)]], Field(max_length=MAX_STOP_SEQUENCES)
    ] = Field(default_factory=list)
    """Texts before which the answer ends."""
    stream: StrictBool = False
    anytime: AnytimeFields | None = None

    metadata: NoEffect = None
    service_tier: NoEffect = None

    container: Annotated[Any, Unserved()] = None
    inference_geo: Annotated[Any, Unserved()] = None

    @property
    def omits_thinking(self) -> bool:
        return self.thinking is not None and self.thinking.display == "omitted"

    def to_generate_request(self, context: RequestContext) -> GenerateRequest:
        """The request in no dialect.

        Raises:
            NotSupported, InvalidRequest: naming the field.
        """
        anytime = self.anytime or AnytimeFields()
        if None not in (anytime.continuation, self.continued):
            raise InvalidRequest(
                f"anytime.continuation and {self.last_signature} both say what to resume; give one",
                field="anytime.continuation",
            )
        budget_tokens, budget_field = self._budget(anytime)
        own = {
            "continuation": self.continued or anytime.continuation,
            "continued_text": None if self.continued is None else self.messages[-1].continued_text,
        }
        return GenerateRequest(
            messages=self.turns(),
            model=self.model,
            budget_tokens=budget_tokens,
            total_tokens=self.max_tokens,
            effort=self.output_config and self.output_config.effort,
            **anytime.generate_fields() | own,
            keeps_room=budget_field == "thinking.budget_tokens",
            **self.sampling(),
            stop=tuple(self.stop_sequences),
            constraint=self._constraint(),
            with_confidence=False,
            **self.tool_fields(context.ignored),
            id_prefix="msg_",
            context=context,
            field_names=field_names(
                stop="stop_sequences",
                messages="messages",
                budget=budget_field,
                effort="output_config.effort",
                total_tokens="max_tokens",
                constraint=f"{self.format_field}.schema",
                schema=f"{self.format_field}.schema",
                tool_parameters="tools.input_schema",
                continuation=None if self.continued is None else self.last_signature,
            ),
        )

    @property
    def format_field(self) -> str:
        """Field that the answer's schema is in."""
        return "output_config.format" if self._formats()[0] else "output_format"

    def _formats(self) -> tuple[JsonOutputFormat | None, JsonOutputFormat | None]:
        return self.output_config and self.output_config.format, self.output_format

    def _constraint(self) -> Constraint | None:
        given = [one for one in self._formats() if one is not None]
        if len(given) == 2 and given[0] != given[1]:
            raise InvalidRequest(
                "output_config.format and output_format differ; give one", field="output_format"
            )
        return Constraint("json_schema", json.dumps(given[0].schema_)) if given else None

    def _budget(self, anytime: AnytimeFields) -> tuple[int | None, str | None]:
        """The budget in tokens, and the field that gives it; None for that of an effort, or of the server.

        Raises:
            InvalidRequest: two numbers differ.
        """
        thinking, effort = self.thinking, self.output_config and self.output_config.effort
        has_own = bool(anytime.budget) or bool(anytime.stop_when and anytime.stop_when.stable is not None)
        numbers: dict[str, int | None] = dict(anytime.budget_fields)
        if thinking is not None and thinking.type == "disabled":
            numbers["thinking.type"] = 0
        elif thinking is not None and thinking.budget_tokens is not None:
            numbers["thinking.budget_tokens"] = thinking.budget_tokens
        elif thinking is None and not has_own:
            numbers["thinking"] = 0
        if numbers or effort is None:
            return agreed_budget(numbers)
        return None, "output_config.effort"
