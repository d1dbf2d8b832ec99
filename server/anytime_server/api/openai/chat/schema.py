"""Requests for chat completions: OpenAI's fields, and those of other servers."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictInt, StrictStr

from anytime_server.api.openai.chat.choices import ThinkingPlace
from anytime_server.api.openai.chat.encoder import StreamedUsage
from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.budgets import BudgetAliases, is_unlimited
from anytime_server.api.schema.field_names import field_names
from anytime_server.api.schema.fields import (
    MAX_TOOLS,
    AnytimeFields,
    BoundedList,
    Fields,
    Limit,
    Seed,
    Text,
)
from anytime_server.api.schema.ignored import Unserved
from anytime_server.api.schema.messages import Conversation
from anytime_server.api.schema.response_format import ConstraintFields
from anytime_server.api.schema.sampling import RequestSampling
from anytime_server.api.schema.tool_choice import CALLABLE, ToolChoice, note_strict, tool_choice_of
from anytime_server.api.schema.tools import ToolFields
from anytime_server.engine.base import MAX_TOP_LOGPROBS
from anytime_server.errors import InvalidRequest
from anytime_server.types import GenerateRequest, IgnoredFields, ReasoningField, RequestContext

MAX_CHOICES = 16
MAX_STOPS = 16


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _without_empty(texts: list[str]) -> list[str]:
    """The texts but for empty ones, which clients send for none."""
    return [text for text in texts if text]


Stop = Annotated[
    BoundedList[Text],
    Field(max_length=MAX_STOPS),
    BeforeValidator(_one_or_more),
    AfterValidator(_without_empty),
]


class StreamOptions(Fields):
    include_usage: StrictBool | None = None
    """End the stream with a chunk of usage."""
    continuous_usage_stats: StrictBool | None = None
    """vLLM's: every chunk has the usage until then. Needs `include_usage`."""
    include_obfuscation: NoEffect = None

    def note_ignored(self, ignored: IgnoredFields, *, counts_each_chunk: bool = True) -> None:
        """Report what has no effect.

        Args:
            counts_each_chunk: whether the endpoint can put the usage on every chunk.

        Raises:
            NotSupported: there is something, and the server is strict.
        """
        if self.continuous_usage_stats and not (counts_each_chunk and self.include_usage):
            why = "needs include_usage to be true" if counts_each_chunk else "is not served here"
            ignored.add("stream_options.continuous_usage_stats", why)


class ChatAnytimeFields(AnytimeFields):
    """The `anytime` object of a chat completion."""

    reasoning_field: ReasoningField | None = None
    """Field of the response that has the thinking; by default the server's `--reasoning-field`."""


REASONING_FORMATS: Mapping[str, ThinkingPlace] = {
    "deepseek": "reasoning_content",
    "parsed": "reasoning",
    "none": "content",
    "raw": "content",
    "hidden": "nowhere",
}
"""Places of the thinking by `reasoning_format`, llama.cpp's and Groq's; `auto` is the server's choice."""


