"""A chat completion as it is asked for: OpenAI's fields, and those of other servers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from anytime_server.api.openapi import NoEffect, Refused
from anytime_server.api.schema.budgets import BudgetAliases
from anytime_server.api.schema.fields import (
    MAX_TOOLS,
    AnytimeFields,
    AtLeastOne,
    Fields,
    ResponseFormat,
    Seed,
    Temperature,
    Text,
    TopP,
    sampling,
)
from anytime_server.api.schema.messages import Conversation
from anytime_server.api.schema.tools import ToolFields
from anytime_server.engine.base import MAX_TOP_LOGPROBS
from anytime_server.errors import InvalidRequest, NotSupported
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.types import GenerateRequest, RequestContext

MAX_CHOICES = 16
MAX_STOPS = 16

NOT_SERVED = {
    "tool_choice": (None, "none", "auto"),
    "logit_bias": (None, {}),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "repetition_penalty": (None, 1),
    "top_k": (None, -1, 0),
    "min_p": (None, 0),
    "verbosity": (None, "medium"),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "functions": (None, []),
    "function_call": (None, "none"),
    "moderation": (None,),
    "web_search_options": (None,),
    "reasoning_format": (None, "auto", "deepseek"),
}
"""Fields that this version cannot honour, with the values that ask for nothing."""


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Stop = Annotated[
    list[Annotated[Text, Field(min_length=1)]], Field(max_length=MAX_STOPS), BeforeValidator(_one_or_more)
]


class StreamOptions(Fields):
    include_usage: StrictBool = False
    include_obfuscation: StrictBool = False


class ChatRequest(Conversation, BudgetAliases):
    """A chat completion; every alias of the thinking budget is understood."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: StrictStr
    max_tokens: AtLeastOne | None = None
    """The most tokens of thinking and answer together; enough of them for an answer are kept for it."""
    max_completion_tokens: AtLeastOne | None = None
    """The newer name of `max_tokens`."""
    temperature: Temperature | None = None
    """Of thinking and answer; each has a default of its own."""
    top_p: TopP | None = None
    seed: Seed | None = None
    """Of the first choice; each further one has the next."""
    n: Annotated[StrictInt, Field(ge=1, le=MAX_CHOICES)] | None = None
    """Choices, each with thinking of its own."""
    stop: Stop | None = None
    """Texts before which the answer ends; the thinking does not."""
    logprobs: StrictBool | None = None
    """Tell how likely the answer's tokens were."""
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    """And which were likeliest in the place of each."""
    response_format: ResponseFormat | None = None
    """What form the answer must have; the thinking is free."""
    tools: Annotated[list[ToolFields], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Any = None
    """`auto`, or `none`: then the model is not told of tools."""
    parallel_tool_calls: StrictBool | None = None
    """False: the first call only."""
    stream: StrictBool = False
    stream_options: StreamOptions | None = None
    include_reasoning: StrictBool = True
    """vLLM's way to leave the thinking out of the response."""
    reasoning_control: StrictBool | None = None
    """llama.cpp's. False: the thinking cannot be ended by `/v1/chat/completions/control`."""
    anytime: AnytimeFields | None = None

    # No effect on what is sampled.
    user: NoEffect = None
    metadata: NoEffect = None
    store: NoEffect = None
    service_tier: NoEffect = None
    safety_identifier: NoEffect = None
    prompt_cache_key: NoEffect = None
    prompt_cache_options: NoEffect = None
    prompt_cache_retention: NoEffect = None
    prediction: NoEffect = None

    # Named so that they are refused for what they ask, not as unknown.
    logit_bias: Refused = None
    presence_penalty: Refused = None
    frequency_penalty: Refused = None
    repetition_penalty: Refused = None
    top_k: Refused = None
    min_p: Refused = None
    verbosity: Refused = None
    modalities: Refused = None
    audio: Refused = None
    functions: Refused = None
    function_call: Refused = None
    moderation: Refused = None
    web_search_options: Refused = None
    reasoning_format: Refused = None

    @property
    def num_choices(self) -> int:
        return self.n or 1

    @property
    def shows_thinking(self) -> bool:
        return self.include_reasoning and not (self.reasoning is not None and self.reasoning.exclude)

    @property
    def offered_tools(self) -> list[dict[str, Any]]:
        """What the model may call, for the chat template."""
        return [] if self.tool_choice == "none" else [tool.for_template() for tool in self.tools or []]

    def question(self, service: Scheduler, *, arrival: RequestContext) -> GenerateRequest:
        """The request in no dialect, for its first choice.

        Raises:
            NotSupported, InvalidRequest: naming the field.
        """
        for field, harmless in NOT_SERVED.items():
            value = getattr(self, field)
            if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in harmless):
                raise NotSupported(f"{field} is not served by this version", field=field)
        window_tokens = service.engine.window_tokens
        total_tokens = self._total_tokens(window_tokens)
        anytime = self.anytime or AnytimeFields()
        tools = self.offered_tools
        return GenerateRequest(
            messages=self.turns(),
            model=self.model,
            budget_tokens=self.budget(
                available_tokens=total_tokens or window_tokens,
                more=dict(anytime.asked_tokens),
                window_tokens=window_tokens,
            ),
            total_tokens=total_tokens,
            **anytime.for_question(),
            **sampling(temperature=self.temperature, top_p=self.top_p),
            stop=tuple(self.stop or ()),
            json_schema=self._json_schema(has_tools=bool(tools)),
            top_logprobs=self._top_logprobs(),
            tells_confidence=False,
            tools=tools,
            seed=self.seed,
            id_prefix="chatcmpl",
            arrival=arrival,
        )

    def _json_schema(self, *, has_tools: bool) -> str | None:
        json_schema = self.response_format and self.response_format.schema_text
        if json_schema is not None and has_tools:
            raise NotSupported(
                "response_format beside tools is not served by this version", field="response_format"
            )
        return json_schema

    def _top_logprobs(self) -> int | None:
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest("top_logprobs needs logprobs to be true", field="top_logprobs")
        return (self.top_logprobs or 0) if self.logprobs else None

    def _total_tokens(self, window_tokens: int) -> int | None:
        asked = {
            field: tokens
            for field in ("max_tokens", "max_completion_tokens")
            if (tokens := getattr(self, field)) is not None
        }
        if len(set(asked.values())) > 1:
            raise InvalidRequest("max_tokens and max_completion_tokens differ; give one", field="max_tokens")
        for field, tokens in asked.items():
            if tokens > window_tokens:
                raise InvalidRequest(
                    f"{field} of {tokens} is more than the model's window of {window_tokens}", field=field
                )
            return tokens
        return None


class ControlRequest(Fields):
    """llama.cpp's way to act on a completion that is under way."""

    id: Annotated[StrictStr, Field(min_length=1)]
    """The completion's, as its chunks tell it."""
    action: Literal["reasoning_end"]
    """`reasoning_end`: stop thinking and answer."""
    model: Any = None
    """Sent where several servers stand behind one; there is one here."""
