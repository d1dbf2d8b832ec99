"""Requests for chat completions: OpenAI's fields, and those of other servers."""

from __future__ import annotations

from operator import itemgetter
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, StrictStr

from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.budgets import BudgetAliases, is_effort
from anytime_server.api.schema.fields import (
    MAX_TOOLS,
    AnytimeFields,
    AtLeastOne,
    BoundedList,
    Fields,
    ResponseFormat,
    Seed,
    Text,
)
from anytime_server.api.schema.ignored import Unserved
from anytime_server.api.schema.messages import Conversation
from anytime_server.api.schema.sampling import OWN_NAMES, RequestSampling
from anytime_server.api.schema.tools import ToolFields
from anytime_server.engine.base import MAX_TOP_LOGPROBS
from anytime_server.types import GenerateRequest, RequestContext

MAX_CHOICES = 16
MAX_STOPS = 16


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Stop = Annotated[
    BoundedList[Annotated[Text, Field(min_length=1)]],
    Field(max_length=MAX_STOPS),
    BeforeValidator(_one_or_more),
]


class StreamOptions(Fields):
    include_usage: StrictBool = False
    include_obfuscation: StrictBool = False


class ChatRequest(Conversation, BudgetAliases, RequestSampling):
    """A chat completion; every alias of the thinking budget is understood.

    Sampling options hold for thinking and answer alike, unless they say otherwise.
    """

    model: StrictStr | None = None
    max_tokens: AtLeastOne | None = None
    """The most tokens of thinking and answer together; enough of them for an answer are kept for it.
    Without it, an answer may have all that the window leaves."""
    max_completion_tokens: AtLeastOne | None = None
    """The newer name of `max_tokens`."""
    seed: Seed | None = None
    """Of the first choice; each further one has the next."""
    n: Annotated[StrictInt, Field(ge=1, le=MAX_CHOICES)] | None = None
    """Choices, each with thinking of its own."""
    stop: Stop | None = None
    """Texts before which the answer ends; the thinking does not."""
    logprobs: StrictBool | None = None
    """Report how likely the answer's tokens were."""
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    """And the likeliest alternatives of each."""
    response_format: ResponseFormat | None = None
    """The form that the answer must have; the thinking is free."""
    tools: Annotated[BoundedList[ToolFields], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Annotated[Any, Unserved(("none", "auto"))] = None
    """`auto`, or `none`: then the model does not see the tools."""
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

    # Known, and reported for values that ask for something.
    verbosity: Annotated[Any, Unserved(("medium",))] = None
    modalities: Annotated[Any, Unserved((["text"],))] = None
    audio: Annotated[Any, Unserved()] = None
    functions: Annotated[Any, Unserved(([],), "is not served; tools are")] = None
    function_call: Annotated[Any, Unserved(("none",), "is not served; tool_choice is")] = None
    moderation: Annotated[Any, Unserved()] = None
    web_search_options: Annotated[Any, Unserved(())] = None
    reasoning_format: Annotated[Any, Unserved(("auto", "deepseek"))] = None

    @property
    def num_choices(self) -> int:
        return self.n or 1

    @property
    def shows_thinking(self) -> bool:
        return self.include_reasoning and not (self.reasoning is not None and self.reasoning.exclude)

    @property
    def offered_tools(self) -> list[dict[str, Any]]:
        """Functions that the model may call, as chat templates take them."""
        return [] if self.tool_choice == "none" else [tool.for_template() for tool in self.tools or []]

    @property
    def streams_usage(self) -> bool:
        """Whether the stream ends with a chunk of usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def to_generate_request(self, context: RequestContext, *, window_tokens: int) -> GenerateRequest:
        """The request in no dialect, for its first choice.

        Args:
            window_tokens: what an effort is a share of, where there is no `max_tokens`.

        Raises:
            NotSupported, InvalidRequest: naming the field.
        """
        if self.top_logprobs and not self.logprobs:
            context.ignored.add("top_logprobs", "needs logprobs to be true")
        total_tokens, total_field = self._total_tokens()
        anytime = self.anytime or AnytimeFields()
        budget_tokens, budget_field = self.budget(
            available_tokens=min(total_tokens or window_tokens, window_tokens),
            more=anytime.budget_fields,
        )
        return GenerateRequest(
            messages=self.turns(),
            model=self.model,
            budget_tokens=budget_tokens,
            total_tokens=total_tokens,
            **self.template_fields,
            **anytime.generate_fields(),
            is_budget_a_share=is_effort(budget_field),
            **self.sampling(),
            stop=tuple(self.stop or ()),
            json_schema=self.response_format and self.response_format.schema_text,
            top_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            with_confidence=False,
            tools=self.offered_tools,
            max_tool_calls=1 if self.parallel_tool_calls is False else None,
            id_prefix="chatcmpl-",
            context=context,
            field_names={
                **OWN_NAMES,
                "budget": budget_field or "anytime.budget",
                "effort": self.effort_field,
                "total_tokens": total_field,
                "answer.max_tokens": total_field,
                "answer.response_format": "response_format",
                "answer.json_schema": "response_format",
                "continuation": "anytime.continuation",
            },
        )

    def _total_tokens(self) -> tuple[int | None, str]:
        """The limit on thinking and answer together, and the field that it is in."""
        given = {"max_completion_tokens": self.max_completion_tokens, "max_tokens": self.max_tokens}
        limits = [(tokens, field) for field, tokens in given.items() if tokens is not None]
        return min(limits, default=(None, "max_tokens"), key=itemgetter(0))


class ControlRequest(Fields):
    """llama.cpp's control of a completion that is under way."""

    id: Annotated[StrictStr, Field(min_length=1)]
    """The completion's id, as in its chunks."""
    action: Literal["reasoning_end"]
    """`reasoning_end`: stop thinking and answer."""
    model: Any = None
    """For routers in front of several servers; ignored here."""
