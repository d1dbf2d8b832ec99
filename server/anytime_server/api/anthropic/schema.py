"""Requests of Anthropic's Messages API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictStr, model_validator

from anytime_server.api.anthropic.blocks import TextBlocks, text_of
from anytime_server.api.anthropic.content import Message
from anytime_server.api.anthropic.tools import ServerTool, Tools
from anytime_server.api.anthropic.turns import turns_of
from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.budgets import SHARES, agreed_budget, is_effort
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
from anytime_server.api.schema.sampling import OWN_NAMES, RequestSampling
from anytime_server.errors import InvalidRequest, NotSupported
from anytime_server.types import GenerateRequest, RequestContext

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
    """Share of `max_tokens` that adaptive thinking may have."""
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
    """The conversation. Thinking alone as the assistant's last turn is resumed."""
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
            InvalidRequest: there is nothing to answer, or it ends with a part of the answer.
        """
        messages: Sequence[Message] = self.messages
        last = len(messages) - 1
        if self.continued is not None:
            messages, last = messages[:last], last - 1
        elif messages[last].role == "assistant":
            raise InvalidRequest(
                "the assistant's turn as the last message is not served, unless it is one thinking block "
                "with its signature, which is resumed",
                field=f"messages.{last}",
            )
        if not messages or messages[last].role == "assistant":
            raise InvalidRequest("there is no message to think about", field=f"messages.{last + 1}")
        if messages[last].is_blank:
            raise InvalidRequest("the prompt is empty", field=f"messages.{last}.content")
        system = text_of(self.system or ())
        return [*([{"role": "system", "content": system}] if system else []), *turns_of(messages)]

    def offered_tools(self) -> list[dict[str, Any]]:
        """Functions that the model may call, as chat templates take them.

        Raises:
            NotSupported: a call is required.
        """
        choice = self.tool_choice
        if choice is not None and choice.type in ("any", "tool"):
            raise NotSupported(f"tool_choice.type: {choice.type} is not served", field="tool_choice.type")
        if choice is not None and choice.name is not None:
            raise InvalidRequest("is not taken with this tool_choice.type", field="tool_choice.name")
        if choice is not None and choice.type == "none":
            return []
        return [tool.for_template() for tool in self.tools if not isinstance(tool, ServerTool)]

    def to_prompt_request(self, context: RequestContext) -> GenerateRequest:
        """The prompt alone, for counting its tokens.

        Raises:
            NotSupported, InvalidRequest: naming the field.
        """
        if self.continued is not None:
            raise NotSupported("resumed thinking is not counted", field=self.last_signature)
        return GenerateRequest(
            messages=self.turns(), model=self.model, tools=self.offered_tools(), context=context
        )


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

    @property
    def max_tool_calls(self) -> int | None:
        """The most tool calls of one message; None for no limit."""
        return 1 if self.tool_choice is not None and self.tool_choice.disable_parallel_tool_use else None

    def to_generate_request(self, context: RequestContext, *, window_tokens: int) -> GenerateRequest:
        """The request in no dialect.

        Args:
            window_tokens: the model's context length, which an effort is a share of at most.

        Raises:
            NotSupported, InvalidRequest: naming the field.
        """
        anytime = self.anytime or AnytimeFields()
        if None not in (anytime.continuation, self.continued):
            raise InvalidRequest(
                f"anytime.continuation and {self.last_signature} both say what to resume; give one",
                field="anytime.continuation",
            )
        json_schema = self._json_schema()
        budget_tokens, budget_field = self._budget(anytime, window_tokens)
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
            is_budget_a_share=is_effort(budget_field),
            keeps_room=budget_field == "thinking.budget_tokens",
            **self.sampling(),
            stop=tuple(self.stop_sequences),
            json_schema=json_schema,
            with_confidence=False,
            tools=self.offered_tools(),
            max_tool_calls=self.max_tool_calls,
            id_prefix="msg_",
            context=context,
            field_names={
                **OWN_NAMES,
                "budget": budget_field or "anytime.budget",
                "effort": "output_config.effort",
                "total_tokens": "max_tokens",
                "answer.max_tokens": "max_tokens",
                "answer.response_format": self.format_field,
                "answer.json_schema": f"{self.format_field}.schema",
                "continuation": "anytime.continuation" if self.continued is None else self.last_signature,
            },
        )

    @property
    def format_field(self) -> str:
        """Field that the answer's schema is in."""
        return "output_config.format" if self._formats()[0] else "output_format"

    def _formats(self) -> tuple[JsonOutputFormat | None, JsonOutputFormat | None]:
        return self.output_config and self.output_config.format, self.output_format

    def _json_schema(self) -> str | None:
        given = [one for one in self._formats() if one is not None]
        if len(given) == 2 and given[0] != given[1]:
            raise InvalidRequest(
                "output_config.format and output_format differ; give one", field="output_format"
            )
        return json.dumps(given[0].schema_) if given else None

    def _budget(self, anytime: AnytimeFields, window_tokens: int) -> tuple[int | None, str | None]:
        """The budget in tokens, None for all that `max_tokens` leaves, and the field that gives it.

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
        return int(SHARES[effort] * min(self.max_tokens, window_tokens)), "output_config.effort"