class ChatRequest(Conversation, BudgetAliases, RequestSampling, ConstraintFields):
    """A chat completion; every alias of the thinking budget is understood.

    Sampling options hold for thinking and answer alike, unless they say otherwise.
    """

    model: StrictStr | None = None
    max_tokens: Limit = None
    """The most tokens of thinking and answer together; enough of them for an answer are kept for it.
    Without it, an answer may have all that the window leaves."""
    max_completion_tokens: Limit = None
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
    tools: Annotated[BoundedList[ToolFields], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Any = None
    """`auto`; `none`: the model does not see the tools; `required`, a tool, or some: it must call one."""
    parallel_tool_calls: StrictBool | None = None
    """False: one call at most."""
    stream: StrictBool = False
    stream_options: StreamOptions | None = None
    include_reasoning: StrictBool = True
    """vLLM's way to leave the thinking out of the response."""
    reasoning_control: StrictBool | None = None
    """llama.cpp's. False: the thinking cannot be ended by `/v1/chat/completions/control`."""
    continue_final_message: StrictBool | None = None
    """vLLM's. False: a last message of the assistant is complete, and a further one follows it."""
    add_generation_prompt: StrictBool | None = None
    """vLLM's; false beside `continue_final_message`."""
    echo: StrictBool = False
    """vLLM's: begin the answer with the text of the last message, where that is continued."""
    reasoning_format: Annotated[Any, Unserved((*REASONING_FORMATS, "auto"))] = None
    """llama.cpp's and Groq's. `none`, `raw`: the thinking is in the content, between `<think>` tags;
    `hidden`: nowhere; `deepseek`, `parsed`: in `reasoning_content` or `reasoning`."""
    separate_reasoning: StrictBool | None = None
    """SGLang's. False: the thinking is in the content, between `<think>` tags."""
    anytime: ChatAnytimeFields | None = None

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
    usage: NoEffect = None

    # Known, and reported for values that ask for something.
    verbosity: Annotated[Any, Unserved(("medium",))] = None
    modalities: Annotated[Any, Unserved((["text"],))] = None
    audio: Annotated[Any, Unserved()] = None
    functions: Annotated[Any, Unserved(([],), "is not served; tools are")] = None
    function_call: Annotated[Any, Unserved(("none",), "is not served; tool_choice is")] = None
    moderation: Annotated[Any, Unserved()] = None
    web_search_options: Annotated[Any, Unserved(())] = None

    @property
    def num_choices(self) -> int:
        return self.n or 1

    def thinking_place(self, default: ReasoningField) -> ThinkingPlace:
        """Where the response has the thinking.

        Args:
            default: the server's choice.
        """
        if not self.include_reasoning or (self.reasoning is not None and self.reasoning.exclude):
            return "nowhere"
        if self.anytime is not None and self.anytime.reasoning_field is not None:
            return self.anytime.reasoning_field
        if isinstance(self.reasoning_format, str) and self.reasoning_format in REASONING_FORMATS:
            return REASONING_FORMATS[self.reasoning_format]
        return "content" if self.separate_reasoning is False else default

    @property
    def names_tool(self) -> bool:
        """Whether the client named the one function to call."""
        return isinstance(self.tool_choice, dict) and self.tool_choice.get("type") in CALLABLE

    def chosen_tools(self, ignored: IgnoredFields) -> ToolChoice:
        """The meaning of `tool_choice` for the tools.

        Raises:
            InvalidRequest, NotSupported: naming the field.
        """
        tools = self.tools or []
        choice = tool_choice_of(self.tool_choice, [tool.function.name for tool in tools], ignored)
        for position, tool in enumerate(tools):
            note_strict(f"tools.{position}.function.strict", tool.function, choice, ignored)
        return choice

    @property
    def continues_last_message(self) -> bool:
        """Whether the answer is the rest of the assistant's last message.

        Raises:
            InvalidRequest: fields contradict each other, or the message is not the assistant's.
        """
        if self.continue_final_message and self.add_generation_prompt:
            raise InvalidRequest(
                "continue_final_message and add_generation_prompt contradict each other; give one",
                field="continue_final_message",
            )
        is_assistants = self.messages[-1].role == "assistant"
        if self.continue_final_message and not is_assistants:
            raise InvalidRequest(
                "continue_final_message needs a last message of the assistant", field="continue_final_message"
            )
        return is_assistants and self.continue_final_message is not False

    @property
    def echoed_text(self) -> str:
        """Text before the answer in the response."""
        return self.messages[-1].text if self.echo and self.continues_last_message else ""

    @property
    def streamed_usage(self) -> StreamedUsage:
        """Chunks of the stream with the usage."""
        options = self.stream_options
        if options is None or not options.include_usage:
            return "none"
        return "every chunk" if options.continuous_usage_stats else "last chunk"

    def to_generate_request(self, context: RequestContext) -> GenerateRequest:
        """The request in no dialect, for its first choice.

        Raises:
            NotSupported, InvalidRequest: naming the field.
        """
        if self.top_logprobs and not self.logprobs:
            context.ignored.add("top_logprobs", "needs logprobs to be true")
        if self.add_generation_prompt is False and not self.continues_last_message:
            context.ignored.add("add_generation_prompt", "a turn of the assistant begins in any case")
        if self.stream_options is not None:
            self.stream_options.note_ignored(context.ignored)
        total_tokens, total_field = self._total_tokens()
        anytime = self.anytime or ChatAnytimeFields()
        budget_tokens, budget_field = budget = self.budget(more=anytime.budget_fields)
        choice = self.chosen_tools(context.ignored)
        constraint, constraint_field = self.constraint(context.ignored)
        return GenerateRequest(
            messages=self.turns(),
            adds_turn=not self.continues_last_message,
            model=self.model,
            budget_tokens=budget_tokens,
            is_unlimited=is_unlimited(budget),
            total_tokens=total_tokens,
            **self.template_fields,
            **anytime.generate_fields(),
            **self.sampling(),
            stop=tuple(self.stop or ()),
            constraint=constraint,
            top_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            with_confidence=False,
            tools=choice.offered([tool.for_template() for tool in self.tools or []]),
            required_tools=choice.required,
            max_tool_calls=1 if choice.is_named or self.parallel_tool_calls is False else None,
            id_prefix="chatcmpl-",
            context=context,
            field_names=field_names(
                messages="messages",
                budget=budget_field,
                effort=self.effort_field,
                total_tokens=total_field,
                constraint=constraint_field.split(".")[0],
                schema=constraint_field,
                tool_parameters="tools.function.parameters",
                continuation=None,
            ),
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
